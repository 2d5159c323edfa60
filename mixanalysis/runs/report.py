"""The report: every analysis of some networks as tables, figures, a PDF and a page of HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mixanalysis.datasets import Dataset, open_dataset
from mixanalysis.distributed import check_device
from mixanalysis.errors import UsageError
from mixanalysis.families.loading import load_all
from mixanalysis.features import Position
from mixanalysis.network import Network
from mixanalysis.network.tables import layer_table
from mixanalysis.report.html import write_html
from mixanalysis.report.networks.section import section as overview
from mixanalysis.report.pdf import write_pdf
from mixanalysis.report.pdf_content import document
from mixanalysis.report.section import Report
from mixanalysis.report.style import FigureFormat, FigureStyle, StyleName
from mixanalysis.runs.analyses import ANALYSES, Given
from mixanalysis.runs.cka import CKASettings
from mixanalysis.runs.folder import MANIFEST, Invocation, OutputFolder, Stage, data_record, opened
from mixanalysis.runs.networks import network_table
from mixanalysis.similarity.layerwise_cka import BATCH_SIZE
from mixanalysis.similarity.sources.source import Control


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
        networks_section = overview(network_table(loaded, dataset), layer_table(loaded))
        given = Given(
            loaded,
            dataset,
            data_record(dataset),
            out,
            CKASettings(position=position, batch_size=batch_size, dtype=dtype),
            controls=controls,
            device=device,
            seed=seed,
            resume=resume,
            stage=stage,
        )
        results = [analysis.run(given) for analysis in ANALYSES]
        sections = tuple(analysis.section(result) for analysis, result in zip(ANALYSES, results, strict=True))
        _write(folder, Report(tuple(network.label for network in loaded), networks_section, sections), stage)
    for finish in given.finished:
        finish()
    return out / "report.pdf"


def _write(folder: OutputFolder, report: Report, stage: Stage) -> None:
    """Tables and figures of all sections, the PDF, and the page."""
    every = (report.overview, *report.sections)
    for section in every:
        folder.tables(section)
    drawings = [drawing for section in every for drawing in section.figures]
    advance = stage("figures") or (lambda _done, _total: None)
    for index, drawing in enumerate(drawings, start=1):
        folder.drawings([drawing])
        advance(index, len(drawings) + 1)
    report = replace(report, sources=folder.sources)
    write_pdf(folder.path("report.pdf"), document(report))
    report = replace(report, files=(*folder.outputs, MANIFEST))
    write_html(folder.path("report.html"), report)
    advance(len(drawings) + 1, len(drawings) + 1)


def _loaded(networks: Sequence[Network | str | Path]) -> list[Network]:
    paths = [item for item in networks if not isinstance(item, Network)]
    opened_ = iter(load_all(paths))
    return [item if isinstance(item, Network) else next(opened_) for item in networks]
