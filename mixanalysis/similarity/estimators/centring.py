"""U-centred Gram matrices of a batch, from which HSIC of all pairs of layers follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mixanalysis.errors import UsageError
from mixanalysis.similarity.estimators.kernels import SMALLEST_BATCH, mirror_

MARGIN = 100.0
"""A U-centred Gram matrix is trusted where its norm is so many times the bound of its rounding errors."""

LOST = "beyond float32: an image is too far from all others; keep features instead (--what features)"
"""Status of a layer of whose Gram matrix only a float32 version is left."""

_ROWS = 32
"""Rows of a block; of two equal triangles only the blocks of one are multiplied."""


@dataclass(frozen=True, eq=False)
class Centred:
    """U-centred Gram matrices of several layers for one batch of n examples.

    Attributes:
        matrices: shape (layers, n, n), zero diagonals and row sums (Szekely & Rizzo 2014).
        diagonals: float64, shape (layers, n); diagonals of the double-centred H K H.
        contributions: float64, shape (layers, n); what each example adds to <U(K), U(K)>.
        imprecise: bool, shape (layers,); rounding errors of the matrices given may show in the result.
        vanished: bool, shape (layers,); examples differ, but nothing beyond rounding errors is left of the matrix.
    """

    matrices: Tensor
    diagonals: Tensor
    contributions: Tensor
    imprecise: Tensor
    vanished: Tensor

    @classmethod
    def of(cls, triangles: Sequence[Tensor]) -> Centred:
        """U-centre Gram matrices given by their lower triangles, in the widest of their precisions.

        Matrices of which only rounding errors would be left become exact zeros. That happens where
        K_ij = a_i + a_j off the diagonal: for constant features, and where all differences are between one example
        and the rest, or equally large.

        Args:
            triangles: for each layer, shape (n, n), n >= 4.

        Returns:
            The matrices, and what HSIC needs of them.

        Raises:
            UsageError: n is below 4.
        """
        n = triangles[0].shape[-1]
        if n < SMALLEST_BATCH:
            raise UsageError(f"HSIC_1 needs at least {SMALLEST_BATCH} examples, got {n}")
        eps = torch.tensor([torch.finfo(matrix.dtype).eps for matrix in triangles], device=triangles[0].device)
        widest = torch.float64 if any(matrix.dtype == torch.float64 for matrix in triangles) else torch.float32
        return cls._of(mirror_(torch.stack([matrix.to(widest) for matrix in triangles])), eps.double())

    @classmethod
    def _of(cls, grams: Tensor, eps: Tensor) -> Centred:
        """Return a U-centred stack, which is overwritten; `eps` is each layer's relative rounding error."""
        n = grams.shape[-1]
        own = grams.diagonal(dim1=1, dim2=2).clone().double()
        sums = grams.sum(dim=2).double()
        total = sums.sum(dim=1, keepdim=True)
        diagonals = own - sums * (2 / n) + total / n**2
        hollow = sums - own
        shift = (hollow / (n - 2) - hollow.sum(dim=1, keepdim=True) / (2 * (n - 1) * (n - 2))).to(grams.dtype)
        # one sum, so that the matrices stay symmetric to the last digit
        grams -= shift[:, :, None] + shift[:, None, :]
        grams.diagonal(dim1=1, dim2=2).zero_()
        rounding = 8 * eps * own.abs().amax(dim=1)
        contributions = torch.linalg.vector_norm(grams, dim=2, dtype=torch.float64).square()
        norms = contributions.sum(dim=1).sqrt()
        nothing = norms <= n * rounding
        grams[nothing] = 0
        contributions[nothing] = 0
        differ = rounding > 0
        return cls(grams, diagonals, contributions, differ & (norms <= MARGIN * n * rounding), differ & nothing)

    @property
    def own_hsic(self) -> Tensor:
        """HSIC_1 of each layer with itself, float64, shape (layers,)."""
        return self.contributions.sum(dim=1) / (self.examples * (self.examples - 3))

    @property
    def examples(self) -> int:
        """Examples of the batch, n."""
        return self.matrices.shape[-1]

    def products(self, rows: slice, columns: slice, moved: Tensor | None = None) -> Tensor:
        """<U(K), U(L)> of some layers with some others, float64, shape (rows, columns).

        Args:
            rows: the first layers.
            columns: the second layers.
            moved: symmetric, shape (layers, n, n); taken for the second layers instead of `matrices`.

        Returns:
            Inner products of all pairs.
        """
        others = self.matrices if moved is None else moved
        n = self.examples
        total = self.diagonals.new_zeros(rows.stop - rows.start, columns.stop - columns.start)
        for first in range(0, n, _ROWS):
            last = min(first + _ROWS, n)
            # both triangles are equal: the part left of the diagonal block counts twice
            for part, weight in ((slice(0, first), 2.0), (slice(first, last), 1.0)):
                if part.stop > part.start:
                    block = self.matrices[:, first:last, part]
                    left = block[rows].double().flatten(1)
                    same = rows == columns and moved is None
                    right = left if same else others[columns, first:last, part].double().flatten(1)
                    total.addmm_(left, right.mT, alpha=weight)
        return total
