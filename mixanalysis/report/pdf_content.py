"""The report as a document: what was found, then figures and tables by topic, then where all of it came from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mixanalysis.report import figures
from mixanalysis.report.findings import Finding, compared, ranking, spectrum_table
from mixanalysis.report.pdf import Document
from mixanalysis.report.similarity.drawings import Drawing, joined_maps
from mixanalysis.results import INTERVAL
from mixanalysis.similarity import CKAResult
from mixanalysis.spectra import SpectrumResult

NAMED = 4
"""Pairs without a mean of which the first page says why."""


def printed(
    sources: tuple[Sequence[Mapping[str, Any]], Mapping[str, Any], Mapping[str, str]],
    summary: pd.DataFrame,
    found: Sequence[Finding],
    similarity: CKAResult,
    spectra: SpectrumResult,
    drawings: Sequence[Drawing],
) -> Document:
    """The report's pages.

    Args:
        sources: records of the checkpoints and of the data, as the manifest has them, and versions of libraries.
        summary: rows of `NETWORKS`; the first is the one that the others are compared with.
        found: what stands out.
        similarity: of all pairs.
        spectra: of all layers.
        drawings: figures with their captions.
    """
    document = Document()
    document.section("Networks seen as wide and sparse MLPs")
    _networks(document, summary)
    for finding in found:
        document.heading(finding.title)
        document.paragraph(" ".join(finding.sentences))
    _similarity_findings(document, str(summary.iloc[0]["network"]), similarity)
    _spectra_findings(document, spectra.summary)
    by_topic = {
        "Similarity": joined_maps([drawing for drawing in drawings if drawing[0].startswith("cka")]),
        "Spectra": [drawing for drawing in drawings if drawing[0].startswith("spectrum")],
        "Effective width": [drawing for drawing in drawings if drawing[0].startswith("width")],
    }
    for title, part in by_topic.items():
        document.section(title)
        for _, size, draw, arguments, caption in part:
            document.drawing(draw, size[1], caption, *arguments)
        if title == "Similarity" and len(similarity.diagonal) > 1:
            _pairs(document, similarity.diagonal)
        if title == "Spectra":
            _layers(document, spectra.summary)
    _provenance(document, *sources)
    return document


def _networks(document: Document, summary: pd.DataFrame) -> None:
    document.table(
        "The networks: effective width m, density p, expansion γ, and average connections of a layer Ω.",
        ("network", "family", "m", "p", "γ", "Ω", "parameters", "blocks", "test accuracy"),
        [
            (
                str(row.network),
                str(row.family),
                f"{row.width:,}",
                f"{row.density:.4g}",
                f"{row.expansion:.3g}",
                f"{row.omega:,.0f}",
                f"{row.parameters:,}",
                f"{row.blocks}",
                "" if math.isnan(row.test_accuracy) else f"{row.test_accuracy:.2%}",
            )
            for row in summary.itertuples()
        ],
        "llrrrrrrr",
    )


def _similarity_findings(document: Document, reference: str, similarity: CKAResult) -> None:
    diagonal = similarity.diagonal
    rows = compared(diagonal)
    rows = rows[rows["relation"] != "itself"]
    if len(rows):
        first = rows.iloc[0]
        how = f"{first['features']}; {first['n']} images of {first['data']}; {first['estimator']}"
        document.table(
            f"Similarity to {reference}: mean CKA of blocks at the same position, with intervals ({INTERVAL}). {how}.",
            ("network", "relation", "mean", "low", "high"),
            [(row.network_b, row.relation, *_three(row)) for row in rows.itertuples()],
            "llrrr",
        )
    if len(rows) > 1:
        document.paragraph(ranking(reference, rows))
    undefined = diagonal[diagonal["mean"].isna()]
    for row in undefined.head(NAMED).itertuples():
        document.paragraph(f"{row.network_a} – {row.network_b}: {row.status}.")
    if len(undefined) > NAMED:
        document.paragraph(f"Of {len(undefined) - NAMED} more pairs the table of all pairs says why they have no mean.")
    for warning in similarity.warnings:
        document.paragraph(f"Note: {warning}.")


def _spectra_findings(document: Document, summary: pd.DataFrame) -> None:
    document.table(
        "Layers whose largest singular value s_max lies beyond the edge of noise, and the one that lies furthest.",
        ("network", "layers", "beyond", "s_max / edge", "layer that lies furthest"),
        [
            (
                row.network,
                f"{row.layers}",
                f"{row.beyond}",
                "no null" if math.isnan(row.ratio) else f"{row.ratio:.3f}",
                figures.short_layer(row.layer),
            )
            for row in spectrum_table(summary).itertuples()
        ],
        "lrrrl",
    )


def _pairs(document: Document, diagonal: pd.DataFrame) -> None:
    document.table(
        f"All pairs: mean CKA of blocks at the same position, with intervals ({INTERVAL}).",
        ("network", "network", "relation", "blocks", "mean", "low", "high", "without a mean"),
        [
            (
                row.network_a,
                row.network_b,
                row.relation,
                f"{row.blocks}" if row.blocks else "",
                *_three(row),
                "" if row.status == "ok" else row.status,
            )
            for row in diagonal.itertuples()
        ],
        "lllrrrrl",
    )


def _three(row: Any) -> list[str]:
    return ["" if math.isnan(value) else f"{value:.3f}" for value in (row.mean, row.low, row.high)]


def _layers(document: Document, summary: pd.DataFrame) -> None:
    document.table(
        "All layers: width m, density p, entry variance v over all cells, the edge of the null with that variance, "
        "largest singular value, its p-value, and singular values of the independent factor beyond the threshold.",
        ("network", "layer", "m", "p", "v", "edge", "s_max", "p-value", "outliers"),
        [
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
        ],
        "llrrrrrrr",
    )


def _number(value: Any, how: str) -> str:
    return "" if pd.isna(value) else how.format(value)


def _provenance(
    document: Document, inputs: Sequence[Mapping[str, Any]], data: Mapping[str, Any], versions: Mapping[str, str]
) -> None:
    document.section("Provenance")
    for item in inputs:
        document.heading(f"{item['label']}: {item['path']} ({item['format']}, layout {item['layout']})")
        document.paragraph(f"sha256 {item['sha256']}")
    document.heading(f"Data: {data['name']}, {data['split']} set, {data['images']} images")
    document.paragraph(f"sha256 {data['fingerprint']}")
    document.paragraph(", ".join(f"{name} {number}" for name, number in versions.items()))
    document.paragraph("manifest.json beside this file holds the parameters, and the sha256 of every output.")
