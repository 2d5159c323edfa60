"""Dense noise: the Marchenko-Pastur law, and Tracy and Widom's for the largest singular value."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixanalysis.operators import Dense
from mixanalysis.spectra import marchenko_pastur, tracy_widom
from mixanalysis.spectra.fit import Fit, fit_values
from mixanalysis.spectra.nulls.law import declared_variance, entry_variance, factor_null
from mixanalysis.spectra.nulls.null import Null, VarianceSource


@factor_null.register
def marchenko_pastur_null(
    factor: Dense, values: NDArray[np.float64], source: VarianceSource, declared: float | None, level: float
) -> Null | None:
    """Independent entries of one variance; see `factor_null`."""
    a, b = factor.shape
    energy = factor.frobenius() ** 2
    # one number has no edge; nor have weights that are all zero, unless there is an initialisation to compare with
    if a == b == 1 or (energy == 0 and source != "declared"):
        return None
    rows, columns = (a, b) if source == "declared" else alive(factor)
    initial = declared_variance(declared) if source == "declared" else None
    if max(rows, columns) < 2:
        return None
    fitted = _fitted(values, rows, columns, level) if source == "fitted" else None
    if fitted is not None:
        variance, used, ks, outliers = fitted.variance, "fitted", fitted.ks, fitted.n_outliers
    elif initial is not None:
        variance, used, ks, outliers = initial, "declared", np.nan, None
    else:
        variance, used, ks, outliers = energy / (rows * columns), "measured", np.nan, None
    edge = marchenko_pastur.edge(rows, columns, variance)
    law = tracy_widom.largest(rows, columns, variance)
    threshold = max(edge, float(tracy_widom.upper_quantile(level, rows, columns, variance)))
    name = "Marchenko-Pastur"
    return Null(name, variance, used, edge, edge, edge, threshold, law.mu, law.sigma, ks, outliers=outliers)


@entry_variance.register
def _(factor: Dense, values: NDArray[np.float64], level: float) -> float | None:
    energy = factor.frobenius() ** 2
    if energy == 0:
        return None
    fitted = _fitted(values, *alive(factor), level)
    return energy / (factor.shape[0] * factor.shape[1]) if fitted is None else fitted.variance


def alive(factor: Dense) -> tuple[int, int]:
    """Numbers of rows and columns that aren't empty."""
    return int(factor.weight.any(dim=1).sum()), int(factor.weight.any(dim=0).sum())


def _fitted(values: NDArray[np.float64], rows: int, columns: int, level: float) -> Fit | None:
    """The fit, where there is a bulk to fit."""
    count = min(rows, columns)
    if count < 2 or (values[:count] > 1e-6 * values[0]).mean() <= 0.5:
        return None
    return fit_values(values[:count], rows, columns, level)
