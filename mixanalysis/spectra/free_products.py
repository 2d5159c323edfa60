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

from mixanalysis.spectra.marchenko_pastur import FloatArray, check_law

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


def free_edge(factors: Sequence[Factor]) -> float:
    """Edge of the free product of rectangular Marchenko-Pastur factors.

    Args:
        factors: Factors in the order of the matrix product, the leftmost first; the columns of one meet the
            rows of the next, up to the number of copies of each weight.

    Returns:
        Square root of the minimum of z(W) over W > 0 (see the module), where the critical point solves
        sum over k of W / (n_k + W) = 1. One factor gives `marchenko_pastur.edge`, K square ones of entries of
        variance 1 / n the Fuss-Catalan edge sqrt((K + 1)^(K + 1) / K^K).

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
