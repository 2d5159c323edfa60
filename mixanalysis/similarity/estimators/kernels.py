"""Gram matrices of one batch's features, centred first, in the features' own precision.

Centring the features before their products are formed is what keeps float32 exact where features share a large mean;
HSIC_1 doesn't see it (U-centring removes every a_i + a_j).
"""

from __future__ import annotations

import math
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

NO_SCALE = "at a median distance of 0: the RBF kernel has no scale where most pairs of images are equal"

_SMALLEST_TRACE, _LARGEST_TRACE = 1e-140, 1e140
"""Traces whose squares, times the relative errors of float64, are in its range."""

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
        """Check the values.

        Raises:
            UsageError: the name is unknown, or the bandwidth isn't positive.
        """
        if self.name not in ("linear", "rbf"):
            raise UsageError(f'kernel must be "linear" or "rbf", got {self.name!r}')
        if not 0 < self.bandwidth < float("inf"):
            raise UsageError(f"the bandwidth must be a positive share of the median distance, got {self.bandwidth}")

    def __str__(self) -> str:
        return self.name if self.name == "linear" else f"rbf({self.bandwidth:g} median)"

    def triangle(self, features: Tensor, *, double: bool = False) -> Tensor | None:
        """Lower triangle of the Gram matrix of examples.

        Args:
            features: shape (n, d), floating point.
            double: form products in float64, whatever the features' precision.

        Returns:
            Shape (n, n), in the features' precision, at least float32; what stands above the diagonal has no meaning.
            Zeros for features that are equal for all examples; None for features that aren't finite, those whose HSIC
            is out of the range of float64, and for the RBF kernel where the median distance is zero.
        """
        matrix, trace = _triangle(features.double() if double else features)
        if self.name == "linear":
            return matrix if in_range(trace) else None
        if not math.isfinite(trace):
            return None
        distances = squared_distances(mirror_(matrix))
        middle = median_square(distances)
        if not resolved(float(matrix.diagonal().max()), middle, matrix.dtype):
            return self.triangle(features, double=True)
        if middle == 0:
            return None if bool((distances > 0).any()) else torch.zeros_like(distances)
        return _rbf(distances, middle, self.bandwidth)


def mirror_(triangles: Tensor) -> Tensor:
    """Return matrices made symmetric from their lower triangles, in place, over the last two axes."""
    n = triangles.shape[-1]
    for first in range(0, n, _ROWS):
        last = min(first + _ROWS, n)
        triangles[..., :first, first:last] = triangles[..., first:last, :first].mT
        square = triangles[..., first:last, first:last]
        square.copy_(square.tril() + square.tril(-1).mT)
    return triangles


def _triangle(features: Tensor) -> tuple[Tensor, float]:
    """Return the lower triangle of the linear Gram matrix, and its trace, not finite where features aren't."""
    if features.dtype not in (torch.float32, torch.float64):
        features = features.float()
    if torch.equal(features[0], features[-1]) and bool((features == features[0]).all()):
        return features.new_zeros(len(features), len(features)), 0.0
    matrix = _product(features)
    trace = float(matrix.trace())
    if features.dtype == torch.float32 and not _SMALLEST_SQUARE * len(features) < trace < math.inf:
        # out of the range of float32, or not finite at all
        matrix = _product(features.double())
        trace = float(matrix.trace())
    return matrix, trace


def _product(features: Tensor) -> Tensor:
    """Return the lower triangle of the product of centred features with themselves."""
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
    """Return the lower triangle, shape (n, n), of the products of all pairs of examples, uncentred."""
    matrix = features.new_zeros(len(features), len(features))
    _add_triangle_(matrix, features)
    return matrix


def squared_distances(matrix: Tensor) -> Tensor:
    """Return squared distances of all pairs of examples from their Gram matrices, shape (..., n, n)."""
    squares = matrix.diagonal(dim1=-2, dim2=-1)
    return (squares[..., :, None] + squares[..., None, :] - 2 * matrix).clamp_(min=0)


def median_square(distances: Tensor) -> float:
    """Return the median of the squared distances of all pairs: the lower of two middle ones, 0 without pairs."""
    n = len(distances)
    rows, columns = torch.triu_indices(n, n, offset=1, device=distances.device)
    return float(distances[rows, columns].median()) if n > 1 else 0.0


def in_range(trace: float) -> bool:
    """Say whether products of two Gram matrices stay within the range of float64.

    Args:
        trace: of a Gram matrix.

    Returns:
        True for zero too.
    """
    return trace == 0 or _SMALLEST_TRACE < trace < _LARGEST_TRACE


def resolved(largest: float, middle: float, dtype: torch.dtype) -> bool:
    """Say whether products in a precision tell typical distances from rounding errors.

    Args:
        largest: squared norm of the example that is farthest from the mean.
        middle: median squared distance of two examples.
        dtype: of the products; float64 is the best there is.

    Returns:
        False for float32 where errors of the largest products reach a thousandth of the median.
    """
    return dtype == torch.float64 or torch.finfo(dtype).eps * largest <= middle / 1000


def _rbf(distances: Tensor, middle: float, bandwidth: float) -> Tensor:
    """Return the RBF Gram matrix from squared distances and their median."""
    return torch.exp(distances / (-2 * bandwidth**2 * middle)).fill_diagonal_(1)
