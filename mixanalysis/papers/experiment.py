"""What every experiment has: presets by scale, runs, tables, figures, claims and printed values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mixanalysis.errors import UsageError
from mixanalysis.papers.ledger import Book, Ledger
from mixanalysis.papers.runs import Data, Point, Scale
from mixanalysis.report.style import PAPER, FigureStyle

Tables = dict[str, pd.DataFrame]

Drawing = tuple[str, tuple[float, float], Callable[..., None], tuple[Any, ...]]
"""Name of a figure, its size in inches, who draws it, and from what."""

Rows = list[dict[str, Any]]

SIDES = {"digits": 16, "stl10": 32}
"""Side that the images of a data set are resized to; the others keep theirs."""


@dataclass(frozen=True)
class Options:
    """What was asked for, for all figures.

    Attributes:
        scale: which presets.
        data: data sets by name; the experiment's own where there are none.
        seeds: so many seeds, from 0; the preset's where it is None.
        limit: use only the first so many training images.
        lines: (Omega, (gamma_S, gamma_C)) of Fig. 3; the preset's where there are none.
        look: file format and style of the figures.
    """

    scale: Scale = "demo"
    data: tuple[str, ...] = ()
    seeds: int | None = None
    limit: int | None = None
    lines: tuple[tuple[float, tuple[float, float]], ...] = ()
    look: FigureStyle = PAPER


@dataclass(frozen=True)
class Context:
    """What tables are made with: outcomes of the runs, and the ledger for measurements."""

    book: Book
    ledger: Ledger


def _no_points(_spec: Any) -> list[Point]:
    return []


def _no_rows(_tables: Tables) -> Rows:
    return []


@dataclass(frozen=True)
class Experiment:
    """A figure or table of a paper.

    Attributes:
        name: as the command line has it.
        title: what it shows.
        notes: choices and departures from the printed settings.
        presets: a frozen dataclass of families, grid, seeds and training, for each scale.
        tables: from a preset and the outcomes of its runs.
        drawings: from the tables.
        points: the runs of a preset, with their places in the figure.
        claims: rows of `schemas.PAPER_CLAIMS`, a pure function of the tables.
        values: rows of `schemas.PAPER_VALUES`, likewise.
        kinds: data sets of the printed figure.
        paper: name of its paper's folder; `Paper.experiments` puts it there.
    """

    name: str
    title: str
    notes: str
    presets: Mapping[Scale, Any]
    tables: Callable[[Any, Context], Tables]
    drawings: Callable[[Tables], Sequence[Drawing]]
    points: Callable[[Any], list[Point]] = _no_points
    claims: Callable[[Tables], Rows] = _no_rows
    values: Callable[[Tables], Rows] = _no_rows
    kinds: tuple[str, ...] = ()
    paper: str = ""

    def spec(self, options: Options) -> Any:
        """The preset with what was asked for.

        Returns:
            A preset: the experiment's own dataclass.

        Raises:
            UsageError: fewer than one seed, or the printed settings are asked for without their data.
        """
        if missing := self.missing(options):
            raise UsageError(f"{self.name} at --scale paper needs {missing}")
        spec = self.presets[options.scale]
        fields = {field.name for field in dataclasses.fields(spec)}
        changes: dict[str, Any] = {}
        if "data" in fields:
            names = options.data or ("digits",)
            if options.scale == "paper":
                names = tuple(name for name in names if Data(name).kind in self.kinds)
            changes["data"] = tuple(_data(name, options.limit) for name in names)
        if "seeds" in fields and options.seeds is not None:
            if options.seeds < 1:
                raise UsageError(f"--seeds must be at least 1, got {options.seeds}")
            changes["seeds"] = tuple(range(options.seeds))
        if "lines" in fields and options.lines:
            changes["lines"] = options.lines
        return dataclasses.replace(spec, **changes)

    def missing(self, options: Options) -> str:
        """The options that give the data which the printed settings need; empty where some of them are given."""
        given = {Data(name).kind for name in options.data}
        if options.scale != "paper" or not self.kinds or given & set(self.kinds):
            return ""
        return " ".join(f"--data {kind}:DIR" for kind in self.kinds)


def specs(experiments: Sequence[Experiment], options: Options) -> dict[str, Any]:
    """Every experiment's preset by its name; data that are missing are all named at once.

    Returns:
        Presets by the experiments' names.

    Raises:
        UsageError: see `Experiment.spec`.
    """
    missing = [f"{each.name} {needed}" for each in experiments if (needed := each.missing(options))]
    if missing:
        raise UsageError(f"--scale paper needs the paper's data: {'; '.join(missing)}")
    return {experiment.name: experiment.spec(options) for experiment in experiments}


def _data(name: str, limit: int | None) -> Data:
    data = Data(name, limit=limit)
    return dataclasses.replace(data, image_size=SIDES.get(data.kind))


def notes(docstring: str | None) -> str:
    """A module's docstring without its first line, a paragraph a line."""
    _, _, rest = (docstring or "").strip().partition("\n")
    return "\n\n".join(" ".join(part.split()) for part in rest.split("\n\n") if part.strip())


def described(spec: Any) -> list[tuple[str, str]]:
    """Names and values of a preset, in words."""
    return [(field.name.replace("_", " "), _words(getattr(spec, field.name))) for field in dataclasses.fields(spec)]


def _words(value: Any) -> str:
    if isinstance(value, Data):
        side = f" at {value.image_size} pixels" if value.image_size else ""
        return f"{value.kind}{side}, patch {value.patch}" + (f", first {value.limit}" if value.limit else "")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        defaults = {field.name: field.default for field in dataclasses.fields(value)}
        dull = {name for name, part in parts.items() if part == defaults[name] in (None, False, 0, "none")}
        shown = {name: part for name, part in parts.items() if name not in dull}
        return ", ".join(f"{name.replace('_', ' ')} {_words(part)}" for name, part in shown.items())
    if isinstance(value, tuple):
        return "; ".join(_words(item) if not isinstance(item, tuple) else f"({_words(item)})" for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
