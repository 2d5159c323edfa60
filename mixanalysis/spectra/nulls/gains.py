"""Noise in copies of one matrix, each with a gain of its own, as channels behind a layer scale have them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from mixanalysis.operators import Dense, Kronecker, Masked, Operator
from mixanalysis.spectra.nulls.law import factor_null, has_law
from mixanalysis.spectra.nulls.null import Null, VarianceSource
from mixanalysis.spectra.nulls.parts import independent_factor, independent_parts


def gains(operator: Operator) -> Masked | None:
    """The diagonal D of a D kron W, gains of copies of one matrix; None for others."""
    left = operator.left if isinstance(operator, Kronecker) else None
    if not isinstance(left, Masked) or left.shape[0] != left.shape[1] or not torch.equal(left.rows, left.columns):
        return None
    return left


@has_law.register
def _(factor: Kronecker) -> bool:
    return gains(factor) is not None


@independent_parts.register
def _(operator: Kronecker) -> list[list[Operator]]:
    if gains(operator) is not None:
        return [[operator]]
    return [[independent_factor(side)] for side in (operator.left, operator.right)]


@factor_null.register
def gained_null(
    factor: Kronecker, _values: NDArray[np.float64], source: VarianceSource, declared: float | None, level: float
) -> Null | None:
    """Of D kron W with a diagonal D: the null of W times the largest gain, which reaches furthest."""
    if (diagonal := gains(factor)) is None:
        return None
    copy = independent_factor(factor.right)
    values = copy.spectrum().values if isinstance(copy, Dense) else np.empty(0)
    null = factor_null(copy, values, source, declared, level)
    gain = float(diagonal.values.double().abs().max())
    if null is None or gain == 0:
        return None
    return replace(
        null,
        name=f"{null.name}, times the largest gain",
        # each copy has a variance of its own
        variance=np.nan,
        edge=np.nan,
        bulk_edge=gain * null.bulk_edge,
        expected=gain * null.expected,
        threshold=gain * null.threshold,
        centre=gain**2 * null.centre,
        scale=gain**2 * null.scale,
        graph=None,
        compared=gain * null.compared,
        remainder=None,
        outliers=null.outliers if np.isfinite(null.compared) or np.isnan(null.threshold) else None,
    )
