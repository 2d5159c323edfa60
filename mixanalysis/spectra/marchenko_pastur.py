"""Marchenko-Pastur law of the singular values of a matrix with independent entries.

Everything is about the singular values of an a x b matrix whose entries are independent with mean zero and
variance v; eigenvalues of W W^T are their squares. The law is that of the q = min(a, b) non-trivial singular
values: the max(a, b) - q structural zeros of the larger Gram matrix are not part of it.

One angle carries the whole law. With r = sqrt(q / n), n = max(a, b), a singular value is written

    s^2 = v n (1 + r^2 + 2 r cos(theta)),    theta = 0 at the upper edge, pi at the lower edge,

and theta has the smooth density (2 / pi) sin^2(theta) / (1 + r^2 + 2 r cos(theta)), whose integral is
elementary.
"""

from __future__ import annotations

import math
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Values = TypeVar("Values", float, NDArray[np.float64])

_MAX_STEPS = 100


def check_law(a: int, b: int, variance: float) -> None:
    """Check the parameters that every law of an a x b matrix takes.

    Args:
        a: Number of rows.
        b: Number of columns.
        variance: Variance of one entry.

    Raises:
        ValueError: If a size is below 1 or the variance is not positive and finite.
    """
    if not (a >= 1 and b >= 1):
        raise ValueError(f"matrix sizes must be at least 1, got {a} x {b}; drop empty matrices first")
    if not (math.isfinite(variance) and variance > 0):
        raise ValueError(f"variance must be positive and finite, got {variance}; it is that of one entry, not of a row")


def like(given: Values, result: FloatArray) -> Values:
    """Return a result as the kind of its argument: a float for a number, an array for an array.

    Args:
        given: Argument of the calling function, a number or an array of any shape.
        result: Result of the same shape as `given`.

    Returns:
        `result`, as a float where `given` is a number.
    """
    return cast("Values", float(result) if np.ndim(given) == 0 else result)


def c_gamma(gamma: float) -> float:
    """Upper edge of a gamma m x m matrix with entries of variance 1 / m.

    Args:
        gamma: Expansion, rows over columns.

    Returns:
        1 + sqrt(gamma), a singular value: `edge` in this one normalisation (Hayase & Karakida,
        arXiv 2306.01470, section 4).

    Raises:
        ValueError: If gamma is not positive and finite.

    Examples:
        >>> c_gamma(4.0)
        3.0
    """
    if not (math.isfinite(gamma) and gamma > 0):
        raise ValueError(f"gamma must be positive and finite, got {gamma}; it is rows over columns")
    return 1.0 + math.sqrt(gamma)


def edge(a: int, b: int, variance: float) -> float:
    """Upper edge of the singular values, sqrt(v) (sqrt(a) + sqrt(b)).

    Args:
        a: Number of rows.
        b: Number of columns.
        variance: Variance of one entry.

    Returns:
        The asymptotic edge (Marchenko & Pastur 1967); for a finite matrix see `tracy_widom.upper_quantile`.

    Raises:
        ValueError: If a size is below 1 or the variance is not positive and finite.

    Examples:
        A gamma m x m matrix of variance 1/m, here with gamma = 4 and m = 100, has the edge c_gamma:

        >>> edge(400, 100, 1 / 100)
        3.0
    """
    check_law(a, b, variance)
    return math.sqrt(variance) * (math.sqrt(a) + math.sqrt(b))


def lower_edge(a: int, b: int, variance: float) -> float:
    """Lower edge of the non-trivial singular values, sqrt(v) |sqrt(a) - sqrt(b)|.

    Args:
        a: Number of rows.
        b: Number of columns.
        variance: Variance of one entry.

    Returns:
        The asymptotic lower edge, 0 for a square matrix (Marchenko & Pastur 1967).

    Raises:
        ValueError: If a size is below 1 or the variance is not positive and finite.
    """
    check_law(a, b, variance)
    return math.sqrt(variance) * abs(a - b) / (math.sqrt(a) + math.sqrt(b))


def density(s: Values, a: int, b: int, variance: float) -> Values:
    """Density of the non-trivial singular values.

    Args:
        s: Singular values, a number or an array of any shape.
        a: Number of rows.
        b: Number of columns.
        variance: Variance of one entry.

    Returns:
        sqrt((e+^2 - s^2)(s^2 - e-^2)) / (pi v min(a, b) s) between the edges e- and e+, and 0 outside: same
        shape as `s`, integral 1 (Marchenko & Pastur 1967, in singular values). NaN where `s` is NaN.

    Raises:
        ValueError: If a size is below 1 or the variance is not positive and finite.
    """
    low, high = lower_edge(a, b, variance), edge(a, b, variance)
    values = np.asarray(s, dtype=np.float64)
    inside = ~((values < low) | (values > high) | (values < 0))
    point = np.where(inside, values, high)
    # At s = 0, inside only for a square matrix, the ratio below is 0 / 0 with limit 1.
    ratio = np.sqrt((point - low) * (point + low)) / np.where(point == 0, 1.0, point)
    ratio = np.where(point == 0, 1.0, ratio)
    result = np.sqrt((high - point) * (high + point)) * ratio / (math.pi * variance * min(a, b))
    return like(s, result)


def cdf(s: Values, a: int, b: int, variance: float) -> Values:
    """Distribution function of the non-trivial singular values, in closed form.

    Args:
        s: Singular values, a number or an array of any shape.
        a: Number of rows.
        b: Number of columns.
        variance: Variance of one entry.

    Returns:
        Share of the non-trivial singular values at or below `s`, same shape as `s`; NaN where `s` is NaN. The
        absolute error is about 1e-16 sqrt(max(a, b) / min(a, b)).

    Raises:
        ValueError: If a size is below 1 or the variance is not positive and finite.
    """
    low, high = lower_edge(a, b, variance), edge(a, b, variance)
    values = np.clip(np.asarray(s, dtype=np.float64), low, high)
    above = np.sqrt((high - values) * (high + values))
    below = np.sqrt((values - low) * (values + low))
    theta = 2.0 * np.arctan2(above, below)
    return like(s, np.clip(1.0 - _upper_share(theta, _root_ratio(a, b)), 0.0, 1.0))


def quantile(q: Values, a: int, b: int, variance: float) -> Values:
    """Singular value below which a share q of the non-trivial singular values lies.

    Args:
        q: Shares in [0, 1], a number or an array of any shape.
        a: Number of rows.
        b: Number of columns.
        variance: Variance of one entry.

    Returns:
        Inverse of `cdf`, same shape as `q`.

    Raises:
        ValueError: If a share lies outside [0, 1], a size is below 1, or the variance is not positive and
            finite.
    """
    check_law(a, b, variance)
    shares = np.asarray(q, dtype=np.float64)
    if not np.all((shares >= 0) & (shares <= 1)):
        raise ValueError(f"q must be in [0, 1], got {q}; divide percentages by 100")
    r = _root_ratio(a, b)
    theta = _angle(1.0 - shares, r)
    # sqrt(1 + r^2 + 2 r cos(theta)) without its cancellation at the lower edge.
    unit = np.hypot(lower_edge(a, b, 1.0), 2.0 * math.sqrt(max(a, b) * r) * np.cos(theta / 2.0))
    return like(q, math.sqrt(variance) * unit)


def median(a: int, b: int, variance: float) -> float:
    """Median of the non-trivial singular values.

    Args:
        a: Number of rows.
        b: Number of columns.
        variance: Variance of one entry.

    Returns:
        `quantile(0.5, a, b, variance)`.

    Raises:
        ValueError: If a size is below 1 or the variance is not positive and finite.
    """
    return quantile(0.5, a, b, variance)


def _root_ratio(a: int, b: int) -> float:
    """Return r = sqrt(min / max)."""
    return math.sqrt(min(a, b) / max(a, b))


def _upper_share(theta: FloatArray, r: float) -> FloatArray:
    """Share of the singular values between the angle theta and the upper edge.

    The integral of (2 / pi) sin^2(t) / (1 + r^2 + 2 r cos(t)) from 0 to theta; beta = arg(1 + r e^{i theta}).

    Returns:
        Shares in [0, 1], of the shape of theta.
    """
    sine = r * np.sin(theta)
    beta = np.arctan2(sine, 1.0 + r * np.cos(theta))
    share: FloatArray = (theta - beta + (beta - sine) / r**2) / math.pi
    return share


def _angle(share: FloatArray, r: float) -> FloatArray:
    """Invert `_upper_share`: Newton steps inside a bracket that shrinks at every step."""
    low, high = np.zeros_like(share), np.full_like(share, math.pi)
    theta = np.full_like(share, math.pi / 2)
    for _ in range(_MAX_STEPS):
        excess = _upper_share(theta, r) - share
        low, high = np.where(excess < 0, theta, low), np.where(excess < 0, high, theta)
        weight = (1.0 - r) ** 2 + 4.0 * r * np.cos(theta / 2.0) ** 2
        slope = 2.0 / math.pi * np.sin(theta) ** 2 / weight
        newton = theta - excess / np.where(slope > 0, slope, 1.0)
        inside = (slope > 0) & (newton > low) & (newton < high)
        step = np.where(inside, newton, (low + high) / 2.0)
        done = np.all(np.abs(step - theta) <= np.spacing(math.pi))
        theta = step
        if done:
            break
    return np.where(share >= 1.0, math.pi, theta)
