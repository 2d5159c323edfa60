"""Dense noise: the Marchenko-Pastur law, and Tracy and Widom's for the largest singular value.

Where the entries aren't independent ones of one variance, they are compared with themselves under random signs (rows or
columns of uneven scale), or in random places (heavy tails); where neighbours are correlated, with nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from mixanalysis.operators import Dense
from mixanalysis.operators.svd import singular_values
from mixanalysis.spectra import marchenko_pastur, tracy_widom
from mixanalysis.spectra.assumptions import Assumptions, examined
from mixanalysis.spectra.fit import Fit, fit_values
from mixanalysis.spectra.nulls.draws import TW_MEAN, dense_fluctuations, permuted, signs
from mixanalysis.spectra.nulls.law import declared_variance, entry_variance, factor_null
from mixanalysis.spectra.nulls.null import Null, VarianceSource

SMALLEST = 4
"""Smaller sides up to this are too few entries to be checked."""

DRAWN = {"signs": signs, "permuted": permuted}


@factor_null.register
def marchenko_pastur_null(
    factor: Dense, values: NDArray[np.float64], source: VarianceSource, declared: float | None, level: float
) -> Null | None:
    """Independent entries of one variance; see `factor_null`."""
    a, b = factor.shape
    energy = values.any()
    # one number has no edge; nor have weights that are all zero, unless there is an initialisation to compare with
    if a == b == 1 or (not energy and source != "declared"):
        return None
    initial = declared_variance(declared) if source == "declared" else None
    cells = _cells(factor)
    rows, columns = (a, b) if initial is not None else cells.shape
    if max(rows, columns) < 2:
        return None
    checks = examined(cells) if energy and min(cells.shape) > SMALLEST else None
    if checks is None:
        return _law(values, (rows, columns), source, initial, level)
    if checks.centred:
        values = singular_values(torch.from_numpy(checks.matrix))
    if checks.fitting == "law":
        # what was declared concerns empty rows and columns too
        shape = (rows, columns) if initial is not None and not checks.centred else checks.shape
        null = _law(values, shape, source, initial, level)
    else:
        null = _drawn(checks, values, source, initial, level)
    null = replace(null, check="; ".join(checks.failures) or "ok", check_p_value=checks.p_value)
    if not checks.centred:
        return null
    counted = int((values > null.threshold).sum()) if null.outliers is None else null.outliers
    rest = Dense(torch.from_numpy(checks.matrix))
    return replace(null, outliers=counted, compared=float(values[0]), remainder=rest)


def _law(
    values: NDArray[np.float64],
    shape: tuple[int, int],
    source: VarianceSource,
    initial: float | None,
    level: float,
) -> Null:
    """The Marchenko-Pastur law and Tracy-Widom's width, at the variance asked for."""
    rows, columns = shape
    fitted = _fitted(values, rows, columns, level) if source == "fitted" else None
    if fitted is not None:
        variance, used, ks, outliers = fitted.variance, "fitted", fitted.ks, fitted.n_outliers
    elif initial is not None:
        variance, used, ks, outliers = initial, "declared", np.nan, None
    else:
        variance, used, ks, outliers = float((values**2).sum()) / (rows * columns), "measured", np.nan, None
    edge = marchenko_pastur.edge(rows, columns, variance)
    law = tracy_widom.largest(rows, columns, variance)
    threshold = max(edge, float(tracy_widom.upper_quantile(level, rows, columns, variance)))
    name = "Marchenko-Pastur"
    return Null(name, variance, used, edge, edge, edge, threshold, law.mu, law.sigma, ks, outliers=outliers)


def _drawn(
    checks: Assumptions, values: NDArray[np.float64], source: VarianceSource, initial: float | None, level: float
) -> Null:
    """The entries with random signs, or in random places; nothing where neither stands for noise of this kind."""
    law = _law(values, checks.shape, source, initial, level)
    if checks.fitting == "none":
        reason, unknown = "; ".join(checks.failures), np.nan
        return Null(
            f"none: {reason}", law.variance, law.variance_source, law.edge, unknown, unknown, unknown, outliers=0
        )
    centre, scale = dense_fluctuations(checks.matrix, DRAWN[checks.fitting])
    expected = float(np.sqrt(centre + TW_MEAN * scale))
    threshold = max(expected, float(np.sqrt(max(centre + scale * float(tracy_widom.isf(level)), 0.0))))
    name = "random signs"
    if checks.fitting == "permuted":
        name = "permuted entries"
    return replace(
        law,
        name=name,
        bulk_edge=expected,
        expected=expected,
        threshold=threshold,
        centre=centre,
        scale=scale,
        ks=np.nan,
        outliers=None,
    )


@entry_variance.register
def _(factor: Dense, values: NDArray[np.float64], level: float) -> float | None:
    energy = factor.frobenius() ** 2
    if energy == 0:
        return None
    fitted = _fitted(values, *alive(factor), level)
    return energy / (factor.shape[0] * factor.shape[1]) if fitted is None else fitted.variance


def _cells(factor: Dense) -> NDArray[np.float64]:
    """The matrix without its empty rows and columns, float64 where it has more digits than float32."""
    kept = torch.float64 if factor.torch_dtype == torch.float64 else torch.float32
    cells: NDArray[np.float64] = factor.weight.detach().to("cpu", kept).numpy()
    if np.count_nonzero(cells) == cells.size:
        return cells
    rows, columns = cells.any(axis=1), cells.any(axis=0)
    return cells if rows.all() and columns.all() else cells[rows][:, columns]


def alive(factor: Dense) -> tuple[int, int]:
    """Numbers of rows and columns that aren't empty."""
    return int(factor.weight.any(dim=1).sum()), int(factor.weight.any(dim=0).sum())


def _fitted(values: NDArray[np.float64], rows: int, columns: int, level: float) -> Fit | None:
    """The fit, where there is a bulk to fit."""
    count = min(rows, columns)
    if count < 2 or (values[:count] > 1e-6 * values[0]).mean() <= 0.5:
        return None
    return fit_values(values[:count], rows, columns, level)
