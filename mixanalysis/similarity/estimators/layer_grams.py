"""A layer's Gram matrix over all examples, computed tile by tile from its features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mixanalysis.similarity.estimators.example_groups import cut
from mixanalysis.similarity.estimators.kernels import Kernel, median_square, resolved, squared, squared_distances

BLOCK = 4096
"""Examples whose features are multiplied in their own precision before they are summed in float64."""

_SUBSET = 2048
"""Examples, evenly spaced, whose median distance is the RBF kernel's."""


@dataclass(frozen=True, eq=False)
class LayerGram:
    """A layer's Gram matrix, tile by tile.

    Attributes:
        features: shape (n, d), centred.
        dtype: of products; that of the features, or float64.
        spread: 2 sigma^2 of the RBF kernel, 0 where the examples don't differ; None for the linear one.
        device: where products are made.
    """

    features: Tensor
    spread: float | None
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, features: Tensor, kernel: Kernel, device: torch.device, *, double: bool = False) -> LayerGram:
        """Choose the bandwidth of the kernel.

        Args:
            features: shape (n, d), centred.
            kernel: of the Gram matrix.
            device: where products are made.
            double: form products in float64; done unasked where the RBF kernel's distances need it.

        Returns:
            The Gram matrix, of which nothing is computed yet.
        """
        dtype = torch.float64 if double else features.dtype
        plain = cls(features, None, device, dtype)
        if kernel.name == "linear":
            return plain
        n = len(features)
        count = min(n, _SUBSET)
        subset = features[torch.arange(count, device=features.device) * n // count].to(device, dtype)
        middle = median_square(squared_distances(subset @ subset.mT))
        if not resolved(float(plain.squares.max()), middle, dtype):
            return cls.of(features, kernel, device, double=True)
        return cls(features, 2 * kernel.bandwidth**2 * middle, device, dtype)

    @cached_property
    def squares(self) -> Tensor:
        """Squared norms of the examples, float64, shape (n,)."""
        parts = [self.features[block].to(self.device) for block in blocks_of(self.features)]
        return torch.cat([torch.linalg.vector_norm(part, dim=1, dtype=torch.float64) for part in parts]).square()

    def write(self, tile: Tensor, rows: slice, columns: slice) -> None:
        """Write K[rows, columns], on the diagonal its lower triangle, in at least the features' precision."""
        high = self.features[rows].to(self.device, self.dtype)
        if rows == columns:
            tile.copy_(squared(high))
        elif tile.dtype == high.dtype:
            torch.mm(high, self.features[columns].to(self.device, self.dtype).mT, out=tile)
        else:
            tile.copy_(high @ self.features[columns].to(self.device, self.dtype).mT)
        if self.spread == 0:
            tile.zero_()
        elif self.spread is not None:
            distances = (self.squares[rows, None] + self.squares[None, columns] - 2 * tile.double()).clamp_(min=0)
            tile.copy_(torch.exp_(distances.mul_(-1 / self.spread)))

    def times(self, weights: Tensor) -> Tensor:
        """Return K w of the linear kernel, for float64 weights of shape (n,)."""
        blocks, place = blocks_of(self.features), (self.device, self.dtype)
        parts = [weights[block].to(self.dtype) @ self.features[block].to(*place) for block in blocks]
        whole = torch.stack(parts).sum(dim=0)
        return torch.cat([self.features[block].to(*place) @ whole for block in blocks]).double()


def blocks_of(features: Tensor) -> list[slice]:
    """Blocks of examples whose features are multiplied in their own precision.

    Returns:
        Consecutive slices of rows.
    """
    return cut(slice(0, len(features)), BLOCK)
