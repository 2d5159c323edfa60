"""Checks of what the law of a dense matrix assumes: independent entries of mean 0, one variance and light tails.

All of them are sums over the entries, each with its own law under independence:

- entries that are exactly 0, and rows or columns that occur twice;
- the mean of all entries, and those of rows and columns;
- the energies of rows and of columns, which scatter by (kurtosis - 1) / length;
- the fourth moment;
- the correlation of neighbouring rows and of neighbouring columns.

A check fails where chance explains its sum with probability below `CHANCE` and it is large enough to move the largest
singular value by a part of its Tracy-Widom width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.stats import chi2, norm

from mixanalysis.spectra.marchenko_pastur import FloatArray

Fitting = Literal["law", "signs", "permuted", "none"]
"""What noise the entries may be compared with: the law itself, entries with random signs, permuted entries, or none."""

CHANCE = 1e-3
"""Probability of a sum under independent entries below which a check fails."""

ZEROS = 0.05
"""Share of exact zeros, dead rows and columns left out, above which a matrix was pruned."""

_RANGE = (1e-8, 1e8)
_SCATTER = 0.2
_TAIL = 0.1
_SPIKE = 0.25


@dataclass(frozen=True, eq=False)
class Assumptions:
    """What the checks of a matrix say.

    Attributes:
        failures: in words, such as "rows differ in scale"; empty where nothing fails.
        p_value: smallest probability of a check under independent entries, times their number, at most 1.
        fitting: what noise the matrix may be compared with.
        matrix: the matrix to compare: means taken off where they failed, equal rows and columns merged into one of the
            same energy, which leaves the other singular values as they are.
        shape: its rows and columns, less one where means were taken off.
        centred: whether a mean was taken off.
    """

    failures: tuple[str, ...]
    p_value: float
    fitting: Fitting
    matrix: FloatArray = field(repr=False)
    shape: tuple[int, int]
    centred: bool


def examined(matrix: FloatArray) -> Assumptions:
    """Check a matrix without empty rows and columns.

    Args:
        matrix: float32 or float64, shape (a, b), at least one entry of which isn't 0.

    Returns:
        What fails, and what the matrix may be compared with.
    """
    zeros = 1 - np.count_nonzero(matrix) / matrix.size
    if zeros > ZEROS:
        return Assumptions((f"{zeros:.0%} of the entries are exactly zero",), 0.0, "none", matrix, matrix.shape, False)
    merged, failures = _merged(matrix)
    # squares of squares stay within the range
    largest = max(float(merged.max()), -float(merged.min()))
    scale = 1.0 if _RANGE[0] < largest < _RANGE[1] else largest
    unit = merged if scale == 1.0 else merged.astype(np.float64) / scale
    chances = [0.0] if failures else []
    unit, shape, means = _centred(unit, chances)
    failures += means
    squares = unit * unit
    variance = float(squares.sum(dtype=np.float64)) / squares.size
    kurtosis = float(np.vdot(squares, squares)) / squares.size / variance**2
    scales = _scattered(squares, variance, kurtosis, chances)
    tails = _tails(kurtosis, unit.shape, chances)
    correlated = _correlated(unit, variance, chances)
    fitting: Fitting = "law"
    if correlated:
        fitting = "none"
    elif scales or failures[: len(failures) - len(means)]:
        fitting = "signs"
    elif tails:
        fitting = "permuted"
    failures += scales + tails + correlated
    p_value = min(1.0, len(chances) * min(chances))
    # where the law fits, nobody asks for the matrix
    whole = unit if fitting == "law" and not means else unit.astype(np.float64) * scale
    return Assumptions(tuple(failures), p_value, fitting, whole, shape, bool(means))


def _merged(matrix: FloatArray) -> tuple[FloatArray, list[str]]:
    """Equal rows, then equal columns, each as one of their joint energy."""
    failures = []
    for axis, name in ((0, "rows"), (1, "columns")):
        lines = matrix if axis == 0 else matrix.T
        # equal lines have equal products with any vector; few others have
        probe: FloatArray = np.asarray(np.random.default_rng(0).standard_normal(lines.shape[1]), dtype=matrix.dtype)
        key = lines @ probe
        order = np.argsort(key, kind="stable")
        near = np.diff(key[order]) <= 8 * np.finfo(matrix.dtype).eps * np.abs(key).max()
        if not near.any():
            continue
        suspects = np.unique(np.concatenate([order[1:][near], order[:-1][near]]))
        # of those with near products, the ones that are equal
        _, first, count = np.unique(lines[suspects], axis=0, return_index=True, return_counts=True)
        if len(first) == len(suspects):
            continue
        factor = np.ones(len(lines), dtype=matrix.dtype)
        factor[suspects] = 0.0
        factor[suspects[first]] = np.sqrt(count)
        lines = (lines * factor[:, None])[factor > 0]
        matrix = lines if axis == 0 else lines.T
        failures.append(f"{int(count[count > 1].sum())} {name} are equal to others")
    return matrix, failures


def _centred(matrix: FloatArray, chances: list[float]) -> tuple[FloatArray, tuple[int, int], list[str]]:
    """The matrix without the means that fail; chances are added to the list."""
    (a, b), failures = matrix.shape, []
    variance = float(np.vdot(matrix, matrix)) / matrix.size
    row_means = (matrix @ np.full(b, 1 / b, dtype=matrix.dtype)).astype(np.float64)
    column_means = (np.full(a, 1 / a, dtype=matrix.dtype) @ matrix).astype(np.float64)
    mean = float(row_means.mean())
    chances.append(float(2 * norm.sf(abs(mean) * math.sqrt(matrix.size / variance))))
    # a mean is a spike of strength |mean| sqrt(a b)
    if chances[-1] < CHANCE and mean**2 * a * b > _SPIKE * variance * math.sqrt(a * b):
        matrix = matrix - matrix.dtype.type(mean)
        failures.append(f"the entries have a mean of {mean / math.sqrt(variance):.2g} standard deviations")
        # the means of rows and columns are judged beyond the common one
        row_means, column_means = row_means - mean, column_means - mean
    shape = [a, b]
    for axis, name, means in ((1, "rows", row_means), (0, "columns", column_means)):
        length, count = matrix.shape[axis], matrix.shape[1 - axis]
        energy = float(((means - means.mean()) ** 2).sum()) * length / variance
        chances.append(float(chi2.sf(energy, max(count - 1, 1))))
        if chances[-1] < CHANCE and energy - count > _SPIKE * math.sqrt(a * b):
            matrix = matrix - np.expand_dims(means, axis).astype(matrix.dtype)
            shape[axis] -= 1
            failures.append(f"the {name} have means")
    return matrix, (shape[0], shape[1]), failures


def _scattered(squares: FloatArray, variance: float, kurtosis: float, chances: list[float]) -> list[str]:
    """Whether energies of rows or columns scatter more than those of independent entries."""
    a, b = squares.shape
    energies = (
        ("rows", b, squares @ np.full(b, 1 / b, dtype=squares.dtype)),
        ("columns", a, np.full(a, 1 / a, dtype=squares.dtype) @ squares),
    )
    failures = []
    for name, length, energy in energies:
        scatter = float(((energy.astype(np.float64) / variance - 1) ** 2).sum())
        usual = max((kurtosis - 1) / length, 1e-12)
        chances.append(float(chi2.sf(scatter / usual, max(len(energy) - 1, 1))))
        excess = scatter / len(energy) - usual
        if chances[-1] < CHANCE and excess * min(a, b) ** (2 / 3) > _SCATTER:
            failures.append(f"{name} differ in scale")
    return failures


def _tails(kurtosis: float, shape: tuple[int, ...], chances: list[float]) -> list[str]:
    """Whether the fourth moment is that of heavy tails."""
    chances.append(float(norm.sf((kurtosis - 3) / math.sqrt(24 / math.prod(shape)))))
    heavy = chances[-1] < CHANCE and kurtosis - 3 > _TAIL * min(shape) ** (1 / 3)
    return [f"heavy tails (kurtosis {kurtosis:.2g})"] if heavy else []


def _correlated(matrix: FloatArray, variance: float, chances: list[float]) -> list[str]:
    """Whether neighbouring rows or columns are correlated."""
    (a, b), flat = matrix.shape, np.ascontiguousarray(matrix).ravel()
    below = float(np.vdot(flat[b:], flat[:-b]))
    # the end of a row and the beginning of the next are no neighbours
    beside = float(np.vdot(flat[1:], flat[:-1])) - float(np.vdot(matrix[1:, 0], matrix[:-1, -1]))
    failures = []
    for name, total, pairs in (("rows", below, (a - 1) * b), ("columns", beside, a * (b - 1))):
        if not pairs:  # a single row or column has no neighbour
            continue
        rho = total / variance / pairs
        chances.append(float(2 * norm.sf(abs(rho) * math.sqrt(pairs))))
        if chances[-1] < CHANCE and 2 * rho**2 * min(a, b) ** (2 / 3) > _SCATTER:
            failures.append(f"neighbouring {name} are correlated")
    return failures
