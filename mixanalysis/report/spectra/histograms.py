"""Bins of a layer's singular values, the same in every picture of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def bin_edges(s_max: float, null_edge: float, count: int) -> NDArray[np.float64]:
    """Edges of equal bins from 0 to a little beyond the largest value and the null's edge, shape (bins + 1,).

    Args:
        s_max: largest singular value.
        null_edge: where noise would have it; NaN without a null.
        count: singular values to be counted.

    Returns:
        Edges in units of singular values, at least 9 and at most 61.
    """
    top = max(s_max, float(np.nan_to_num(null_edge))) * 1.05 or 1.0
    return np.linspace(0.0, top, int(np.clip(2 * np.sqrt(count), 8, 60)) + 1)


def outlier_values(layer: pd.Series, own: pd.DataFrame) -> NDArray[np.float64]:
    """A layer's outliers, largest first, each as often as it occurs in the independent factor.

    Args:
        layer: its row of `SPECTRUM`.
        own: its rows of `SINGULAR_VALUES`.

    Returns:
        Singular values, shape (outliers,).
    """
    copies = (own["multiplicity"] // max(int(layer["copies"]), 1)).astype(int)
    values: NDArray[np.float64] = np.repeat(own["singular_value"].to_numpy(dtype=float), copies)
    return values[: int(layer["outliers"])]
