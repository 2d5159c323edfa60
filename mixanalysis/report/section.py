"""The section of an analysis: tables, figures, finding and notes, shown by folder, PDF and page each in its own way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from mixanalysis.report.cells import text_of
from mixanalysis.results import Column, Schema


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure that is yet to be drawn.

    Attributes:
        name: of its file, without folder and ending.
        size: in inches of a paper.
        draw: draws it, called as draw(figure, *arguments).
        arguments: the tables that it shows.
        caption: what it shows.
    """

    name: str
    size: tuple[float, float]
    draw: Callable[..., None]
    arguments: tuple[Any, ...]
    caption: str


@dataclass(frozen=True, eq=False)
class View:
    """A table as the page shows it.

    Attributes:
        caption: what it holds.
        columns: names, units and meanings of the columns that are shown.
        frame: holds them.
    """

    caption: str
    columns: tuple[Column, ...]
    frame: pd.DataFrame


@dataclass(frozen=True, eq=False)
class ResultTable:
    """A table of an analysis, written as tables/NAME.csv.

    Attributes:
        name: that of its schema.
        frame: its rows.
        view: how the page shows it; None where it is in the folder only.
    """

    name: str
    frame: pd.DataFrame
    view: View | None = None

    @classmethod
    def shown(cls, schema: Schema, frame: pd.DataFrame, caption: str, columns: Sequence[str] = ()) -> ResultTable:
        """A table that the page shows too.

        Args:
            schema: of the table.
            frame: its rows.
            caption: what it holds.
            columns: names of the columns that the page shows; all by default.

        Returns:
            The table, with its columns' units and meanings.
        """
        known = {column.name: column for column in schema.columns}
        view = View(caption, tuple(known[name] for name in columns or known), frame)
        return cls(schema.name, frame, view)


@dataclass(frozen=True)
class PrintTable:
    """A table as the PDF prints it.

    Attributes:
        caption: what it shows.
        header: names of the columns.
        rows: their cells.
        sides: for each column "l" or "r", where its cells are aligned.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sides: str


@dataclass(frozen=True)
class Finding:
    """One thing that stands out.

    Attributes:
        title: it in a line.
        sentences: the numbers behind it, and what they don't tell.
        numbers: the same numbers, JSON-ready names and values; empty where there is nothing to tell.
    """

    title: str
    sentences: tuple[str, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Printed:
    """A section in the PDF, beside its finding.

    Attributes:
        summary: tables and paragraphs of the first page.
        figures: those of the section's own pages, over their whole width.
        tables: below them.
    """

    summary: tuple[PrintTable | str, ...] = ()
    figures: tuple[Drawing, ...] = ()
    tables: tuple[PrintTable, ...] = ()


@dataclass(frozen=True, eq=False)
class Interactive:
    """Charts that the page shows in place of a section's figures, and their data.

    Attributes:
        template: path of the section's template in `report/`.
        data: JSON-ready, for the page's scripts; names that no other section uses.
        words: what the template fills in.
        left_out: what the page leaves to the files, a sentence each.
    """

    template: str
    data: Mapping[str, Any] = field(default_factory=dict)
    words: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Section:
    """One analysis in a report.

    Attributes:
        topic: a word for it: "similarity".
        title: its heading.
        tables: its results, in the order in which their files are listed.
        figures: the files of figures/.
        finding: what stands out.
        notes: what is to be said beside the results, a sentence each.
        subtitle: of its heading on the page.
        method: how the results were obtained, in a line for the page.
        printed: makes what the PDF shows; None for notes, figures, and the tables that the page shows.
        interactive: makes what the page shows in place of the figures; None for the figures themselves.
    """

    topic: str
    title: str
    tables: tuple[ResultTable, ...] = ()
    figures: tuple[Drawing, ...] = ()
    finding: Finding | None = None
    notes: tuple[str, ...] = ()
    subtitle: str = ""
    method: str = ""
    printed: Callable[[], Printed] | None = None
    interactive: Callable[[], Interactive] | None = None

    def pages(self) -> Printed:
        """The section in the PDF: its own choice, or notes, figures and tables as they are."""
        if self.printed is not None:
            return self.printed()
        tables = tuple(_print_table(table.view) for table in self.tables if table.view is not None)
        return Printed(self.notes, self.figures, tables)


def _print_table(view: View) -> PrintTable:
    names = [column.name for column in view.columns]
    rows = view.frame[names].itertuples(index=False, name=None)
    numeric = [pd.api.types.is_numeric_dtype(view.frame[name]) for name in names]
    return PrintTable(
        f"{view.caption}.",
        tuple(names),
        tuple(tuple(map(text_of, row)) for row in rows),
        "".join("r" if each else "l" for each in numeric),
    )


@dataclass(frozen=True)
class Sources:
    """Where a report comes from.

    Attributes:
        inputs: label, path, sha256, format and layout of each checkpoint.
        data: name, split, number of images and fingerprint of the data.
        versions: of Python and the libraries.
    """

    inputs: Sequence[Mapping[str, Any]] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that the PDF and the page tell.

    Attributes:
        networks: labels; the first is the one that the others are compared with.
        overview: the networks themselves, for the first page.
        sections: one for each analysis.
        sources: where it comes from.
        files: paths beside the page, relative to it.
    """

    networks: tuple[str, ...]
    overview: Section
    sections: tuple[Section, ...]
    sources: Sources = field(default_factory=Sources)
    files: tuple[str, ...] = ()
