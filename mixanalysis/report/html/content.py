"""What the page's charts are drawn from: aggregates of the tables, rounded, as JSON-ready data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from mixanalysis.report.figures import SIGNIFICANT, beyond_edge, p_text, short_layer
from mixanalysis.report.findings import CEILINGS, FLOORS
from mixanalysis.report.histograms import bin_edges, outlier_values
from mixanalysis.report.similarity.figures import READABLE_CELLS
from mixanalysis.report.style import MARKERS
from mixanalysis.results import plain, records
from mixanalysis.spectra import nulls
from mixanalysis.spectra.schemas import SPECTRUM

MOST_PAIRS = 60
"""Pairs of networks that the page draws; the reference's come first."""

MOST_CELLS = 60_000
"""Cells of heat maps that the page holds; with `MOST_LAYERS`, its size stays below 3 MB."""

MOST_LAYERS = 600
"""Histograms that the page holds."""

DIGITS = 4
"""Significant digits of numbers in charts; the CSV files have all."""

SHADES = 64
"""Colours of a heat map."""

LAW_POINTS = 100
"""Points of a null's density."""

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
"""What is told about a layer beside its histogram."""


@dataclass(frozen=True, eq=False)
class Contents:
    """Everything that the page tells.

    Attributes:
        tables: the report's tables by the name of their schema.
        laws: for each (network, layer) that has one, its null.
        warnings: what CKA left out.
        inputs: label, path, sha256, format and layout of each checkpoint.
        data: name, split, number of images and fingerprint of the data.
        versions: of Python and the libraries.
        captions: caption of each figure, by its name without folder and ending.
        files: paths beside the page, relative to it.
    """

    tables: Mapping[str, pd.DataFrame]
    laws: Mapping[tuple[str, str], nulls.Null] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    inputs: Sequence[Mapping[str, str]] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    captions: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[str] = ()


def payload(contents: Contents) -> dict[str, Any]:
    """The data of the charts."""
    tables = contents.tables
    networks = [str(name) for name in tables["networks"]["network"]]
    pairs = chosen_pairs(tables["cka_diagonal"], tables["cka"])
    return {
        "facts": list(FACTS),
        "layers": layers(contents),
        "markers": list(MARKERS),
        "means": means(pairs),
        "networks": networks,
        "pairs": [heat_map(tables["cka"], str(row.network_a), str(row.network_b)) for row in pairs.itertuples()],
        "readable": READABLE_CELLS,
        "reference": networks[0],
        "shades": [to_hex(colour) for colour in mpl.colormaps["viridis"](np.linspace(0, 1, SHADES))],
        "significant": SIGNIFICANT,
        "width": {
            "channels": grouped(tables["width_channels"], ("omega", "expansion_token", "expansion_channel")),
            "lines": grouped(tables["width_line"], ("omega", "expansion")),
            "points": records(tables["width_points"]),
        },
    }


def left_out(contents: Contents) -> list[str]:
    """What the page leaves to the CSV files, a line each."""
    lines = []
    every = len(contents.tables["cka_diagonal"])
    shown = len(chosen_pairs(contents.tables["cka_diagonal"], contents.tables["cka"]))
    if shown < every:
        lines.append(f"Charts of CKA show {shown} of {every} pairs of networks, those of the reference first.")
    every = len(contents.tables["spectrum"])
    if every > MOST_LAYERS:
        lines.append(f"The layer picker holds the first {MOST_LAYERS} of {every} layers.")
    return lines


def chosen_pairs(diagonal: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The pairs that the page draws: the reference's first, as many as fit."""
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
    """Blocks of `a` by blocks of `b`: names, values, intervals, and why a value is undefined."""
    own = cells[(cells["network_a"] == a) & (cells["network_b"] == b)].sort_values(["index_a", "index_b"])
    rows, named = own.drop_duplicates("index_a"), own.drop_duplicates("index_b")
    shape = (len(rows), len(named))
    undefined = own[own["value"].isna()]
    return {
        "a": a,
        "b": b,
        "rows": [str(name) for name in rows["layer_a"]],
        "columns": [str(name) for name in named["layer_b"]],
        "status": {f"{row.index_a},{row.index_b}": str(row.status) for row in undefined.itertuples()},
    } | {
        name: [[short(value) for value in line] for line in own[name].to_numpy().reshape(shape)]
        for name in ("value", "low", "high")
    }


def layers(contents: Contents) -> dict[str, list[dict[str, Any]]]:
    """Each network's layers: histogram, edges, law and facts, in forward order."""
    found: dict[str, list[dict[str, Any]]] = {}
    values = dict(iter(contents.tables["singular_values"].groupby(["network", "layer"], sort=False)))
    summary = with_ratio(contents.tables["spectrum"])
    summary = summary.assign(beyond=beyond_edge(summary)).head(MOST_LAYERS)
    nothing = contents.tables["singular_values"].head(0)
    for _, layer in summary.iterrows():
        key = (str(layer["network"]), str(layer["layer"]))
        found.setdefault(key[0], []).append(_layer(layer, values.get(key, nothing), contents.laws.get(key)))
    return found


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
    """The same with `ratio`, the largest singular value over the edge of the null, after `null_edge`."""
    edge = spectrum["null_edge"].astype(float)
    position = [column.name for column in SPECTRUM.columns].index("null_edge") + 1
    result = spectrum.copy()
    result.insert(position, "ratio", spectrum["s_max"] / edge.where(edge > 0))
    return result


def grouped(table: pd.DataFrame, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The lines of a table: what they share, and their columns."""
    return [
        {name: plain(value) for name, value in zip(keys, key, strict=True)} | columns(rows.drop(columns=list(keys)))
        for key, rows in table.groupby(list(keys), sort=False)
    ]


def columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    """A table's columns as lists."""
    return {str(name): [short(value) for value in table[name]] for name in table.columns}


def short(value: Any) -> Any:
    """A JSON-ready value, numbers rounded to `DIGITS`."""
    value = plain(value)
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def text_of(value: Any) -> str:
    """A table's cell for reading; empty for what is undefined."""
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if 10**DIGITS <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return str(value) if isinstance(value, int) else f"{value:.{DIGITS}g}"
