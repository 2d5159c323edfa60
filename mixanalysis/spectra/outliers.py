"""Singular values beyond the edge: how strong, how spread out, and whether a heavy row or column makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from mixanalysis.operators import Dense, Masked, Operator, Top
from mixanalysis.operators.spectrum import FloatArray
from mixanalysis.spectra.fit import spike

Kind = Literal["bulk", "hub"]

HUB_SHARE = 0.2
"""A singular vector with at least this share of its energy on one coordinate is a hub's."""

MOST = 20
"""Outliers of a layer that are described one by one, from the largest."""


@dataclass(frozen=True)
class Outlier:
    """One singular value beyond the edge.

    Attributes:
        rank: 1 for the largest.
        singular_value: s.
        theta: strength of a spike that would show at s under the Marchenko-Pastur law (BBP inversion); NaN where no
            spike would.
        left_participation: effective number of rows of the left vector, 1/sum u^4 for unit u.
        right_participation: the same of the right vector, in columns.
        kind: "hub" where one row or column carries the vector, "bulk" otherwise.
        line: the hub's row or column, such as "row 17"; "" for the bulk.
        degree: connections of that line, 0 for the bulk.
    """

    rank: int
    singular_value: float
    theta: float
    left_participation: float
    right_participation: float
    kind: Kind
    line: str
    degree: int


def describe(factor: Operator, count: int, variance: float, known: Top | None = None) -> list[Outlier]:
    """The `count` largest singular values of a matrix one by one, at most `MOST` of them.

    Args:
        factor: the matrix, shape (a, b).
        count: how many are outliers.
        variance: entry variance of the noise.
        known: its largest singular values with vectors, where they have been computed already.

    Returns:
        An entry for each described value.
    """
    if count < 1:
        return []
    a, b = factor.shape
    count = min(count, MOST)
    values, lefts, rights = _triplets(factor, count, known)
    outliers = []
    for index, value in enumerate(values[:count]):
        left, right = lefts[:, index] ** 2, rights[:, index] ** 2
        kind, line, degree = _hub(factor, left, right)
        outliers.append(
            Outlier(
                rank=index + 1,
                singular_value=float(value),
                theta=float(spike(float(value), a, b, variance)),
                left_participation=float(1 / (left**2).sum()),
                right_participation=float(1 / (right**2).sum()),
                kind=kind,
                line=line,
                degree=degree,
            )
        )
    return outliers


def _triplets(factor: Operator, count: int, known: Top | None) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The largest singular values, left and right vectors in columns."""
    if isinstance(factor, Dense) and known is None:
        return _dense_triplets(factor.weight.detach().double().cpu().numpy(), count)
    top = known if known is not None and len(known.values) >= count else factor.top(count, vectors=True)
    if top.left is None or top.right is None:
        msg = "the largest singular values were found without vectors"
        raise TypeError(msg)
    return top.values, top.left, top.right


def _dense_triplets(matrix: FloatArray, count: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """From a few eigenvectors of the smaller Gram matrix, a quarter of the cost of a decomposition."""
    if matrix.shape[0] < matrix.shape[1]:
        values, right, left = _dense_triplets(matrix.T, count)
        return values, left, right
    size = matrix.shape[1]
    _, vectors = eigh(matrix.T @ matrix, subset_by_index=[size - count, size - 1])
    right = vectors[:, ::-1]
    images = matrix @ right
    values = np.linalg.norm(images, axis=0)
    return values, images / values, right


def _hub(factor: Operator, left: NDArray[np.float64], right: NDArray[np.float64]) -> tuple[Kind, str, int]:
    row, column = int(left.argmax()), int(right.argmax())
    if not isinstance(factor, Masked) or max(left[row], right[column]) < HUB_SHARE:
        return "bulk", "", 0
    if left[row] >= right[column]:
        return "hub", f"row {row}", int((factor.rows == row).sum())
    return "hub", f"column {column}", int((factor.columns == column).sum())
