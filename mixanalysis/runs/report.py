"""The report: every analysis of some networks as tables, figures, a PDF and a page of HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mixanalysis import width
from mixanalysis.datasets import Dataset, open_dataset
from mixanalysis.errors import UsageError
from mixanalysis.families.loading import load_all
from mixanalysis.features import Position, accuracy
from mixanalysis.network import Network
from mixanalysis.network.schemas import LAYERS, NETWORKS
from mixanalysis.report import figures
from mixanalysis.report.findings import findings
from mixanalysis.report.html import Contents, write_html
from mixanalysis.report.pdf import write_pdf
from mixanalysis.report.pdf_content import printed
from mixanalysis.report.similarity.drawings import Drawing, similarity_drawings, slugs
from mixanalysis.report.style import TEXT, FigureFormat, FigureStyle, StyleName
from mixanalysis.runs.cka import CKASettings, check_device, compare
from mixanalysis.runs.folder import MANIFEST, Invocation, Stage, data_record, inputs, opened, versions
from mixanalysis.similarity.extractors import Control
from mixanalysis.similarity.layerwise_cka import BATCH_SIZE
from mixanalysis.spectra import SpectrumResult, spectrum

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
    controls: Sequence[Control] = (),
    device: str = "cpu",
    dtype: str | None = None,
    seed: int = 0,
    kind: FigureFormat = "png",
    style: StyleName = "paper",
    force: bool = False,
    resume: bool = False,
    ours: Sequence[str] = (),
    request: Invocation | None = None,
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
        controls: for each network "floor", "ceiling" or "", what it stands for in similarities.
        device: where the networks run.
        dtype: name of the precision of the forward pass; None for that of the checkpoint.
        seed: of random data.
        kind: file format of the figures.
        style: figures as wide as a column or the text of a paper, or large ones for slides.
        force: also write into a folder that holds other files.
        resume: keep finished batches of the CKA in a hidden folder beside `out` until all is written, and start from
            those of a run of the same content that was killed.
        ours: names in `out` that are not files of others, though no manifest lists them.
        request: what was asked for, for the manifest.
        stage: asked for a progress callback at each stage.

    Returns:
        The path of report.pdf.

    Raises:
        UsageError: no network, or an output folder with files of others.
        CheckpointError: a checkpoint can't be used.
        DataError: the data can't be used.
        NothingToAnalyseError: a network has no mixing block.
    """
    if not networks:
        raise UsageError("a report needs at least one checkpoint")
    loaded = _loaded(networks)
    out = Path(out)
    check_device(device)
    if not isinstance(data, Dataset):
        data = open_dataset(data, shape=loaded[0].config.input_shape, seed=seed)
    dataset = data.first(limit)
    how = CKASettings(position=position, batch_size=batch_size, dtype=dtype)
    request = request or Invocation(
        "write_report",
        parameters={
            "position": position,
            "batch_size": batch_size,
            "limit": limit,
            "controls": list(controls),
            "device": device,
            "dtype": dtype,
            "seed": seed,
            "format": kind,
            "style": style,
        },
    )
    with opened(
        out,
        request,
        networks=loaded,
        dataset=dataset,
        device=device,
        look=FigureStyle(kind, style),
        force=force,
        ours=ours,
    ) as folder:
        summary = network_table(loaded, dataset)
        similarity, state = compare(
            loaded,
            how,
            dataset,
            data_record(dataset),
            out,
            controls=controls,
            device=device,
            seed=seed,
            resume=resume,
            progress=stage("CKA"),
        )
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
            folder.figure(name, draw, size, *arguments)
            if advance is not None:
                advance(index + 1, len(drawings) + 1)
        found = findings(similarity.diagonal, spectra.summary, points, similarity.cells)
        sources = (inputs(loaded, out), data_record(dataset), versions())
        document = printed(sources, summary, found, similarity, spectra, drawings)
        write_pdf(folder.path("report.pdf"), document)
        captions = {name: caption for name, _, _, _, caption in drawings}
        files = [*folder.outputs, MANIFEST]
        contents = Contents(tables, spectra.nulls, similarity.warnings, *sources, captions, files)
        write_html(folder.path("report.html"), contents)
        if advance is not None:
            advance(len(drawings) + 1, len(drawings) + 1)
    state.clear()
    return out / "report.pdf"


def network_table(networks: Sequence[Network], dataset: Dataset | None = None) -> pd.DataFrame:
    """A row per network (`NETWORKS`); accuracy where the data have the network's labels."""
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
    """A row per effective layer (`LAYERS`)."""
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
    drawings: list[Drawing] = [("spectrum_edges", (TEXT, 2.7), figures.spectrum_edges, (spectra.summary,), caption)]
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
            drawings.append((name, (TEXT, height), figures.spectrum_histograms, arguments, caption))
    return drawings


def width_drawings(lines: pd.DataFrame, channels: pd.DataFrame, networks: pd.DataFrame) -> list[Drawing]:
    """p(m) with the networks as points, and m(C) and p(C) of Mixers."""
    caption = (
        "Density p against effective width m. Each line holds Omega, the average number of connections of a "
        "layer, fixed; each network is a point on the line of its own Omega."
    )
    mixers = "Effective width and density of all Mixers with a given Omega, by their channels."
    return [
        ("width", (TEXT, 3.0), figures.width_lines, (lines, networks), caption),
        ("width_channels", (TEXT, 2.7), figures.channel_lines, (channels,), mixers),
    ]
