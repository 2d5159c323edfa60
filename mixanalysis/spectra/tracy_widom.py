"""Tracy-Widom law (beta = 1), and the test of a largest singular value that it gives.

The distribution function is the Fredholm determinant F1(x) = det(I - T) of the kernel
T(y, z) = Ai((y + z) / 2) / 2 on L2(x, inf) (Ferrari & Spohn 2005), computed as Bornemann (2010) does:
Gauss-Legendre nodes turn it into the determinant of a small symmetric matrix. There is no table and no
interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import airy

from mixanalysis.spectra.marchenko_pastur import FloatArray, Values, check_law, like

_NODES = 48
_DECAY = 40.0  # the quadrature ends where the Airy function has fallen by exp(-2/3 of this)
_LEFT = -13.0  # F1 is below 1e-44 to the left
_RIGHT = 105.0  # 1 - F1 is below 1e-310 to the right
_SMALLEST_SHARE = 1e-12
_SMALLEST_LEVEL = 1e-300
_BELOW_ONE = 1.0 - 2.0**-53
_MAX_STEPS = 100
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Largest:
    """Centring and scaling of the squared largest singular value of a noise matrix.

    Attributes:
        mu: Centre of s_max^2.
        sigma: Scale of s_max^2: (s_max^2 - mu) / sigma follows the Tracy-Widom law in the limit.
    """

    mu: float
    sigma: float


def cdf(x: Values) -> Values:
    """Distribution function F1(x).

    Args:
        x: Points, a number or an array of any shape, in Tracy-Widom units.

    Returns:
        F1(x), same shape as `x`; absolute error below 1e-13. It costs about 2 ms a point.

    Examples:
        >>> round(cdf(0.0), 4)
        0.8319
    """
    return like(x, _at_each(x, lambda point: math.exp(_log_cdf_and_slope(point)[0])))


def sf(x: Values) -> Values:
    """Right tail 1 - F1(x), accurate relative to its own size down to 1e-300.

    Args:
        x: Points, a number or an array of any shape, in Tracy-Widom units.

    Returns:
        1 - F1(x), same shape as `x`; relative error below 1e-9, 0 for x beyond 105.
    """
    return like(x, _at_each(x, lambda point: 0.0 - math.expm1(_log_cdf_and_slope(point)[0])))


def pdf(x: Values) -> Values:
    """Density F1'(x), from the derivative of the same determinant.

    Args:
        x: Points, a number or an array of any shape, in Tracy-Widom units.

    Returns:
        F1'(x), same shape as `x`; absolute error below 1e-12.
    """
    return like(x, _at_each(x, _density))


def ppf(q: Values) -> Values:
    """Quantile: the point below which a share q of the law lies.

    Args:
        q: Shares in [1e-12, 1), a number or an array of any shape.

    Returns:
        Inverse of `cdf`, same shape as `q`, within 1e-6.

    Raises:
        ValueError: If a share lies outside [1e-12, 1).
    """
    if not np.all((np.asarray(q) >= _SMALLEST_SHARE) & (np.asarray(q) < 1)):
        raise ValueError(f"q must be in [1e-12, 1), got {q}; for the far right tail use isf(1 - q)")
    return like(q, _at_each(q, lambda share: _left_root(share) if share < 0.5 else _right_root(1.0 - share)))


def isf(level: Values) -> Values:
    """Upper quantile: the point that the law exceeds with a given probability.

    Args:
        level: Probabilities in [1e-300, 1 - 1e-12], a number or an array of any shape.

    Returns:
        Inverse of `sf`, same shape as `level`, within 1e-6; levels far below 1e-16 are as accurate as 0.05.

    Raises:
        ValueError: If a level lies outside [1e-300, 1 - 1e-12].

    Examples:
        >>> round(isf(0.01), 3)
        2.023
    """
    levels = np.asarray(level)
    if not np.all((levels >= _SMALLEST_LEVEL) & (levels <= 1 - _SMALLEST_SHARE)):
        raise ValueError(f"level must be in [1e-300, 1 - 1e-12], got {level}; it is the chance that noise goes beyond")
    return like(level, _at_each(level, lambda p: _right_root(p) if p <= 0.5 else _left_root(1.0 - p)))


def largest(a: int, b: int, variance: float) -> Largest:
    """Centre and scale the squared largest singular value of an a x b noise matrix.

    Args:
        a: Number of rows.
        b: Number of columns.
        variance: Variance of one entry.

    Returns:
        With n = max(a, b) and k = min(a, b): mu = v (sqrt(n - 1) + sqrt(k))^2 and
        sigma = v (sqrt(n - 1) + sqrt(k)) (1 / sqrt(n - 1) + 1 / sqrt(k))^(1/3), variance included
        (Johnstone 2001, theorem 1.1).

    Raises:
        ValueError: If the matrix is 1 x 1, a size is below 1, or the variance is not positive and finite.
    """
    check_law(a, b, variance)
    if max(a, b) == 1:
        raise ValueError("the larger size must be at least 2, got 1 x 1; one number has no edge to test")
    root_n, root_k = math.sqrt(max(a, b) - 1), math.sqrt(min(a, b))
    total = root_n + root_k
    return Largest(variance * total**2, variance * total * (1.0 / root_n + 1.0 / root_k) ** (1.0 / 3.0))


def statistic(s_max: Values, a: int, b: int, variance: float) -> Values:
    """Largest singular value in Tracy-Widom units.

    Args:
        s_max: Largest singular values of a x b matrices, a number or an array of any shape.
        a: Number of rows.
        b: Number of columns.
        variance: Variance of one entry.

    Returns:
        (s_max^2 - mu) / sigma with Johnstone's constants (see `largest`), same shape as `s_max`; for noise it
        has mean -1.2065 and standard deviation 1.2680.

    Raises:
        ValueError: If the matrix is 1 x 1, a size is below 1, or the variance is not positive and finite.
    """
    law = largest(a, b, variance)
    return like(s_max, (np.asarray(s_max, dtype=np.float64) ** 2 - law.mu) / law.sigma)


def p_value(s_max: Values, a: int, b: int, variance: float) -> Values:
    """Probability that noise alone reaches a largest singular value.

    Args:
        s_max: Largest singular values of a x b matrices, a number or an array of any shape.
        a: Number of rows.
        b: Number of columns.
        variance: Variance of one entry, known or measured without the outliers.

    Returns:
        1 - F1 of `statistic`, same shape as `s_max`; one-sided, uncorrected for testing many layers.

    Raises:
        ValueError: If the matrix is 1 x 1, a size is below 1, or the variance is not positive and finite.

    Examples:
        A largest singular value well beyond the edge 2.414 of a 128 x 64 matrix of variance 1/64:

        >>> p_value(2.6, 128, 64, 1 / 64) < 1e-4
        True
    """
    return sf(statistic(s_max, a, b, variance))


def upper_quantile(level: float, a: int, b: int, variance: float) -> float:
    """Singular value that the largest of an a x b noise matrix exceeds with a given probability.

    Args:
        level: Probability, 0.01 for example.
        a: Number of rows.
        b: Number of columns.
        variance: Variance of one entry.

    Returns:
        sqrt(mu + sigma isf(level)), a singular value (see `largest`).

    Raises:
        ValueError: If the level lies outside [1e-300, 1 - 1e-12], the matrix is 1 x 1, a size is below 1, or
            the variance is not positive and finite.
    """
    law = largest(a, b, variance)
    return math.sqrt(max(0.0, law.mu + law.sigma * isf(float(level))))


def _at_each(x: Values, function: Callable[[float], float]) -> FloatArray:
    """Values of a scalar function at every element of x, in the shape of x."""
    points = np.asarray(x, dtype=np.float64)
    results = [function(float(point)) for point in points.ravel()]
    return np.array(results, dtype=np.float64).reshape(points.shape)


def _density(x: float) -> float:
    """F1'(x) = F1(x) (log F1)'(x)."""
    log_cdf, slope = _log_cdf_and_slope(x)
    return math.exp(log_cdf) * slope


@lru_cache(maxsize=1)
def _quadrature() -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return (nodes + 1.0) / 2.0, weights / 2.0


def _log_cdf_and_slope(x: float) -> tuple[float, float]:
    """Return log F1(x) and its derivative.

    On L2(0, inf) the kernel is Ai(y + z + x), and the derivative of log det(I - T) is -tr((I - T)^-1 dT/dx).
    The eigenvalues of T keep the right tail, where all of them are small, accurate relative to its size.
    """
    if math.isnan(x):
        return math.nan, math.nan
    if x <= _LEFT:
        return -math.inf, 0.0
    if x >= _RIGHT:
        return 0.0, 0.0
    length = (max(x, 0.0) ** 1.5 + _DECAY) ** (2.0 / 3.0) - x
    nodes, weights = _quadrature()
    nodes, roots = length * nodes, np.sqrt(length * weights)
    value, derivative, _, _ = airy(nodes[:, None] + nodes + x)
    kernel, change = roots[:, None] * value * roots, roots[:, None] * derivative * roots
    eigenvalues, vectors = np.linalg.eigh(kernel)
    eigenvalues = np.minimum(eigenvalues, _BELOW_ONE)
    log_cdf = np.sum(np.log1p(-eigenvalues))
    slope = -np.sum(np.sum(vectors * (change @ vectors), axis=0) / (1.0 - eigenvalues))
    return float(log_cdf), float(slope)


@lru_cache(maxsize=1024)
def _right_root(level: float) -> float:
    """Solve 1 - F1(x) = level <= 1 / 2: Newton on the concave log(1 - F1), from the right of the root."""
    x = math.pow(-1.5 * math.log(level), 2.0 / 3.0)
    for _ in range(_MAX_STEPS):
        log_cdf, slope = _log_cdf_and_slope(x)
        tail = -math.expm1(log_cdf)
        step = tail * math.log(tail / level) / (math.exp(log_cdf) * slope)
        x += step
        if abs(step) < _TOLERANCE:
            break
    return x


@lru_cache(maxsize=1024)
def _left_root(share: float) -> float:
    """Solve F1(x) = share <= 1 / 2: Newton on the concave log(F1), from the left of the root."""
    x = -math.cbrt(-24.0 * math.log(share))
    for _ in range(_MAX_STEPS):
        log_cdf, slope = _log_cdf_and_slope(x)
        step = (math.log(share) - log_cdf) / slope
        x += step
        if abs(step) < _TOLERANCE:
            break
    return x
