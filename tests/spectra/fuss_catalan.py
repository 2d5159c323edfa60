"""The product of K free square factors in closed form: the Fuss-Catalan laws, for comparison."""

from __future__ import annotations

import math

import numpy as np

from mixanalysis.spectra.marchenko_pastur import like

_BISECTIONS = 64


def fuss_catalan_edge(factors):
    """Edge of a product of K free square factors, in singular values.

    Args:
        factors: K, the number of factors, each with entries of variance 1 / n.

    Returns:
        sqrt((K + 1)^(K + 1) / K^K): 2 for one factor, 2.598 for two (Penson & Zyczkowski 2011).
    """
    return math.exp(0.5 * ((factors + 1) * math.log(factors + 1) - factors * math.log(factors)))


def fuss_catalan_moment(order, factors):
    """Moment E[s^(2 order)] of the singular values of a product of K free square factors.

    Args:
        order: Order k of the moment of s^2, at least 0.
        factors: K, the number of factors, each with entries of variance 1 / n.

    Returns:
        The Fuss-Catalan number binom((K + 1) k, k) / (K k + 1): 1 for k = 1, K + 1 for k = 2.
    """
    return float(math.comb((factors + 1) * order, order) // (factors * order + 1))


def fuss_catalan_density(s, factors):
    """Density of the singular values of a product of K free square factors.

    Args:
        s: Singular values, a number or an array of any shape, each factor with entries of variance 1 / n.
        factors: K, the number of factors.

    Returns:
        Density, same shape as `s`, integral 1, by the parametrisation s^2 = sin^(K+1)((K+1) u) /
        (sin(u) sin^K(K u)), 0 < u < pi / (K + 1) (Haagerup & Moeller 2013). It is 0 outside [0, edge],
        infinite at 0 for K > 1.
    """
    values = np.asarray(s, dtype=np.float64)
    inside = (values > 0) & (values <= fuss_catalan_edge(factors))
    point = np.where(inside, values, 1.0)
    rest, u = _fuss_catalan_angles(point, factors)
    density = 2.0 / (math.pi * point) * np.sin(u) * np.sin((factors + 1) * rest) / np.sin(factors * u)
    at_zero = 2.0 / math.pi if factors == 1 else math.inf
    return like(s, np.where(inside, density, _outside(values, at_zero)))


def fuss_catalan_cdf(s, factors):
    """Distribution function of the singular values of a product of K free square factors, in closed form.

    Args:
        s: Singular values, a number or an array of any shape, each factor with entries of variance 1 / n.
        factors: K, the number of factors.

    Returns:
        Share at or below `s`, same shape as `s`: with the angle u of `fuss_catalan_density`,
        1 - ((K + 1) u - K sin(u) sin((K + 1) u) / sin(K u)) / pi.
    """
    values = np.clip(np.asarray(s, dtype=np.float64), 0.0, fuss_catalan_edge(factors))
    rest, u = _fuss_catalan_angles(np.where(values == 0, 1.0, values), factors)
    share = (factors + 1) * rest + factors * np.sin(u) * np.sin((factors + 1) * rest) / np.sin(factors * u)
    share = np.where(np.isnan(values), np.nan, np.clip(share / math.pi, 0.0, 1.0))
    return like(s, np.where(values == 0, 0.0, share))


def _outside(values, at_zero):
    """Return what a density is off its support: `at_zero` at 0, NaN at NaN, else 0."""
    return np.where(np.isnan(values), np.nan, np.where(values == 0, at_zero, 0.0))


def _fuss_catalan_angles(s, factors):
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
