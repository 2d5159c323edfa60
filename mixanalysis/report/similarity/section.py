"""CKA of networks as a section: its tables and figures, what stands out, and what the PDF and the page show of it."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pandas as pd

from mixanalysis.report.section import Drawing, Printed, PrintTable, ResultTable, Section
from mixanalysis.report.similarity.charts import interactive
from mixanalysis.report.similarity.drawings import heat_maps, joined_maps, overviews
from mixanalysis.report.similarity.figures import Scale
from mixanalysis.report.similarity.findings import compared, finding, ranking
from mixanalysis.results import INTERVAL
from mixanalysis.similarity import CKAResult
from mixanalysis.similarity.schemas import CKA_DIAGONAL

NAMED = 4
"""Pairs without a mean of which the PDF's first page says why."""

SHOWN = ("network_a", "network_b", "relation", "density_a", "density_b", "blocks", "mean", "low", "high")
"""Columns of the page's table of pairs."""


def section(similarity: CKAResult, scale: Scale = "unit") -> Section:
    """CKA of every pair of networks.

    Args:
        similarity: the first row of its diagonal has the reference as `network_a`.
        scale: colours of the heat maps from 0 to 1 ("unit"), or over the values that there are ("auto").

    Returns:
        The section, of topic "similarity".
    """
    diagonal = similarity.diagonal
    first = diagonal.iloc[0]
    companions = (ResultTable("similarity", similarity.companions),) * (not similarity.companions.empty)
    undefined = diagonal[diagonal["status"] != "ok"]
    return Section(
        "similarity",
        "Similarity",
        tables=(
            ResultTable("cka", similarity.cells),
            ResultTable.shown(CKA_DIAGONAL, diagonal, "Pairs of networks", SHOWN),
            ResultTable("cka_layers", similarity.layers),
            *companions,
        ),
        figures=tuple(drawings(similarity, scale)),
        finding=finding(diagonal, similarity.cells),
        notes=(
            *(f"Note: {warning}." for warning in similarity.warnings),
            *(f"{row.network_a} – {row.network_b}: {row.status}." for row in undefined.itertuples()),
        ),
        subtitle="CKA",
        method=f"{first['estimator']}; {first['features']}; {first['n']} images of {first['data']}.",
        printed=partial(_printed, similarity),
        interactive=partial(interactive, similarity),
    )


def drawings(similarity: CKAResult, scale: Scale = "unit") -> list[Drawing]:
    """Means, profile against the reference network, sparse networks by their density, and a heat map a pair.

    Args:
        similarity: the first row of its diagonal has the reference as `network_a`.
        scale: colours of the heat maps.

    Returns:
        Overviews first, maps last.
    """
    return [*overviews(_reference(similarity), similarity), *heat_maps(similarity, scale)]


def _reference(similarity: CKAResult) -> str:
    return str(similarity.diagonal.iloc[0]["network_a"])


def _printed(similarity: CKAResult) -> Printed:
    reference, diagonal = _reference(similarity), similarity.diagonal
    figures = (*overviews(reference, similarity), *joined_maps(similarity))
    tables = (_pairs(diagonal),) * (len(diagonal) > 1)
    return Printed(tuple(_summary(reference, similarity)), figures, tables)


def _summary(reference: str, similarity: CKAResult) -> list[PrintTable | str]:
    """The reference's pairs, and which pairs have no mean, for the first page."""
    parts: list[PrintTable | str] = []
    diagonal = similarity.diagonal
    rows = compared(diagonal)
    rows = rows[rows["relation"] != "itself"]
    if len(rows):
        first = rows.iloc[0]
        how = f"{first['features']}; {first['n']} images of {first['data']}; {first['estimator']}"
        title = f"Similarity to {reference}: mean CKA of blocks at the same position, with intervals ({INTERVAL})."
        cells = tuple((row.network_b, row.relation, *_three(row)) for row in rows.itertuples())
        parts.append(PrintTable(f"{title} {how}.", ("network", "relation", "mean", "low", "high"), cells, "llrrr"))
    if len(rows) > 1:
        parts.append(ranking(reference, rows))
    undefined = diagonal[diagonal["mean"].isna()]
    parts += [f"{row.network_a} – {row.network_b}: {row.status}." for row in undefined.head(NAMED).itertuples()]
    if len(undefined) > NAMED:
        parts.append(f"Of {len(undefined) - NAMED} more pairs the table of all pairs says why they have no mean.")
    return parts + [f"Note: {warning}." for warning in similarity.warnings]


def _pairs(diagonal: pd.DataFrame) -> PrintTable:
    return PrintTable(
        f"All pairs: mean CKA of blocks at the same position, with intervals ({INTERVAL}).",
        ("network", "network", "relation", "blocks", "mean", "low", "high", "without a mean"),
        tuple(
            (
                row.network_a,
                row.network_b,
                row.relation,
                f"{row.blocks}" if row.blocks else "",
                *_three(row),
                "" if row.status == "ok" else row.status,
            )
            for row in diagonal.itertuples()
        ),
        "lllrrrrl",
    )


def _three(row: Any) -> list[str]:
    return ["" if math.isnan(value) else f"{value:.3f}" for value in (row.mean, row.low, row.high)]
