"""Laws of products: free (Fuss-Catalan, rectangular Marchenko-Pastur factors) and classical (Kronecker).

The singular values of a product of independent factors in general position follow the free product of their
laws; those of a Kronecker product are all products of two values, the classical product. The S-transform of a
Marchenko-Pastur law is rational, so that for the free product of K factors of sizes n_0 x n_1, n_1 x n_2 and
so on, with entries of variances v_1, ..., v_K, the squared singular value z obeys

    z = v_1 ... v_K (n_0 + W)(n_1 + W) ... (n_K + W) / W,    W = sum over eigenvalues x of x / (z - x)

(Mueller 2002; Burda, Jarosz, Livan, Nowak & Swiech 2010). Its minimum gives the edge, a curve the whole law.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixanalysis.spectra import marchenko_pastur
from mixanalysis.spectra.marchenko_pastur import FloatArray, Values, check_law, like

_NODES = 64  # Gauss-Legendre nodes of the classical convolution
_CHUNK = 4096
_TINY = 1e-12  # where a density is evaluated for its value at 0, relative to the edge
_BISECTIONS = 64
_GAP = 1e-6  # distance of the end points of a curve from the edges, as an angle


@dataclass(frozen=True)
class Factor:
    """A factor whose singular values follow a Marchenko-Pastur law.

    A factor I kron W is described by W itself: in a product only the ratio of rows to columns and the scale
    variance * columns count, and the number of copies follows from the neighbouring factors.

    Attributes:
        rows: Number of rows of the (distinct) weight.
        columns: Number of its columns.
        variance: Variance of one of its entries.
    """

    rows: int
    columns: int
    variance: float

    def __post_init__(self) -> None:
        """Check sizes and variance."""
        check_law(self.rows, self.columns, self.variance)


@dataclass(frozen=True, eq=False)
class Law:
    """A law of singular values along a curve, for plots and for interpolation.

    Attributes:
        s: Singular values, ascending from the lower to the upper edge, shape (k,).
        density: Density of the non-trivial singular values at `s`, shape (k,).
        cdf: Share of the non-trivial singular values at or below `s`, shape (k,), from 0 to 1.
    """

    s: FloatArray
    density: FloatArray
    cdf: FloatArray


def fuss_catalan_edge(factors: int) -> float:
    """Edge of a product of K free square factors, in singular values.

    Args:
        factors: K, the number of factors, each with entries of variance 1 / n.

    Returns:
        sqrt((K + 1)^(K + 1) / K^K): 2 for one factor, 2.598 for two (Penson & Zyczkowski 2011).

    Raises:
        ValueError: If the number of factors is below 1.
    """
    _check_factors(factors)
    return math.exp(0.5 * ((factors + 1) * math.log(factors + 1) - factors * math.log(factors)))


def fuss_catalan_moment(order: int, factors: int) -> float:
    """Moment E[s^(2 order)] of the singular values of a product of K free square factors.

    Args:
        order: Order k of the moment of s^2, at least 0.
        factors: K, the number of factors, each with entries of variance 1 / n.

    Returns:
        The Fuss-Catalan number binom((K + 1) k, k) / (K k + 1): 1 for k = 1, K + 1 for k = 2.

    Raises:
        ValueError: If the order is negative or the number of factors is below 1.
    """
    _check_factors(factors)
    if order < 0:
        raise ValueError(f"order must be at least 0, got {order}; order 2 is the fourth moment of s")
    return float(math.comb((factors + 1) * order, order) // (factors * order + 1))


def fuss_catalan_density(s: Values, factors: int) -> Values:
    """Density of the singular values of a product of K free square factors.

    Args:
        s: Singular values, a number or an array of any shape, each factor with entries of variance 1 / n.
        factors: K, the number of factors.

    Returns:
        Density, same shape as `s`, integral 1, by the parametrisation s^2 = sin^(K+1)((K+1) u) /
        (sin(u) sin^K(K u)), 0 < u < pi / (K + 1) (Haagerup & Moeller 2013). It is 0 outside [0, edge],
        infinite at 0 for K > 1.

    Raises:
        ValueError: If the number of factors is below 1.
    """
    values = np.asarray(s, dtype=np.float64)
    inside = (values > 0) & (values <= fuss_catalan_edge(factors))
    point = np.where(inside, values, 1.0)
    rest, u = _fuss_catalan_angles(point, factors)
    density = 2.0 / (math.pi * point) * np.sin(u) * np.sin((factors + 1) * rest) / np.sin(factors * u)
    at_zero = 2.0 / math.pi if factors == 1 else math.inf
    return like(s, np.where(inside, density, _outside(values, at_zero)))


def fuss_catalan_cdf(s: Values, factors: int) -> Values:
    """Distribution function of the singular values of a product of K free square factors, in closed form.

    Args:
        s: Singular values, a number or an array of any shape, each factor with entries of variance 1 / n.
        factors: K, the number of factors.

    Returns:
        Share at or below `s`, same shape as `s`: with the angle u of `fuss_catalan_density`,
        1 - ((K + 1) u - K sin(u) sin((K + 1) u) / sin(K u)) / pi.

    Raises:
        ValueError: If the number of factors is below 1.
    """
    values = np.clip(np.asarray(s, dtype=np.float64), 0.0, fuss_catalan_edge(factors))
    rest, u = _fuss_catalan_angles(np.where(values == 0, 1.0, values), factors)
    share = (factors + 1) * rest + factors * np.sin(u) * np.sin((factors + 1) * rest) / np.sin(factors * u)
    share = np.where(np.isnan(values), np.nan, np.clip(share / math.pi, 0.0, 1.0))
    return like(s, np.where(values == 0, 0.0, share))


def free_edge(factors: Sequence[Factor]) -> float:
    """Edge of the free product of rectangular Marchenko-Pastur factors.

    Args:
        factors: Factors in the order of the matrix product, the leftmost first; the columns of one meet the
            rows of the next, up to the number of copies of each weight.

    Returns:
        Square root of the minimum of z(W) over W > 0 (see the module), where the critical point solves
        sum over k of W / (n_k + W) = 1. One factor gives `marchenko_pastur.edge`, K square ones
        `fuss_catalan_edge`.

    Raises:
        ValueError: If there is no factor.
    """
    sizes, log_scale = _chain(factors)
    low, high = sizes.min() / len(factors), sizes.max() / len(factors)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if np.sum(middle / (sizes + middle)) < 1.0 else (low, middle)
    w = (low + high) / 2.0
    return math.exp(0.5 * float(log_scale + np.sum(np.log(sizes + w)) - np.log(w)))


def free_law(factors: Sequence[Factor], points: int = 1001) -> Law:
    """Law of the free product of rectangular Marchenko-Pastur factors.

    Args:
        factors: Factors in the order of the matrix product, as in `free_edge`.
        points: Number of points of the curve, at least 2; they gather at both edges.

    Returns:
        The law of the non-trivial singular values, as many as the smallest size of the chain. On the ray
        arg(W) = psi the modulus of W is where the arguments of n_k + W add up to psi, then z is real; the
        share above z is (sum over k of n_k arg(n_k + W) - K Im(W)) / (pi min(n_k)).

    Raises:
        ValueError: If there is no factor, or fewer than 2 points.
    """
    if points < 2:
        raise ValueError(f"points must be at least 2, got {points}; 1001 make a smooth curve")
    sizes, log_scale = _chain(factors)
    psi = np.linspace(math.pi - _GAP, _GAP, points)
    low, high = np.full(points, sizes.min() / len(factors)), np.full(points, sizes.max())
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        short = np.angle(sizes[:, None] + middle * np.exp(1j * psi)).sum(axis=0) < psi
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    w = (low + high) / 2.0 * np.exp(1j * psi)
    shifted = sizes[:, None] + w
    s = np.exp(0.5 * (log_scale + np.log(np.abs(shifted)).sum(axis=0) - np.log(np.abs(w))))
    above = (sizes @ np.angle(shifted) - len(factors) * w.imag) / (math.pi * sizes.min())
    return Law(s, 2.0 * w.imag / (math.pi * sizes.min() * s), np.clip(1.0 - above, 0.0, 1.0))


def classical_edge(first: Factor, second: Factor) -> float:
    """Edge of the products of two independent Marchenko-Pastur values, as in a Kronecker product.

    Args:
        first: One factor of the Kronecker product.
        second: The other.

    Returns:
        Product of the two edges, a singular value: 4 for two square factors of unit norm.
    """
    return _edges(first)[1] * _edges(second)[1]


def classical_density(s: Values, first: Factor, second: Factor) -> Values:
    """Density of the product of two independent Marchenko-Pastur singular values.

    Args:
        s: Singular values, a number or an array of any shape.
        first: One factor of the Kronecker product.
        second: The other.

    Returns:
        Density, same shape as `s`, integral 1 over [product of the lower edges, product of the edges], by
        quadrature of f1(x) f2(s / x) over log(x); infinite at 0 for two square factors.
    """
    values = np.asarray(s, dtype=np.float64)
    top = classical_edge(first, second)
    inside = (values >= 0) & (values < top)
    density = _convolve(np.where(inside, np.maximum(values, _TINY * top), top / 2.0), first, second, cumulative=False)
    if first.rows == first.columns and second.rows == second.columns:
        density = np.where(values == 0, math.inf, density)
    return like(s, np.where(inside, density, _outside(values, 0.0)))


def classical_cdf(s: Values, first: Factor, second: Factor) -> Values:
    """Distribution function of the product of two independent Marchenko-Pastur singular values.

    Args:
        s: Singular values, a number or an array of any shape.
        first: One factor of the Kronecker product.
        second: The other.

    Returns:
        Share of the non-trivial products at or below `s`, same shape as `s`, by quadrature.
    """
    values = np.asarray(s, dtype=np.float64)
    top = classical_edge(first, second)
    inside = (values > 0) & (values < top)
    share = _convolve(np.where(inside, values, top / 2.0), first, second, cumulative=True)
    outside = np.where(values >= top, 1.0, _outside(values, 0.0))
    return like(s, np.where(inside, np.clip(share, 0.0, 1.0), outside))


def _check_factors(factors: int) -> None:
    """Check the number of factors of a Fuss-Catalan law."""
    if factors < 1:
        raise ValueError(f"factors must be at least 1, got {factors}; one factor is a dense matrix")


def _outside(values: FloatArray, at_zero: float) -> FloatArray:
    """Return what a density is off its support: `at_zero` at 0, NaN at NaN, else 0."""
    return np.where(np.isnan(values), np.nan, np.where(values == 0, at_zero, 0.0))


def _fuss_catalan_angles(s: FloatArray, factors: int) -> tuple[FloatArray, FloatArray]:
    """Return pi / (K + 1) - u and u for the angle u of singular values in (0, edge], by bisection."""
    top = math.pi / (factors + 1)
    low, high = np.zeros_like(s), np.full_like(s, top)
    for _ in range(_BISECTIONS):
        rest = (low + high) / 2.0
        u = top - rest
        small = np.sin((factors + 1) * np.minimum(rest, u)) ** (factors + 1)
        short = small < s**2 * np.sin(u) * np.sin(factors * u) ** factors
        low, high = np.where(short, rest, low), np.where(short, high, rest)
    rest = (low + high) / 2.0
    return rest, np.maximum(top - rest, np.finfo(np.float64).tiny)


def _chain(factors: Sequence[Factor]) -> tuple[FloatArray, float]:
    """Return the sizes n_0 ... n_K of the whole product and the logarithm of the product of its variances."""
    if not factors:
        raise ValueError("expected at least one factor, got none; pass the factors of the product")
    sizes, log_scale = [float(factors[0].rows)], 0.0
    for factor in factors:
        copies = sizes[-1] / factor.rows
        sizes.append(copies * factor.columns)
        log_scale += math.log(factor.variance / copies)
    return np.array(sizes), log_scale


def _edges(factor: Factor) -> tuple[float, float]:
    """Lower and upper edge of a factor."""
    shape = factor.rows, factor.columns, factor.variance
    return marchenko_pastur.lower_edge(*shape), marchenko_pastur.edge(*shape)


def _convolve(s: FloatArray, first: Factor, second: Factor, *, cumulative: bool) -> FloatArray:
    """Quadrature over log(x), x a value of the first factor, where neither density is zero."""
    law1 = first.rows, first.columns, first.variance
    law2 = second.rows, second.columns, second.variance
    (low1, high1), (low2, high2) = _edges(first), _edges(second)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    angle, weights = math.pi * (nodes + 1.0) / 2.0, math.pi * weights / 2.0
    second_law = marchenko_pastur.cdf if cumulative else marchenko_pastur.density
    points = s.ravel()
    result = np.empty_like(points)
    for start in range(0, len(points), _CHUNK):
        part = points[start : start + _CHUNK, None]
        low = np.log(np.maximum(low1, part / high2))
        high = np.log(np.minimum(high1, part / low2 if low2 > 0 else np.inf))
        half = np.maximum(high - low, 0.0) / 2.0
        # The cosine removes the square-root ends of both densities.
        x = np.exp(low + half * (1.0 - np.cos(angle)))
        measure = half * np.sin(angle) * weights * marchenko_pastur.density(x, *law1)
        if cumulative:
            measure *= x
        result[start : start + _CHUNK] = np.sum(measure * second_law(part / x, *law2), axis=1)
    if cumulative:
        result += marchenko_pastur.cdf(points / high2, *law1)
    return result.reshape(s.shape)
