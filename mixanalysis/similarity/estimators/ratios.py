"""CKA as a ratio of HSIC, and its interval."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit

from mixanalysis.similarity.estimators.batch_sums import Floats

COVERAGE = 0.95

_ROUNDING = 1e-12
"""A layer with less than this share of its HSIC with itself left beside a covariate has nothing left."""


def ratio(hsic: Floats, covariate: int | None = None) -> Floats:
    """CKA: HSIC(a, b) / (sqrt HSIC(a, a) sqrt HSIC(b, b)) over the last two axes.

    Args:
        hsic: shape (..., layers, layers), symmetric.
        covariate: position of a layer whose Gram matrix is regressed out of those of all others first (Cui et al.
            2022): HSIC(a, b) - HSIC(a, c) HSIC(b, c) / HSIC(c, c).

    Returns:
        Shape (..., layers, layers); NaN for a non-positive self-term.
    """
    if covariate is not None:
        shared = hsic[..., :, covariate]
        own = np.where(hsic[..., covariate, covariate] > 0, hsic[..., covariate, covariate], np.nan)
        rounding = _ROUNDING * np.diagonal(hsic, axis1=-2, axis2=-1)
        hsic = hsic - shared[..., :, None] * shared[..., None, :] / own[..., None, None]
    own = np.diagonal(hsic, axis1=-2, axis2=-1)
    if covariate is not None:
        own = np.where(own > rounding, own, 0)
    root = np.sqrt(np.where(own > 0, own, np.nan))
    # one product of the roots, so that the quotient is exactly symmetric
    quotient: Floats = hsic / (root[..., :, None] * root[..., None, :])
    return quotient


def jackknife_interval(value: Floats, left_out: Floats) -> tuple[Floats, Floats]:
    """Interval of a statistic from its delete-one-group values, with Student's quantile.

    Args:
        value: the statistic, any shape.
        left_out: its values with one of g groups left out, shape (g, ...).

    Returns:
        Lower and upper end; NaN where there are fewer than two groups.
    """
    groups = len(left_out)
    if groups < 2:
        return np.full_like(value, np.nan), np.full_like(value, np.nan)
    spread = np.sqrt((groups - 1) / groups * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0))
    half = stdtrit(groups - 1, 0.5 + COVERAGE / 2) * spread
    return value - half, value + half
