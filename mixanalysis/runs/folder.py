"""An output folder: files are made in a temporary one and moved into place together, with a manifest."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from mixanalysis._version import __version__
from mixanalysis.checkpoints import sha256_of
from mixanalysis.datasets import Dataset
from mixanalysis.errors import CheckpointError, DataError, UsageError
from mixanalysis.files import (
    SUFFIX,
    Stamp,
    exclusive_lock,
    output_errors,
    read_json,
    sha256,
    stamp,
    temporary_folder,
    write_text,
)
from mixanalysis.network import Provenance
from mixanalysis.report.section import Drawing, Section, Sources
from mixanalysis.report.style import PAPER, FigureStyle, figure, save_figure
from mixanalysis.results import to_json
from mixanalysis.table_files import write_table

Stage = Callable[[str], Callable[[int, int], None] | None]
"""Asked for a progress callback when a stage of that name begins."""

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
_CHANGED = "{}: has changed while it was read; nothing was written, start again"
LIBRARIES = ("torch", "numpy", "scipy", "pandas", "matplotlib", "seaborn", "safetensors")


class Read(Protocol):
    """Anything that was read from a file, such as a network."""

    @property
    def label(self) -> str:
        """The short name."""

    @property
    def provenance(self) -> Provenance:
        """Where it came from."""


@dataclass(frozen=True)
class Invocation:
    """A command with its parameters, for the manifest.

    Attributes:
        command: name of the command or function.
        argv: the command line, empty from Python.
        parameters: resolved parameters, JSON-ready.
        sources: where each parameter's value came from, such as "default" or "command line".
    """

    command: str
    argv: Sequence[str] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


class OutputFolder:
    """Collects tables, figures and pages; `opened` moves them into place.

    Args:
        folder: a temporary folder.
        look: file format and style of the figures.
        sources: tells the checkpoints, data and versions of the run.
    """

    def __init__(self, folder: Path, look: FigureStyle, sources: Callable[[], Sources] = Sources) -> None:
        self.folder, self.look, self._sources = folder, look, sources
        self.outputs: list[str] = []

    def table(self, name: str, frame: pd.DataFrame) -> None:
        """Write tables/name.csv; numbers round-trip exactly, undefined values are empty."""
        write_table(self.path(f"tables/{name}.csv"), frame)

    def figure(self, name: str, draw: Callable[..., None], size: Sequence[float], *arguments: Any) -> None:
        """Write figures/name, `size` in inches of a paper, drawn by draw(figure, *arguments)."""
        drawn = figure(draw, size, *arguments, style=self.look.style)
        save_figure(drawn, self.path(f"figures/{name}.{self.look.format}"), self.look)

    def section(self, section: Section) -> None:
        """Write a section's tables and figures."""
        self.tables(section)
        self.drawings(section.figures)

    def tables(self, section: Section) -> None:
        """Write a section's tables."""
        for table in section.tables:
            self.table(table.name, table.frame)

    def drawings(self, drawings: Iterable[Drawing]) -> None:
        """Draw and write figures."""
        for drawing in drawings:
            self.figure(drawing.name, drawing.draw, drawing.size, *drawing.arguments)

    @functools.cached_property
    def sources(self) -> Sources:
        """The checkpoints, data and versions of the run, as its manifest has them."""
        return self._sources()

    def path(self, name: str) -> Path:
        """Register a file and say where to write it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.outputs.append(name)
        return path


@contextlib.contextmanager
def opened(
    out: Path,
    request: Invocation,
    *,
    networks: Iterable[Read] = (),
    dataset: Dataset | Mapping[str, Any] | None = None,
    device: str = "cpu",
    look: FigureStyle = PAPER,
    force: bool = False,
    ours: Sequence[str] = (),
    read: Sequence[Stamp] = (),
) -> Iterator[OutputFolder]:
    """A temporary folder whose files replace those of an earlier run in `out` once all are written.

    Args:
        out: the folder; made if missing.
        request: what was asked for.
        networks: the checkpoints that were read.
        dataset: the data that were used, or what is known of them.
        device: where the networks ran.
        look: file format and style of the figures.
        force: also write into a folder that holds files of others; they stay unless the names are equal.
        ours: names in `out` that are not files of others, though no manifest lists them.
        read: files of data that `dataset` doesn't tell.

    Yields:
        A folder that collects what is written.

    Raises:
        UsageError: `out` is a file, holds files of others and `force` is not given, or is written to by another run.
        OutputError: it can't be written, or its disk is full.
        CheckpointError: a checkpoint has changed since the folder was opened.
        DataError: a file of the data has changed since it was read.
    """
    with output_errors(out):
        previous_outputs(out, force=force, ours=ours)
    started, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    networks = list(networks)
    with exclusive_lock(out), temporary_folder(out) as temporary:
        previous = previous_outputs(out, force=force, ours=ours)
        before = stamps(networks)
        data = data_record(dataset) if isinstance(dataset, Dataset) else dataset
        folder = OutputFolder(temporary, look, lambda: Sources(inputs(networks, out), data or {}, versions()))
        yield folder
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "status": "ok",
            "mixanalysis": __version__,
            "command": request.command,
            "argv": list(request.argv),
            "parameters": dict(request.parameters),
            "parameter_sources": dict(request.sources),
            "working_folder": working_folder(out),
            "inputs": folder.sources.inputs,
            "data": data,
            "versions": folder.sources.versions,
            "device": device,
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - clock, 3),
            "outputs": {name: sha256(temporary / name) for name in sorted(folder.outputs)},
        }
        for path, files in stamps(networks).items():
            if files != before[path]:
                raise CheckpointError(_CHANGED.format(path))
        for file in (*read, *(dataset.files if isinstance(dataset, Dataset) else ())):
            if not file.path.exists() or stamp(file.path) != file:
                raise DataError(_CHANGED.format(file.path))
        write_text(temporary / MANIFEST, to_json(manifest) + "\n")
        _move(temporary, out, manifest, previous)


def stamps(networks: Iterable[Read]) -> dict[Path, list[Stamp]]:
    """Each network's files as they are."""
    files_of = {}
    for path in {network.provenance.path for network in networks}:
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        files_of[path] = [stamp(file) for file in files]
    return files_of


def working_folder(out: Path) -> str | None:
    """The present working folder as seen from the output folder; None for one elsewhere, whose path is nobody's."""
    here, there = Path.cwd(), out.resolve()
    return os.path.relpath(here, there) if there.is_relative_to(here) else None


def inputs(networks: Iterable[Read], out: Path | None = None) -> list[dict[str, Any]]:
    """Label, file, content and layout of each network's checkpoint, and what was assumed of it.

    Args:
        networks: the networks.
        out: the output folder; a checkpoint in it was made by the run, and its path starts there.

    Returns:
        A JSON-ready record for each network.
    """
    return [
        {
            "label": network.label,
            **_place(network.provenance.path, out),
            "sha256": _sha256(network.provenance.path, tuple(files)),
            "format": network.provenance.format,
            "layout": network.provenance.layout,
            "assumed": {name: assumed._asdict() for name, assumed in network.provenance.assumed.items()},
        }
        for network in networks
        for files in stamps([network]).values()
    ]


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, _files: tuple[Stamp, ...]) -> str:
    """Content of a checkpoint, read once as long as its files stay as they are: keys, pages and manifests want it."""
    return sha256_of(path)


def _place(path: Path, out: Path | None) -> dict[str, Any]:
    if out is None or not path.resolve().is_relative_to(out.resolve()):
        return {"path": str(path)}
    return {"path": path.resolve().relative_to(out.resolve()).as_posix(), "made": True}


def data_record(dataset: Dataset) -> dict[str, Any]:
    """Name, split, size and fingerprint of the data, and what is to be said about their files."""
    return {
        "name": dataset.name,
        "split": dataset.split,
        "images": len(dataset),
        "fingerprint": dataset.fingerprint,
    } | ({"note": dataset.note} if dataset.note else {})


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that compute and draw."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def previous_outputs(out: Path, *, force: bool, ours: Sequence[str] = ()) -> list[str]:
    """Files that an earlier run wrote to `out`, by its manifest.

    Returns:
        Their paths in the folder; none where no run has written there.

    Raises:
        UsageError: `out` is a file, or holds files of others and `force` is not given.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; choose another --output")
    # a killed run's manifest may be under way
    if not out.exists() or all(entry.name in ours or entry.name.endswith(SUFFIX) for entry in out.iterdir()):
        return []
    try:
        manifest = read_json(out / MANIFEST)
        return [*map(str, manifest["outputs"]), MANIFEST]
    except (OSError, ValueError, KeyError, TypeError):
        if force:
            return []
    raise UsageError(f"{out}: holds files, but no manifest of an earlier run; choose another --output, or --force")


def _move(temporary: Path, out: Path, manifest: Mapping[str, Any], previous: Sequence[str]) -> None:
    """Put all files in their places: in one step where there were none, and else so that a killed run is seen."""
    if not out.exists() or (out.is_dir() and not out.is_symlink() and not any(out.iterdir())):
        temporary.replace(out)
        return
    outputs = [*manifest["outputs"]]
    for name in [*outputs, MANIFEST]:
        folders = [out / parent for parent in Path(name).parents]
        if (out / name).is_dir() or any(folder.is_file() for folder in folders):
            message = f"{out / name}: something else stands in its place; move it away, or choose another --output"
            raise UsageError(message)
    # until all are moved, the manifest lists old and new files alike
    union = {**dict.fromkeys(previous), **manifest["outputs"]}
    union.pop(MANIFEST, None)
    write_text(out / MANIFEST, to_json({**manifest, "status": "incomplete", "outputs": union}) + "\n")
    for name in set(previous) - {*outputs, MANIFEST}:
        stale = (out / name).resolve()
        if stale.is_relative_to(out.resolve()):
            stale.unlink(missing_ok=True)
    for name in [*outputs, MANIFEST]:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (temporary / name).replace(out / name)
