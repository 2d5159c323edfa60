"""The data of the page's charts of CKA: means, and heat maps of as many pairs as a page holds."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from mixanalysis.report.cells import short
from mixanalysis.report.section import Interactive
from mixanalysis.report.similarity.drawings import cells_by_pair
from mixanalysis.report.similarity.figures import READABLE_CELLS
from mixanalysis.report.similarity.findings import CEILINGS, FLOORS
from mixanalysis.similarity import CKAResult

MOST_PAIRS = 60
"""Pairs of networks that the page draws; the reference's come first."""

MOST_CELLS = 60_000
"""Cells of heat maps that the page holds; with the layers of spectra, its size stays below 3 MB."""

SHADES = 64
"""Colours of a heat map."""


def interactive(similarity: CKAResult) -> Interactive:
    """Means, profile and heat maps of the page, of the pairs that fit."""
    cells, diagonal = similarity.cells, similarity.diagonal
    pairs = chosen_pairs(diagonal, cells)
    of_pair = cells_by_pair(similarity)
    data = {
        "means": means(pairs),
        "pairs": [heat_map(of_pair[a, b], a, b) for a, b in zip(pairs["network_a"], pairs["network_b"], strict=True)],
        "readable": READABLE_CELLS,
        "shades": [to_hex(colour) for colour in mpl.colormaps["viridis"](np.linspace(0, 1, SHADES))],
    }
    left_out = f"Charts of CKA show {len(pairs)} of {len(diagonal)} pairs of networks, those of the reference first."
    return Interactive("similarity/page.html", data, left_out=(left_out,) * (len(pairs) < len(diagonal)))


def chosen_pairs(diagonal: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The pairs that the page draws: the reference's first, as many as fit.

    Args:
        diagonal: rows of `CKA_DIAGONAL`; the first row's `network_a` is the reference.
        cells: rows of `CKA_CELLS` of the same pairs.

    Returns:
        Rows of `diagonal`.
    """
    reference = diagonal.iloc[0]["network_a"]
    order = diagonal["network_a"].eq(reference).sort_values(ascending=False, kind="stable").index
    sizes = cells.groupby(["network_a", "network_b"], sort=False).size()
    keys = list(diagonal.loc[order, ["network_a", "network_b"]].itertuples(index=False, name=None))
    total = np.cumsum([sizes.get(key, 0) for key in keys])
    fits = max(int((total <= MOST_CELLS).sum()), 1)
    return diagonal.loc[order[: min(fits, MOST_PAIRS)]]


def means(pairs: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean of each pair that has one, with its interval; `kind` is 1 for a floor, 2 for a ceiling, 0 otherwise."""
    return [
        {
            "a": str(row.network_a),
            "b": str(row.network_b),
            "relation": str(row.relation),
            "kind": 1 if row.relation in FLOORS else 2 if row.relation in CEILINGS else 0,
            "value": short(row.mean),
            "low": short(row.low),
            "high": short(row.high),
        }
        for row in pairs[pairs["mean"].notna()].itertuples()
    ]


def heat_map(cells: pd.DataFrame, a: str, b: str) -> dict[str, Any]:
    """Blocks of `a` by blocks of `b`, of this pair's cells: names, values, intervals, and why a value is undefined."""
    own = cells.sort_values(["index_a", "index_b"])
    rows, named = own.drop_duplicates("index_a"), own.drop_duplicates("index_b")
    shape = (len(rows), len(named))
    undefined = own[own["value"].isna()]
    return {
        "a": str(a),
        "b": str(b),
        "rows": [str(name) for name in rows["layer_a"]],
        "columns": [str(name) for name in named["layer_b"]],
        "status": {f"{row.index_a},{row.index_b}": str(row.status) for row in undefined.itertuples()},
    } | {
        name: [[short(value) for value in line] for line in own[name].to_numpy().reshape(shape)]
        for name in ("value", "low", "high")
    }
