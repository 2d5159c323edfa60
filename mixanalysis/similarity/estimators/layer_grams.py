"""A layer's Gram matrix over all examples, computed tile by tile from its features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mixanalysis.similarity.estimators.example_groups import cut
from mixanalysis.similarity.estimators.kernels import Kernel, median_square, squared, squared_distances

BLOCK = 4096
"""Examples whose features are multiplied in their own precision before they are summed in float64."""

_SUBSET = 2048
"""Examples, evenly spaced, whose median distance is the RBF kernel's."""


@dataclass(frozen=True, eq=False)
class LayerGram:
    """A layer's Gram matrix, tile by tile.

    Attributes:
        features: shape (n, d), centred.
        spread: 2 sigma^2 of the RBF kernel, 0 where the examples don't differ; None for the linear one.
        device: where products are made.
    """

    features: Tensor
    spread: float | None
    device: torch.device

    @classmethod
    def of(cls, features: Tensor, kernel: Kernel, device: torch.device) -> LayerGram:
        """With the bandwidth of the kernel."""
        spread = None
        if kernel.name == "rbf":
            n = len(features)
            count = min(n, _SUBSET)
            subset = features[torch.arange(count, device=features.device) * n // count].to(device)
            spread = 2 * kernel.bandwidth**2 * median_square(squared_distances(subset @ subset.mT))
        return cls(features, spread, device)

    @cached_property
    def squares(self) -> Tensor:
        """Squared norms of the examples, float64, shape (n,)."""
        parts = [self.features[block].to(self.device) for block in blocks_of(self.features)]
        return torch.cat([torch.linalg.vector_norm(part, dim=1, dtype=torch.float64) for part in parts]).square()

    def write(self, tile: Tensor, rows: slice, columns: slice) -> None:
        """Write K[rows, columns], on the diagonal its lower triangle, in at least the features' precision."""
        high = self.features[rows].to(self.device)
        if rows == columns:
            tile.copy_(squared(high))
        elif tile.dtype == high.dtype:
            torch.mm(high, self.features[columns].to(self.device).mT, out=tile)
        else:
            tile.copy_(high @ self.features[columns].to(self.device).mT)
        if self.spread == 0:
            tile.zero_()
        elif self.spread is not None:
            distances = (self.squares[rows, None] + self.squares[None, columns] - 2 * tile.double()).clamp_(min=0)
            tile.copy_(torch.exp_(distances.mul_(-1 / self.spread)))

    def times(self, weights: Tensor) -> Tensor:
        """K w of the linear kernel, for float64 weights of shape (n,)."""
        blocks, dtype = blocks_of(self.features), self.features.dtype
        parts = [weights[block].to(dtype) @ self.features[block].to(self.device) for block in blocks]
        whole = torch.stack(parts).sum(dim=0)
        return torch.cat([self.features[block].to(self.device) @ whole for block in blocks]).double()


def blocks_of(features: Tensor) -> list[slice]:
    """Blocks of examples whose features are multiplied in their own precision.

    Returns:
        Consecutive slices of rows.
    """
    return cut(slice(0, len(features)), BLOCK)
