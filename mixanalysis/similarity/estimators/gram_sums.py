"""Sums over the Gram matrices of all examples, none of which is ever whole in memory.

Two ways give the same: products of tiles of Gram matrices (`gram_tiles`), n^2 sum(d) / 2 multiplications for layers of
sizes d; or for the linear kernel products of features with features (`cross_covariances`), n sum(d1 d2) over all pairs
of layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mixanalysis.similarity.estimators.example_groups import Groups


@dataclass(frozen=True, eq=False)
class GramSums:
    """Sums over Gram matrices K~ with zero diagonals, all float64, for `layers` layers, n examples, g groups.

    Attributes:
        groups: of examples.
        inner: shape (1 + g, layers, layers), <K~, L~> over all examples, then without those of each group; zero for
            pairs that weren't asked for.
        rows: shape (layers, g, n), row sums over the columns of each group.
        squares: shape (layers, n), row sums of squares.
        diagonals: shape (layers, n), the diagonals that K~ lacks.
        eps: shape (layers,), relative rounding error of <K, K>.
    """

    groups: Groups
    inner: Tensor
    rows: Tensor
    squares: Tensor
    diagonals: Tensor
    eps: Tensor

    @classmethod
    def zeros(cls, layers: int, groups: Groups, device: torch.device) -> GramSums:
        """Return sums to which nothing is added yet."""
        new, count, n = partial(torch.zeros, dtype=torch.float64, device=device), len(groups.slices), groups.examples
        inner, rows = new(1 + count, layers, layers), new(layers, count, n)
        eps = torch.full_like(inner[0, 0], torch.finfo(inner.dtype).eps)
        return cls(groups, inner, rows, new(layers, n), new(layers, n), eps)
