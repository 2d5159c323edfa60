"""The columns that compare a layer with its null."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from mixanalysis.operators import Masked, Operator
from mixanalysis.spectra.masked_edge import sparse_edge
from mixanalysis.spectra.nulls import Null, no_null
from mixanalysis.spectra.options import SpectrumOptions
from mixanalysis.spectra.shuffle import shuffle_null


def against(
    null: Null | None, factor: Operator, s_max: float, values: NDArray[np.float64], copies: int
) -> dict[str, Any]:
    """The columns that compare a layer with its null."""
    row: dict[str, Any] = dict.fromkeys(
        ("variance", "edge", "bulk_edge", "null_edge", "threshold", "s_max_scaled", "ks", "z", "p_value"), math.nan
    )
    row |= {"null": no_null(factor), "variance_source": "", "q_value": math.nan, "outliers": 0}
    row |= {"check": "", "check_p_value": math.nan}
    row |= {"beyond_bulk": 0} | _mask_columns(None, factor)
    if null is None:
        return row
    found = null.outliers if null.outliers is not None else int((values > null.threshold).sum())
    scaled = s_max / math.sqrt(null.variance * factor.shape[1]) if math.isfinite(null.variance) else math.nan
    return row | {
        "null": null.name,
        "variance": null.variance,
        "variance_source": null.variance_source,
        "edge": null.edge,
        "bulk_edge": null.bulk_edge,
        "null_edge": null.expected,
        "threshold": null.threshold,
        "s_max_scaled": scaled,
        "ks": null.ks,
        "z": null.z(s_max),
        "p_value": null.p_value(s_max),
        "check": null.check,
        "check_p_value": null.check_p_value,
        "outliers": found,
        "beyond_bulk": int((values > null.bulk_edge).sum()),
        **_mask_columns(null, factor),
    }


def _mask_columns(null: Null | None, factor: Operator) -> dict[str, float]:
    """How close a mask's heaviest row and column are to leaving the bulk, and the first-order edge."""
    names = ("mean_degree", "row_load", "column_load", "first_order_edge")
    if null is None or null.graph is None or not isinstance(factor, Masked):
        return dict.fromkeys(names, math.nan)
    a, b = factor.shape
    gamma, p = a / b, factor.density
    # in units of the mean row energy, a row leaves the bulk beyond 1 + sqrt(gamma), a column beyond gamma + sqrt(gamma)
    unit = factor.frobenius() ** 2 / a
    return {
        "mean_degree": p * b,
        "row_load": null.graph.row.norm**2 / unit / (1 + math.sqrt(gamma)),
        "column_load": null.graph.column.norm**2 / unit / (gamma + math.sqrt(gamma)),
        "first_order_edge": math.sqrt(null.variance * b) * sparse_edge(gamma, b, p, _kurtosis(factor)),
    }


def _kurtosis(factor: Masked) -> float:
    """Fourth moment over squared second moment of the connections' values."""
    squares = factor.values.double().square()
    return float(squares.square().mean() / squares.mean() ** 2)


def shuffled(factor: Operator, s_max: float, options: SpectrumOptions) -> dict[str, float]:
    """The columns of the shuffle null."""
    if options.shuffles == 0 or s_max == 0:
        return {"shuffles": 0, "shuffle_mean": math.nan, "shuffle_p_value": math.nan}
    null = shuffle_null(factor, s_max, options.shuffles, options.seed)
    return {"shuffles": options.shuffles, "shuffle_mean": null.mean, "shuffle_p_value": null.p_value}


def with_discovery_rate(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with Benjamini & Hochberg's (1995) adjusted p-values over all layers that have one."""
    known = [row for row in rows if not math.isnan(row["p_value"])]
    if known:
        adjusted = false_discovery_control([row["p_value"] for row in known])
        for row, q in zip(known, adjusted, strict=True):
            row["q_value"] = float(q)
    return rows
