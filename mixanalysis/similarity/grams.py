"""Gram matrices of one batch's features, centred first, in the features' own precision.

Centring the features before their products are formed is what keeps float32 exact where features share a large mean;
HSIC_1 doesn't see it (U-centring removes every a_i + a_j).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from scipy.linalg import blas
from torch import Tensor

from mixanalysis.errors import UsageError

SMALLEST_BATCH = 4
"""HSIC_1 needs at least this many examples."""

KernelName = Literal["linear", "rbf"]

_COLUMNS = 512
"""Features are centred and multiplied in chunks of this many columns, which stay in the cache."""

_ROWS = 32
"""Rows of a block; of two equal triangles only the blocks of one are multiplied."""

_SYRK = {torch.float32: blas.ssyrk, torch.float64: blas.dsyrk}
"""On a CPU: half the work of a full product, which torch has no name for."""

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

    def triangle(self, features: Tensor) -> Tensor | None:
        """Lower triangle of the Gram matrix of examples.

        Args:
            features: shape (n, d), floating point.

        Returns:
            Shape (n, n), in the features' precision, at least float32; what stands above the diagonal has no meaning.
            Zeros for features that are equal for all examples, None for features that aren't finite.
        """
        matrix = _triangle(features)
        return matrix if self.name == "linear" or matrix is None else _rbf(mirror_(matrix), self.bandwidth)

    def gram(self, features: Tensor) -> Tensor | None:
        """The whole Gram matrix, symmetric; the rest is that of `triangle`."""
        matrix = self.triangle(features)
        return None if matrix is None else mirror_(matrix)


def gram(features: Tensor) -> Tensor | None:
    """Linear Gram matrix of centred features; see `Kernel.gram`."""
    return Kernel().gram(features)


def mirror_(triangles: Tensor) -> Tensor:
    """Make matrices symmetric from their lower triangles, in place, over the last two axes."""
    n = triangles.shape[-1]
    for first in range(0, n, _ROWS):
        last = min(first + _ROWS, n)
        triangles[..., :first, first:last] = triangles[..., first:last, :first].mT
        square = triangles[..., first:last, first:last]
        square.copy_(square.tril() + square.tril(-1).mT)
    return triangles


def _triangle(features: Tensor) -> Tensor | None:
    if features.dtype not in (torch.float32, torch.float64):
        features = features.float()
    if torch.equal(features[0], features[-1]) and bool((features == features[0]).all()):
        return features.new_zeros(len(features), len(features))
    matrix = _product(features)
    trace = float(matrix.trace())
    if features.dtype == torch.float32 and not _SMALLEST_SQUARE * len(features) < trace < math.inf:
        # out of the range of float32, or not finite at all
        matrix = _product(features.double())
        trace = float(matrix.trace())
    return matrix if math.isfinite(trace) else None


def _product(features: Tensor) -> Tensor:
    """Lower triangle of the product of centred features with themselves."""
    n, d = features.shape
    matrix = features.new_zeros(n, n)
    shares = features.new_full((n,), 1 / n)
    for start in range(0, d, _COLUMNS):
        chunk = features[:, start : start + _COLUMNS]
        _add_triangle_(matrix, chunk - shares @ chunk)
    return matrix


def _add_triangle_(matrix: Tensor, features: Tensor) -> None:
    """Add the product of features with themselves to the lower triangle of a matrix."""
    syrk = _SYRK.get(features.dtype) if features.device.type == "cpu" else None
    if syrk is not None:
        # BLAS counts in columns: our rows are its columns, and its upper triangle is our lower one
        syrk(1.0, features.numpy().T, 1.0, matrix.numpy().T, trans=1, lower=0, overwrite_c=1)
        return
    n = len(features)
    for first in range(0, n, _ROWS):
        last = min(first + _ROWS, n)
        matrix[first:last, :last].addmm_(features[first:last], features[:last].mT)


def squared(features: Tensor) -> Tensor:
    """Lower triangle of the products of all pairs of examples as they are, uncentred: from shape (n, d) to (n, n)."""
    matrix = features.new_zeros(len(features), len(features))
    _add_triangle_(matrix, features)
    return matrix


def squared_distances(matrix: Tensor) -> Tensor:
    """Squared distances of all pairs of examples from their Gram matrices, shape (..., n, n)."""
    squares = matrix.diagonal(dim1=-2, dim2=-1)
    return (squares[..., :, None] + squares[..., None, :] - 2 * matrix).clamp_(min=0)


def median_square(distances: Tensor) -> float:
    """Median of the squared distances of all pairs, shape (n, n); the lower of two middle ones, 0 without pairs."""
    n = len(distances)
    rows, columns = torch.triu_indices(n, n, offset=1, device=distances.device)
    return float(distances[rows, columns].median()) if n > 1 else 0.0


def _rbf(matrix: Tensor, bandwidth: float) -> Tensor:
    """RBF Gram matrix from the linear one of the same examples; the identity of no distances stays zero."""
    distances = squared_distances(matrix)
    middle = median_square(distances)
    if middle == 0:
        return torch.zeros_like(matrix)
    return torch.exp(distances / (-2 * bandwidth**2 * middle)).fill_diagonal_(1)


@dataclass(frozen=True, eq=False)
class Centred:
    """U-centred Gram matrices of several layers for one batch of n examples.

    Attributes:
        matrices: shape (layers, n, n), zero diagonals and row sums (Szekely & Rizzo 2014).
        diagonals: float64, shape (layers, n); diagonals of the double-centred H K H.
        contributions: float64, shape (layers, n); what each example adds to <U(K), U(K)>.
    """

    matrices: Tensor
    diagonals: Tensor
    contributions: Tensor

    @classmethod
    def of(cls, triangles: Sequence[Tensor]) -> Centred:
        """U-centre Gram matrices given by their lower triangles, in the widest of their precisions.

        Matrices of which only rounding errors would be left become exact zeros. That happens where
        K_ij = a_i + a_j off the diagonal: for constant features, and where all differences are between one example
        and the rest, or equally large.

        Args:
            triangles: for each layer, shape (n, n), n >= 4.

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
        """U-centre a stack, which is overwritten; `eps` is each layer's relative rounding error."""
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
        nothing = contributions.sum(dim=1) <= (n * rounding).square()
        grams[nothing] = 0
        contributions[nothing] = 0
        return cls(grams, diagonals, contributions)

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
