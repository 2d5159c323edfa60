"""An output folder: files are made in a temporary one and moved into place together, with a manifest."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from matplotlib.figure import Figure

from mixanalysis._version import __version__
from mixanalysis.checkpoints import open_checkpoint
from mixanalysis.datasets import Dataset
from mixanalysis.errors import UsageError
from mixanalysis.files import sha256, write_text
from mixanalysis.models import Provenance
from mixanalysis.report.style import FigureFormat, save_figure
from mixanalysis.results import to_json

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
LIBRARIES = ("torch", "numpy", "scipy", "pandas", "matplotlib", "seaborn", "safetensors")


class Read(Protocol):
    """What was read from a file: a network, for one."""

    @property
    def label(self) -> str:
        """Its short name."""

    @property
    def provenance(self) -> Provenance:
        """Where it came from."""


@dataclass(frozen=True)
class Request:
    """What was asked for, for the manifest.

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
        kind: file format of the figures.
    """

    def __init__(self, folder: Path, kind: FigureFormat) -> None:
        self.folder, self.kind = folder, kind
        self.outputs: list[str] = []

    def table(self, name: str, frame: pd.DataFrame) -> None:
        """Write tables/name.csv; numbers round-trip exactly, undefined values are empty."""
        path = self.path(f"tables/{name}.csv")
        frame.to_csv(path, index=False, lineterminator="\n")

    def figure(self, name: str, figure: Figure) -> None:
        """Write figures/name in the folder's format."""
        save_figure(figure, self.path(f"figures/{name}.{self.kind}"), self.kind)

    def path(self, name: str) -> Path:
        """Register a file and say where to write it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.outputs.append(name)
        return path


@contextlib.contextmanager
def opened(
    out: Path,
    request: Request,
    *,
    networks: Iterable[Read] = (),
    dataset: Dataset | Mapping[str, Any] | None = None,
    device: str = "cpu",
    kind: FigureFormat = "png",
    force: bool = False,
    ours: Sequence[str] = (),
) -> Iterator[OutputFolder]:
    """A temporary folder whose files replace those of an earlier run in `out` once all are written.

    Args:
        out: the folder; made if missing.
        request: what was asked for.
        networks: the checkpoints that were read.
        dataset: the data that were used, or what is known of them.
        device: where the networks ran.
        kind: file format of the figures.
        force: also write into a folder that holds files of others; they stay unless the names are equal.
        ours: names in `out` that are not files of others, though no manifest lists them.

    Raises:
        UsageError: `out` is a file, or holds files of others and `force` is not given.
    """
    previous = previous_outputs(out, force=force, ours=ours)
    started, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    made = [parent for parent in out.parents if not parent.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    try:
        folder = OutputFolder(temporary, kind)
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
            "inputs": inputs(networks, out),
            "data": data_record(dataset) if isinstance(dataset, Dataset) else dataset,
            "versions": versions(),
            "device": device,
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - clock, 3),
            "outputs": {name: sha256(temporary / name) for name in sorted(folder.outputs)},
        }
        write_text(temporary / MANIFEST, to_json(manifest) + "\n")
        _move(temporary, out, folder.outputs, previous)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in made:  # they hold the outputs, unless there are none
            with contextlib.suppress(OSError):
                parent.rmdir()


def working_folder(out: Path) -> str | None:
    """The present working folder as seen from the output folder; None for one elsewhere, whose path is nobody's."""
    here, there = Path.cwd(), out.resolve()
    return os.path.relpath(here, there) if there.is_relative_to(here) else None


def inputs(networks: Iterable[Read], out: Path | None = None) -> list[dict[str, Any]]:
    """Label, file, content and layout of each network's checkpoint, and what was assumed of it.

    Args:
        networks: the networks.
        out: the output folder; a checkpoint in it was made by the run, and its path starts there.
    """
    return [
        {
            "label": network.label,
            **_place(network.provenance.path, out),
            "sha256": open_checkpoint(network.provenance.path).sha256,
            "format": network.provenance.format,
            "layout": network.provenance.layout,
            "assumed": {name: assumed._asdict() for name, assumed in network.provenance.assumed.items()},
        }
        for network in networks
    ]


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

    Raises:
        UsageError: `out` is a file, or holds files of others and `force` is not given.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; choose another --output")
    if not out.exists() or all(entry.name in ours for entry in out.iterdir()):
        return []
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        return [*map(str, manifest["outputs"]), MANIFEST]
    except (OSError, ValueError, KeyError, TypeError):
        if force:
            return []
    raise UsageError(f"{out}: holds files, but no manifest of an earlier run; choose another --output, or --force")


def _move(temporary: Path, out: Path, outputs: Sequence[str], previous: Sequence[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name in set(previous) - set(outputs):
        stale = (out / name).resolve()
        if stale.is_relative_to(out.resolve()):
            stale.unlink(missing_ok=True)
    for name in [*outputs, MANIFEST]:
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (temporary / name).replace(target)
