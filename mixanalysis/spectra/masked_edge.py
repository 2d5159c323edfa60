"""Edges of masked (sparse) matrices: the first-order correction, and the edge of a given mask with its hubs.

In a sparse matrix the squared norms of rows and columns scatter. The scatter widens the bulk, and a row or
column heavy enough (a hub) pulls a singular value of its own out of it. Both follow from the squared entries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from mixanalysis.spectra.marchenko_pastur import FloatArray, c_gamma
from mixanalysis.spectra.neighbourhoods import neighbourhood_edge

IntArray = NDArray[np.integer]

_MAX_STEPS = 100
_FEW = 16
_TOLERANCE = 1e-14


@dataclass(frozen=True)
class Hub:
    """The heaviest row, or the heaviest column, of a masked matrix.

    Attributes:
        index: Its row or column number.
        degree: Number of its non-zeros.
        norm: Its Euclidean norm, a lower bound of the largest singular value.
        singular_value: The singular value that it pulls out of the bulk, None where it stays inside.
    """

    index: int
    degree: int
    norm: float
    singular_value: float | None


@dataclass(frozen=True)
class GraphEdge:
    """What the energies of rows and columns predict for the largest singular value.

    Attributes:
        bulk_edge: Edge of the bulk, a singular value.
        row: The heaviest row.
        column: The heaviest column.
        mean_row_degree: Non-zeros over rows, empty ones included.
        mean_column_degree: Non-zeros over columns, empty ones included.
        neighbourhood: Largest singular value of the neighbourhoods of heavy lines, where the mask is so sparse that it
            can lie beyond the hubs; None elsewhere.
    """

    bulk_edge: float
    row: Hub
    column: Hub
    mean_row_degree: float
    mean_column_degree: float
    neighbourhood: float | None = None

    @property
    def predicted(self) -> float:
        """Predicted largest singular value: the larger of the bulk edge and of hubs or, where known, neighbourhoods."""
        if self.neighbourhood is not None:
            # a hub's value takes its neighbours for average ones, up to a few per cent off where they are few
            return max(self.bulk_edge, self.neighbourhood)
        hubs = (self.row.singular_value, self.column.singular_value)
        return max([self.bulk_edge, *(value for value in hubs if value is not None)])


@dataclass(frozen=True)
class _Side:
    """Cavity norms of one side: sums over a row (column) without the entry itself, averaged by energy.

    The factor 1 + mean t + variance t^2 is the second-order expansion of the energy-weighted mean of
    1 / (1 - norm t).
    """

    sums: FloatArray
    mean: float
    variance: float

    def factor(self, t: float) -> float:
        """Value of 1 + mean t + variance t^2."""
        return 1.0 + self.mean * t + self.variance * t * t


def sparse_edge(gamma: float, m: float, p: float, kurtosis: float = 3.0) -> float:
    """First-order edge of a masked gamma m x m matrix whose entries have variance 1 / m.

    Args:
        gamma: Expansion, rows over columns.
        m: Effective width, the number of columns.
        p: Density in (0, 1]: each entry is non-zero with probability p, independently.
        kurtosis: Fourth moment over squared second moment of the non-zero values: 3 for a Gaussian, 9/5 for a
            uniform, 1 for plus or minus a constant.

    Returns:
        (1 + sqrt(gamma)) sqrt(1 + (kurtosis / p - 3) / (sqrt(gamma) m)), a singular value. This is
        l+ = v (sqrt(a) + sqrt(b))^2 (1 + kappa / sqrt(a b)) for a x b entries of variance v and excess
        kurtosis kappa, to first order; for Gaussian values kappa = 3 (1 - p) / p. Equation 17 of Hayase &
        Karakida (arXiv 2306.01470) prints sqrt(gamma) in the numerator of the correction, a factor gamma too
        large; the two agree at gamma = 1 only. Meant for p m well above 10; below, use `graph_edge`.

    Raises:
        ValueError: If gamma is not positive and finite, m is below 1, p lies outside (0, 1], the kurtosis is
            below 1, or the matrix is too small for a first-order correction.

    Examples:
        A dense Gaussian matrix needs no correction; a Mixer's density at m = 4096 needs a small one:

        >>> sparse_edge(4.0, 4096, 1.0)
        3.0
        >>> round(sparse_edge(4.0, 4096, 1 / 64), 3)
        3.034
    """
    base = c_gamma(gamma)
    if not (math.isfinite(m) and m >= 1):
        raise ValueError(f"m must be at least 1 and finite, got {m}; it is the number of columns")
    if not 0 < p <= 1:
        raise ValueError(f"p must be in (0, 1], got {p}; it is non-zeros over cells")
    if not (math.isfinite(kurtosis) and kurtosis >= 1):
        raise ValueError(f"kurtosis must be at least 1, got {kurtosis}; a Gaussian has 3, not 0")
    correction = 1.0 + (kurtosis / p - 3.0) / (math.sqrt(gamma) * m)
    if correction <= 0:
        raise ValueError(
            f"m must be large enough for a first-order correction, got m = {m} at gamma = {gamma} "
            f"and kurtosis = {kurtosis}; use the uncorrected edge"
        )
    return base * math.sqrt(correction)


def graph_edge(rows: IntArray, columns: IntArray, squares: FloatArray, shape: tuple[int, int]) -> GraphEdge:
    """Edge of the bulk and hubs of a masked matrix, from its squared non-zero entries in O(nnz).

    A heuristic: no proof is known. With cavity norms (row or column energy without the entry itself) of
    energy-weighted mean mu and variance v, the squared edge is the minimum over t > 0 of
    (1 + mu_r t + v_r t^2)(1 + mu_c t + v_c t^2) / t. A row of energy E pulls out the value of the same
    function at the smaller root of 1 + mu_r t + v_r t^2 = E t, as long as that t is below the minimiser; a
    column likewise. For independent Gaussian entries it is within 2% of simulation from dense down to about
    one non-zero a row; the measured energy contains planted signal, which inflates it.

    Args:
        rows: Row number of each non-zero, shape (nnz,), integers.
        columns: Column number of each non-zero, shape (nnz,); each cell at most once.
        squares: Squared value of each non-zero, shape (nnz,); zeros are ignored.
        shape: (rows, columns) of the matrix.

    Returns:
        The edge, the heaviest row and column and the prediction, all as singular values in the unit of the
        entries.

    Raises:
        ValueError: If the arrays differ in shape, an index is not an integer inside `shape`, a square is
            negative or not finite, or no entry is non-zero.
    """
    rows, columns, squares = _checked(rows, columns, squares, shape)
    unit = float(squares.max())
    weights = squares / unit
    row_side, column_side = _side(rows, weights, shape[0]), _side(columns, weights, shape[1])
    t_edge = _minimiser(row_side, column_side)
    return GraphEdge(
        bulk_edge=math.sqrt(unit * _bulk(row_side, column_side, t_edge)),
        row=_hub(row_side, column_side, np.bincount(rows, minlength=shape[0]), t_edge, unit),
        column=_hub(column_side, row_side, np.bincount(columns, minlength=shape[1]), t_edge, unit),
        mean_row_degree=len(weights) / shape[0],
        mean_column_degree=len(weights) / shape[1],
        neighbourhood=_neighbourhood(rows, columns, squares),
    )


def _neighbourhood(rows: IntArray, columns: IntArray, squares: FloatArray) -> float | None:
    """Largest singular value of single neighbourhoods; None where rows and columns have many neighbours."""
    used = [np.count_nonzero(np.bincount(index)) for index in (rows, columns)]
    if len(squares) > _FEW * min(used):
        return None
    return neighbourhood_edge(csr_array((np.sqrt(squares), (rows, columns))))


def _checked(
    rows: IntArray, columns: IntArray, squares: FloatArray, shape: tuple[int, int]
) -> tuple[IntArray, IntArray, FloatArray]:
    """Return the non-zero entries after checking them."""
    rows, columns, squares = np.asarray(rows), np.asarray(columns), np.asarray(squares, dtype=np.float64)
    if not (rows.ndim == 1 and rows.shape == columns.shape == squares.shape):
        raise ValueError(
            "rows, columns and squares must be vectors of equal length, got shapes "
            f"{rows.shape}, {columns.shape}, {squares.shape}; pass the three arrays of a COO matrix"
        )
    if not np.all(np.isfinite(squares) & (squares >= 0)):
        raise ValueError("squares must be finite and at least 0, got others; square the values first")
    kept = squares > 0
    if not kept.any():
        raise ValueError(f"expected a non-zero entry, got a zero matrix of shape {shape}; leave it out")
    for name, index, size in (("rows", rows, shape[0]), ("columns", columns, shape[1])):
        if not np.issubdtype(index.dtype, np.integer):
            raise ValueError(f"{name} must be integers, got {index.dtype}; pass index arrays")
        if index.min() < 0 or index.max() >= size:
            raise ValueError(f"{name} must be in [0, {size - 1}], got {index.min()} to {index.max()}; check the shape")
    return (rows, columns, squares) if kept.all() else (rows[kept], columns[kept], squares[kept])


def _side(index: IntArray, weights: FloatArray, size: int) -> _Side:
    """Sums by row (column), and mean and variance of the cavity norms weighted by energy."""
    sums: FloatArray = np.bincount(index, weights=weights, minlength=size).astype(np.float64, copy=False)
    cavity = sums[index] - weights
    total = float(weights.sum())
    mean = float(weights @ cavity) / total
    return _Side(sums, mean, float(weights @ (cavity - mean) ** 2) / total)


def _minimiser(first: _Side, second: _Side) -> float:
    """Return the t > 0 that minimises first.factor(t) second.factor(t) / t, infinite if it only falls.

    The stationary point solves b t^2 + 2 c t^3 + 3 d t^4 = 1 with no negative coefficient: a convex, rising
    function, on which Newton steps from the right of its only root stay to the right.
    """
    b = first.mean * second.mean + first.variance + second.variance
    c = first.mean * second.variance + second.mean * first.variance
    d = first.variance * second.variance
    bounds = [k**-power for k, power in ((b, 1 / 2), (2 * c, 1 / 3), (3 * d, 1 / 4)) if k > 0]
    t = min(bounds, default=math.inf)
    for _ in range(_MAX_STEPS if bounds else 0):
        excess = ((3 * d * t + 2 * c) * t + b) * t * t - 1.0
        step = excess / (((12 * d * t + 6 * c) * t + 2 * b) * t)
        t -= step
        if step <= _TOLERANCE * t:
            break
    return t


def _bulk(first: _Side, second: _Side, t: float) -> float:
    """Value of first.factor(t) second.factor(t) / t, at infinity its limit for a single line."""
    return first.mean + second.mean if math.isinf(t) else first.factor(t) * second.factor(t) / t


def _hub(side: _Side, other: _Side, degrees: IntArray, t_edge: float, unit: float) -> Hub:
    """Return the heaviest row (column) and the singular value that it pulls out of the bulk, if any."""
    index = int(np.argmax(side.sums))
    energy = float(side.sums[index])
    excess = energy - side.mean
    root = excess**2 - 4.0 * side.variance
    value = None
    if excess > 0 and root >= 0:
        t = 2.0 / (excess + math.sqrt(root))
        if t < t_edge:
            value = math.sqrt(unit * energy * other.factor(t))
    return Hub(index, int(degrees[index]), math.sqrt(unit * energy), value)
