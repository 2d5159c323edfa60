"""Spectra of layers as a section: its tables and figures, what stands out, and what the PDF and the page show of it."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pandas as pd

from mixanalysis.report.names import slugs
from mixanalysis.report.section import Drawing, Printed, PrintTable, ResultTable, Section, View
from mixanalysis.report.spectra import figures
from mixanalysis.report.spectra.charts import RATIO, interactive, with_ratio
from mixanalysis.report.spectra.findings import finding, spectrum_table
from mixanalysis.report.style import TEXT
from mixanalysis.spectra import SpectrumResult
from mixanalysis.spectra.schemas import SPECTRUM, SPECTRUM_OUTLIERS

PANELS = 12
"""Histograms in one figure."""

SHOWN = (
    *("network", "layer", "role", "width", "density", "s_max", "null_edge", "threshold", "ratio"),
    *("p_value", "q_value", "outliers", "null"),
)
"""Columns of the page's table of layers."""


def section(spectra: SpectrumResult) -> Section:
    """Spectra of every layer of some networks."""
    known = {column.name: column for column in (*SPECTRUM.columns, RATIO)}
    view = View("Layers and their noise", tuple(known[name] for name in SHOWN), with_ratio(spectra.summary))
    caption = "Outliers: singular values beyond the threshold"
    return Section(
        "spectra",
        "Spectra",
        tables=(
            ResultTable("spectrum", spectra.summary, view),
            ResultTable.shown(SPECTRUM_OUTLIERS, spectra.outliers, caption),
            ResultTable("singular_values", spectra.values),
        ),
        figures=tuple(drawings(spectra)),
        finding=finding(spectra.summary),
        printed=partial(_printed, spectra),
        interactive=partial(interactive, spectra),
    )


def drawings(spectra: SpectrumResult) -> list[Drawing]:
    """Largest values against the edge, and histograms of every network's layers."""
    caption = (
        "Largest singular value of every layer over the value that noise of the same structure and variance "
        "would have: the Marchenko-Pastur edge of a shared factor, a mask's graph edge or heaviest row or column, "
        "the edge of the free or classical product of a product."
    )
    drawn = [Drawing("spectrum_edges", (TEXT, 2.7), figures.spectrum_edges, (spectra.summary,), caption)]
    names = slugs(spectra.summary["network"])
    for label, rows in spectra.summary.groupby("network", sort=False):
        for number, start in enumerate(range(0, len(rows), PANELS), start=1):
            part = rows.iloc[start : start + PANELS]
            height = 0.7 + 1.3 * -(-len(part) // 4)
            caption = (
                f"Singular values of the effective layers of {label}, the law of noise of the same variance "
                f"({part.iloc[0]['variance_source']}), and outliers beyond it; p is the Tracy-Widom probability of "
                "the largest value under the null."
            )
            name = f"spectrum_{names[str(label)]}" + (f"_{number}" if len(rows) > PANELS else "")
            arguments = (part, spectra.values, spectra.nulls)
            drawn.append(Drawing(name, (TEXT, height), figures.spectrum_histograms, arguments, caption))
    return drawn


def _printed(spectra: SpectrumResult) -> Printed:
    return Printed((_furthest(spectra.summary),), tuple(drawings(spectra)), (_layers(spectra.summary),))


def _furthest(summary: pd.DataFrame) -> PrintTable:
    return PrintTable(
        "Layers whose largest singular value s_max lies beyond the edge of noise, and the one that lies furthest.",
        ("network", "layers", "beyond", "s_max / edge", "layer that lies furthest"),
        tuple(
            (
                row.network,
                f"{row.layers}",
                f"{row.beyond}",
                "no null" if math.isnan(row.ratio) else f"{row.ratio:.3f}",
                figures.short_layer(row.layer),
            )
            for row in spectrum_table(summary).itertuples()
        ),
        "lrrrl",
    )


def _layers(summary: pd.DataFrame) -> PrintTable:
    return PrintTable(
        "All layers: width m, density p, entry variance v over all cells, the edge of the null with that variance, "
        "largest singular value, its p-value, and singular values of the independent factor beyond the threshold.",
        ("network", "layer", "m", "p", "v", "edge", "s_max", "p-value", "outliers"),
        tuple(
            (
                row.network,
                figures.short_layer(row.layer),
                f"{row.width:,}",
                f"{row.density:.4g}",
                _number(row.variance, "{:.4g}"),
                _number(row.null_edge, "{:.4f}"),
                _number(row.s_max, "{:.4f}"),
                "< 1e-12" if row.p_value < 1e-12 else _number(row.p_value, "{:.2g}"),
                f"{row.outliers}",
            )
            for row in summary.itertuples()
        ),
        "llrrrrrrr",
    )


def _number(value: Any, how: str) -> str:
    return "" if pd.isna(value) else how.format(value)
