"""The data of the page's charts of spectra: a histogram and the facts of as many layers as a page holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mixanalysis.report.cells import short, text_of
from mixanalysis.report.section import Interactive
from mixanalysis.report.spectra.figures import SIGNIFICANT, beyond_edge, p_text, short_layer
from mixanalysis.report.spectra.histograms import bin_edges, outlier_values
from mixanalysis.results import Column, plain
from mixanalysis.spectra import SpectrumResult, nulls
from mixanalysis.spectra.schemas import SPECTRUM

MOST_LAYERS = 600
"""Histograms that the page holds."""

LAW_POINTS = 100
"""Points of a null's density."""

RATIO = Column("ratio", "", "s_max over null_edge")
"""The one column of the page that the CSV files leave to their reader."""

FACTS = (
    "role",
    "width",
    "expansion",
    "density",
    "connections",
    "s_max",
    "null_edge",
    "bulk_edge",
    "threshold",
    "ratio",
    "p_value",
    "q_value",
    "outliers",
    "null",
    "variance",
    "variance_source",
    "ks",
    "method",
)
"""Columns that are told about a layer beside its histogram."""


def interactive(spectra: SpectrumResult) -> Interactive:
    """Edges of all layers, and a picker of layers with their histograms, of the layers that fit."""
    every = len(spectra.summary)
    details = [column for column in (*SPECTRUM.columns, RATIO) if column.name in FACTS]
    left_out = f"The layer picker holds the first {MOST_LAYERS} of {every} layers."
    return Interactive(
        "spectra/page.html",
        {"facts": list(FACTS), "layers": layers(spectra), "significant": SIGNIFICANT},
        {"details": details},
        (left_out,) * (every > MOST_LAYERS),
    )


def layers(spectra: SpectrumResult) -> dict[str, list[dict[str, Any]]]:
    """Each network's layers: histogram, edges, law and facts, in forward order."""
    drawn: dict[str, list[dict[str, Any]]] = {}
    values = dict(iter(spectra.values.groupby(["network", "layer"], sort=False)))
    summary = with_ratio(spectra.summary)
    summary = summary.assign(beyond=beyond_edge(summary)).head(MOST_LAYERS)
    nothing = spectra.values.head(0)
    for _, layer in summary.iterrows():
        key = (str(layer["network"]), str(layer["layer"]))
        drawn.setdefault(key[0], []).append(_layer(layer, values.get(key, nothing), spectra.nulls.get(key)))
    return drawn


def _layer(layer: pd.Series, own: pd.DataFrame, law: nulls.Null | None) -> dict[str, Any]:
    edges = bin_edges(float(layer["s_max"]), float(layer["null_edge"]), len(own))
    counts, _ = np.histogram(own["singular_value"], edges, weights=own["multiplicity"])
    grid = np.linspace(0.0, edges[-1], LAW_POINTS + 1)[1:]
    shape = (int(layer["factor_rows"]), int(layer["factor_columns"]))
    curve = None if law is None else nulls.density(law, grid, shape)
    return {
        "name": str(layer["layer"]),
        "short": short_layer(str(layer["layer"])),
        "block": int(layer["block"]),
        "counts": [float(count) if count % 1 else int(count) for count in counts],
        "top": float(edges[-1]),
        "law": [] if curve is None else [short(height) for height in curve],
        "law_name": str(layer["null"]),
        "outliers": [short(value) for value in outlier_values(layer, own)],
        "beyond": bool(layer["beyond"]),
        "p": plain(layer["p_value"]),
        "p_text": p_text(float(layer["p_value"])),
        "facts": [text_of(layer[name]) for name in FACTS],
    } | {name: short(layer[name]) for name in ("s_max", "null_edge", "bulk_edge", "threshold", "ratio")}


def with_ratio(spectrum: pd.DataFrame) -> pd.DataFrame:
    """The table with `ratio`, the largest singular value over the edge of the null, after `null_edge`.

    Args:
        spectrum: rows of `SPECTRUM`.

    Returns:
        A new frame; `ratio` is NaN where there is no edge.
    """
    edge = spectrum["null_edge"].astype(float)
    position = [column.name for column in SPECTRUM.columns].index("null_edge") + 1
    result = spectrum.copy()
    result.insert(position, "ratio", spectrum["s_max"] / edge.where(edge > 0))
    return result
