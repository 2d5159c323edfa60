"""Gram matrices of one batch's features, centred first, in the features' own precision.

Centring the features before their products are formed is what keeps float32 exact where features share a large mean;
HSIC_1 doesn't see it (U-centring removes every a_i + a_j).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mixanalysis.errors import UsageError

SMALLEST_BATCH = 4
"""HSIC_1 needs at least this many examples."""

KernelName = Literal["linear", "rbf"]

_COLUMNS = 4096
"""Features are centred and multiplied in chunks of this many columns, which stay in the cache."""

_ROWS = 64
"""Rows of a block of the lower triangle; the blocks above the diagonal are mirrored, not computed."""

_SMALLEST_SQUARE = 1e-30
"""Mean squared norm below which float32 products would lose digits to underflow."""


@dataclass(frozen=True)
class Kernel:
    """Similarity of two examples' features.

    Attributes:
        name: "linear" (inner product of centred features) or "rbf" (exp(-distance^2 / (2 sigma^2))).
        bandwidth: sigma of the RBF kernel in units of the median distance of the examples at hand
            (Kornblith et al. 2019).
    """

    name: KernelName = "linear"
    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        """Check the values."""
        if self.name not in ("linear", "rbf"):
            raise UsageError(f'kernel must be "linear" or "rbf", got {self.name!r}')
        if not 0 < self.bandwidth < float("inf"):
            raise UsageError(f"the bandwidth must be a positive share of the median distance, got {self.bandwidth}")

    def __str__(self) -> str:
        return self.name if self.name == "linear" else f"rbf({self.bandwidth:g} median)"

    def gram(self, features: Tensor) -> Tensor:
        """Gram matrix of examples.

        Args:
            features: shape (n, d), floating point.

        Returns:
            Symmetric, shape (n, n), in the features' precision, at least float32; features that are equal for all
            examples give zeros. Not finite where features aren't.
        """
        matrix = gram(features)
        return matrix if self.name == "linear" else _rbf(matrix, self.bandwidth)


def gram(features: Tensor) -> Tensor:
    """Linear Gram matrix of centred features; see `Kernel.gram`."""
    if features.dtype not in (torch.float32, torch.float64):
        features = features.float()
    n = features.shape[0]
    matrix, mean_square = _product(features)
    trace = float(matrix.trace())
    if features.dtype == torch.float32 and not _SMALLEST_SQUARE * n < trace < float("inf"):
        # out of float32's range, or constant, or not finite at all
        features = features.double()
        matrix, mean_square = _product(features)
        trace = float(matrix.trace())
    rounding = n * (n * torch.finfo(features.dtype).eps) ** 2 * float(mean_square)
    if trace <= rounding and bool((features == features[0]).all()):
        return torch.zeros_like(matrix)
    return matrix


def _product(features: Tensor) -> tuple[Tensor, Tensor]:
    """Product of centred features with themselves, and the squared norm of their mean."""
    n, d = features.shape
    matrix = features.new_zeros(n, n)
    mean_square = features.new_zeros((), dtype=torch.float64)
    for start in range(0, d, _COLUMNS):
        chunk = features[:, start : start + _COLUMNS]
        mean = chunk.mean(dim=0)
        mean_square += mean.double().square().sum()
        centred = chunk - mean
        for first in range(0, n, _ROWS):
            last = min(first + _ROWS, n)
            matrix[first:last, :last].addmm_(centred[first:last], centred[:last].mT)
    for first in range(0, n, _ROWS):
        last = min(first + _ROWS, n)
        matrix[:first, first:last] = matrix[first:last, :first].mT
        square = matrix[first:last, first:last]
        square.copy_((square + square.mT) / 2)
    return matrix, mean_square


def _rbf(matrix: Tensor, bandwidth: float) -> Tensor:
    """RBF Gram matrix from the linear one of the same examples; the identity of no distances stays zero."""
    squares = matrix.diagonal()
    distances = (squares[:, None] + squares[None, :] - 2 * matrix).clamp_(min=0)
    n = len(matrix)
    rows, columns = torch.triu_indices(n, n, offset=1, device=matrix.device)
    median_square = float(distances[rows, columns].median()) if n > 1 else 0.0
    if median_square == 0:
        return torch.zeros_like(matrix)
    return torch.exp(distances / (-2 * bandwidth**2 * median_square)).fill_diagonal_(1)


@dataclass(frozen=True, eq=False)
class Centred:
    """U-centred Gram matrices of several layers for one batch of n examples.

    Attributes:
        matrices: shape (layers, n, n), zero diagonals and row sums (Szekely & Rizzo 2014).
        diagonals: float64, shape (layers, n); diagonals of the double-centred H K H.
    """

    matrices: Tensor
    diagonals: Tensor

    @classmethod
    def of(cls, grams: Sequence[Tensor]) -> Centred:
        """U-centre Gram matrices, in the widest of their precisions.

        Matrices of which only rounding errors would be left become exact zeros. That happens where
        K_ij = a_i + a_j off the diagonal: for constant features, and where all differences are between one example
        and the rest, or equally large.

        Args:
            grams: for each layer, shape (n, n), n >= 4.

        Raises:
            UsageError: n is below 4.
        """
        n = grams[0].shape[-1]
        if n < SMALLEST_BATCH:
            raise UsageError(f"HSIC_1 needs at least {SMALLEST_BATCH} examples, got {n}")
        eps = torch.tensor([torch.finfo(matrix.dtype).eps for matrix in grams], device=grams[0].device)
        widest = torch.float64 if any(matrix.dtype == torch.float64 for matrix in grams) else torch.float32
        return cls._of(torch.stack([matrix.to(widest) for matrix in grams]), eps.double())

    @classmethod
    def _of(cls, grams: Tensor, eps: Tensor) -> Centred:
        """U-centre a stack, which is overwritten; `eps` is each layer's relative rounding error."""
        n = grams.shape[-1]
        own = grams.diagonal(dim1=1, dim2=2).clone().double()
        sums = grams.sum(dim=2).double()
        total = sums.sum(dim=1, keepdim=True)
        diagonals = own - sums * (2 / n) + total / n**2
        hollow = sums - own
        shift = (hollow / (n - 2) - hollow.sum(dim=1, keepdim=True) / (2 * (n - 1) * (n - 2))).to(grams.dtype)
        grams -= shift[:, :, None]
        grams -= shift[:, None, :]
        grams.diagonal(dim1=1, dim2=2).zero_()
        rounding = 8 * eps * own.abs().amax(dim=1)
        nothing = torch.linalg.vector_norm(grams, dim=(1, 2), dtype=torch.float64) <= n * rounding
        grams[nothing] = 0
        return cls(grams, diagonals)

    @property
    def examples(self) -> int:
        """Examples of the batch, n."""
        return self.matrices.shape[-1]

    def contributions(self) -> Tensor:
        """What each example adds to each layer's <U(K), U(K)>, float64, shape (layers, n)."""
        norms: Tensor = torch.linalg.vector_norm(self.matrices, dim=2, dtype=torch.float64)
        return norms.square()

    def products(self, rows: slice, columns: slice) -> Tensor:
        """<U(K), U(L)> of some layers with some others, float64, shape (rows, columns)."""
        n = self.examples
        total = self.diagonals.new_zeros(rows.stop - rows.start, columns.stop - columns.start)
        for first in range(0, n, _ROWS):
            last = min(first + _ROWS, n)
            # both triangles are equal: the part left of the diagonal block counts twice
            for part, weight in ((slice(0, first), 2.0), (slice(first, last), 1.0)):
                if part.stop > part.start:
                    block = self.matrices[:, first:last, part]
                    left = block[rows].double().flatten(1)
                    right = left if rows == columns else block[columns].double().flatten(1)
                    total.addmm_(left, right.mT, alpha=weight)
        return total
