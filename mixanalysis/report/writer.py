"""The report: every analysis of some networks as tables, figures, a PDF and a page of HTML."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from mixanalysis import width
from mixanalysis.datasets import Dataset, open_dataset
from mixanalysis.errors import UsageError
from mixanalysis.features import Position, accuracy
from mixanalysis.layouts import load_all
from mixanalysis.models import Network
from mixanalysis.report import figures
from mixanalysis.report.cka_drawings import Drawing, joined_maps, similarity_drawings, slug
from mixanalysis.report.findings import Finding, compared, findings, ranking, spectrum_table
from mixanalysis.report.folder import MANIFEST, Request, data_record, inputs, opened, versions
from mixanalysis.report.html import Contents, write_html
from mixanalysis.report.pages import Page, write_pdf
from mixanalysis.report.style import FigureFormat, figure
from mixanalysis.results import LAYERS, NETWORKS
from mixanalysis.similarity import CKAResult, cka
from mixanalysis.similarity.layerwise import BATCH_SIZE
from mixanalysis.spectra import SpectrumResult, spectrum

Stage = Callable[[str], Callable[[int, int], None] | None]
"""Asked for a progress callback when a stage of that name begins."""

PANELS = 12
"""Histograms on one page."""


def write_report(
    networks: Sequence[Network | str | Path],
    data: str | Dataset = "digits",
    out: str | Path = "reports/report",
    *,
    position: Position = "before-skip",
    batch_size: int = BATCH_SIZE,
    limit: int | None = None,
    kind: FigureFormat = "png",
    force: bool = False,
    ours: Sequence[str] = (),
    request: Request | None = None,
    stage: Stage = lambda _name: None,
) -> Path:
    """Analyse networks and write report.pdf, report.html, figures/, tables/ and manifest.json.

    The same checkpoints and data give the same bytes, times in the manifest aside.

    Args:
        networks: networks, or paths of checkpoints; the first is the one that the profile compares with.
        data: a data set or its name.
        out: the folder; files of an earlier run in it are replaced.
        position: block outputs before the skip is added or after it.
        batch_size: images per batch of the mini-batch CKA.
        limit: use only the first images.
        kind: file format of the figures.
        force: also write into a folder that holds other files.
        ours: names in `out` that are not files of others, though no manifest lists them.
        request: what was asked for, for the manifest.
        stage: asked for a progress callback at each stage.

    Returns:
        The path of report.pdf.

    Raises:
        UsageError: no network, or an output folder with files of others.
        CheckpointError: a checkpoint can't be used.
        DataError: the data can't be used.
    """
    if not networks:
        raise UsageError("a report needs at least one checkpoint")
    loaded = _loaded(networks)
    out = Path(out)
    dataset = data if isinstance(data, Dataset) else open_dataset(data, shape=loaded[0].config.input_shape)
    dataset = dataset.first(limit)
    request = request or Request(
        "write_report", parameters={"position": position, "batch_size": batch_size, "limit": limit, "format": kind}
    )
    with opened(out, request, networks=loaded, dataset=dataset, kind=kind, force=force, ours=ours) as folder:
        summary = network_table(loaded, dataset)
        similarity = cka(*loaded, data=dataset, position=position, batch_size=batch_size, progress=stage("CKA"))
        spectra = spectrum(*loaded, progress=stage("spectra"))
        own = width.distinct((network.omega, (network.expansion,) * 2) for network in loaded)
        lines = pd.concat([width.line(omega, gammas[0]) for omega, gammas in own], ignore_index=True)
        channels = pd.concat([width.channel_line(omega, gammas) for omega, gammas in own], ignore_index=True)
        points = width.points(loaded)
        tables = {
            "networks": summary,
            "layers": layer_table(loaded),
            "cka": similarity.cells,
            "cka_diagonal": similarity.diagonal,
            "cka_layers": similarity.layers,
            "spectrum": spectra.summary,
            "spectrum_outliers": spectra.outliers,
            "singular_values": spectra.values,
            "width_points": points,
            "width_line": lines,
            "width_channels": channels,
        }
        for name, frame in tables.items():
            folder.table(name, frame)
        drawings = [
            *similarity_drawings(loaded[0].label, similarity),
            *spectrum_drawings(spectra),
            *width_drawings(lines, channels, points),
        ]
        advance = stage("figures")
        for index, (name, size, draw, arguments, _) in enumerate(drawings):
            folder.figure(name, figure(draw, size, *arguments))
            if advance is not None:
                advance(index + 1, len(drawings) + 1)
        found = findings(similarity.diagonal, spectra.summary, points)
        sources = (inputs(loaded, out), data_record(dataset), versions())
        pages = _pages(sources[0], dataset, summary, found, similarity, spectra, drawings)
        write_pdf(folder.path("report.pdf"), pages)
        captions = {name: caption for name, _, _, _, caption in drawings}
        files = [*folder.outputs, MANIFEST]
        contents = Contents(tables, spectra.nulls, similarity.warnings, *sources, captions, files)
        write_html(folder.path("report.html"), contents)
        if advance is not None:
            advance(len(drawings) + 1, len(drawings) + 1)
    return out / "report.pdf"


def network_table(networks: Sequence[Network], dataset: Dataset | None = None) -> pd.DataFrame:
    """A row per network (`results.NETWORKS`); accuracy where the data have the network's labels."""
    return NETWORKS.frame(
        {
            "network": network.label,
            "family": network.family,
            "width": network.width,
            "density": network.density,
            "expansion": network.expansion,
            "omega": network.omega,
            "parameters": network.parameters,
            "blocks": len(network.taps),
            "test_accuracy": _accuracy(network, dataset),
        }
        for network in networks
    )


def layer_table(networks: Sequence[Network]) -> pd.DataFrame:
    """A row per effective layer (`results.LAYERS`)."""
    return LAYERS.frame(
        {
            "network": network.label,
            "layer": layer.name,
            "block": layer.block,
            "role": layer.role,
            "rows": layer.shape[0],
            "columns": layer.shape[1],
            "width": layer.width,
            "expansion": layer.expansion,
            "density": layer.density,
            "connections": layer.connections,
        }
        for network in networks
        for layer in network.layers
    )


def _loaded(networks: Sequence[Network | str | Path]) -> list[Network]:
    paths = [item for item in networks if not isinstance(item, Network)]
    opened_ = iter(load_all(paths))
    return [item if isinstance(item, Network) else next(opened_) for item in networks]


def _accuracy(network: Network, dataset: Dataset | None) -> float:
    if dataset is None or dataset.labels is None or getattr(network.config, "classes", 0) < dataset.classes:
        return math.nan
    images = dataset.at(network.config.input_shape)
    return accuracy(network, images.batches(256), dataset.labels)


def spectrum_drawings(spectra: SpectrumResult) -> list[Drawing]:
    """Largest values against the edge, and histograms of every network's layers."""
    caption = (
        "Largest singular value of every layer over the value that noise of the same structure and variance "
        "would have: the Marchenko-Pastur edge of a shared factor, a mask's graph edge or heaviest row or column, "
        "the edge of the free or classical product of a product."
    )
    drawings: list[Drawing] = [("spectrum_edges", (5.6, 2.9), figures.spectrum_edges, (spectra.summary,), caption)]
    for label, rows in spectra.summary.groupby("network", sort=False):
        for number, start in enumerate(range(0, len(rows), PANELS), start=1):
            part = rows.iloc[start : start + PANELS]
            height = 0.7 + 1.45 * -(-len(part) // 4)
            caption = (
                f"Singular values of the effective layers of {label}, the law of noise of the same variance "
                f"({part.iloc[0]['variance_source']}), and outliers beyond it; p is the Tracy-Widom probability of "
                "the largest value under the null."
            )
            name = f"spectrum_{slug(str(label))}" + (f"_{number}" if len(rows) > PANELS else "")
            arguments = (part, spectra.values, spectra.nulls)
            drawings.append((name, (7.0, height), figures.spectrum_histograms, arguments, caption))
    return drawings


def width_drawings(lines: pd.DataFrame, channels: pd.DataFrame, networks: pd.DataFrame) -> list[Drawing]:
    """p(m) with the networks as points, and m(C) and p(C) of Mixers."""
    caption = (
        "Density p against effective width m. Each line holds Omega, the average number of connections of a "
        "layer, fixed; each network is a point on the line of its own Omega."
    )
    mixers = "Effective width and density of all Mixers with a given Omega, by their channels."
    return [
        ("width", (5.6, 3.2), figures.width_lines, (lines, networks), caption),
        ("width_channels", (5.6, 2.7), figures.channel_lines, (channels,), mixers),
    ]


def _pages(
    sources: Sequence[Mapping[str, Any]],
    dataset: Dataset,
    summary: pd.DataFrame,
    found: Sequence[Finding],
    similarity: CKAResult,
    spectra: SpectrumResult,
    drawings: Sequence[Drawing],
) -> list[Callable[[], Page]]:
    def page(title: str, part: Iterable[Drawing]) -> Page:
        result = Page(title)
        for _, size, draw, arguments, caption in part:
            result.drawing(draw, size[1], caption, *arguments)
        return result

    pages: list[Callable[[], Page]] = [partial(_first_page, summary, found, similarity, spectra)]
    by_topic = {
        "Similarity": joined_maps([drawing for drawing in drawings if drawing[0].startswith("cka")]),
        "Spectra": [drawing for drawing in drawings if drawing[0].startswith("spectrum")],
        "Effective width": [drawing for drawing in drawings if drawing[0].startswith("width")],
    }
    for title, part in by_topic.items():
        pages += [partial(page, title, group) for group in _filled(part)]
    pages.append(partial(_provenance_page, sources, dataset))
    return pages


def _filled(drawings: Sequence[Drawing], height: float = 9.6, caption: float = 0.55) -> list[list[Drawing]]:
    """Drawings in groups that fit a page."""
    groups: list[list[Drawing]] = []
    free = 0.0
    for drawing in drawings:
        need = drawing[1][1] + caption
        if not groups or need > free:
            groups.append([])
            free = height
        groups[-1].append(drawing)
        free -= need
    return groups


def _first_page(
    summary: pd.DataFrame, found: Sequence[Finding], similarity: CKAResult, spectra: SpectrumResult
) -> Page:
    page = Page("Networks seen as wide and sparse MLPs")
    header = ("network", "family", "m", "p", "γ", "Ω", "parameters", "blocks", "test accuracy")
    rows = [
        (
            str(row.network),
            str(row.family),
            f"{row.width}",
            f"{row.density:.4g}",
            f"{row.expansion:.3g}",
            f"{row.omega:,.0f}",
            f"{row.parameters:,}",
            f"{row.blocks}",
            "" if math.isnan(row.test_accuracy) else f"{row.test_accuracy:.2%}",
        )
        for row in summary.itertuples()
    ]
    page.table(header, rows, (2.2, 1.2, 0.8, 0.9, 0.6, 1.2, 1.3, 0.8, 1.4))
    for finding in found:
        page.paragraph(finding.title, weight="bold")
        page.paragraph(" ".join(finding.sentences))
    _similarity_findings(page, str(summary.iloc[0]["network"]), similarity)
    page.paragraph("Spectra: layers whose largest singular value lies beyond the edge of noise", weight="bold")
    page.table(
        ("network", "layers", "beyond", "furthest: s_max / edge", "layer"),
        [
            (
                row.network,
                f"{row.layers}",
                f"{row.beyond}",
                "no null" if math.isnan(row.ratio) else f"{row.ratio:.3f}",
                figures.short_layer(row.layer),
            )
            for row in spectrum_table(spectra.summary).itertuples()
        ],
        (2.2, 0.8, 0.8, 1.6, 2.4),
    )
    return page


def _similarity_findings(page: Page, reference: str, similarity: CKAResult) -> None:
    diagonal = similarity.diagonal
    rows = compared(diagonal)
    if len(rows):
        first = rows.iloc[0]
        page.paragraph(f"Similarity to {reference}: mean CKA of blocks at the same position", weight="bold")
        page.table(
            ("network", "relation", "mean", "95% interval"),
            [
                (row.network_b, row.relation, f"{row.mean:.3f}", f"{row.low:.3f} to {row.high:.3f}")
                for row in rows.itertuples()
            ],
            (2.2, 1.4, 1.0, 1.8),
        )
        page.paragraph(
            f"{first['features']}; {first['n']} images of {first['data']}; {first['estimator']}.",
            size=7.5,
        )
    if len(rows) > 1:
        page.paragraph(ranking(reference, rows))
    for row in diagonal[diagonal["mean"].isna()].itertuples():
        page.paragraph(f"{row.network_a} – {row.network_b}: {row.status}.")
    for warning in similarity.warnings:
        page.paragraph(f"Note: {warning}.")


def _provenance_page(sources: Sequence[Mapping[str, Any]], dataset: Dataset) -> Page:
    page = Page("Provenance")
    for item in sources:
        page.paragraph(f"{item['label']}: {item['path']} ({item['format']}, layout {item['layout']})", weight="bold")
        page.paragraph(f"sha256 {item['sha256']}")
    record = data_record(dataset)
    page.paragraph(f"Data: {record['name']}, {record['split']} set, {record['images']} images", weight="bold")
    page.paragraph(f"sha256 {record['fingerprint']}")
    page.paragraph(", ".join(f"{name} {number}" for name, number in versions().items()))
    page.paragraph("manifest.json beside this file holds the parameters, and the sha256 of every output.")
    return page
