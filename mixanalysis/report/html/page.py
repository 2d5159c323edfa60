"""The page: a template filled with sections, their tables and findings, and the data of their charts."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mixanalysis._version import __version__
from mixanalysis.files import write_text
from mixanalysis.report.cells import text_of
from mixanalysis.report.section import Drawing, Finding, Interactive, Report, Section, View
from mixanalysis.report.style import MARKERS, PALETTE, PAPER, figure, save_figure
from mixanalysis.results import Column, plain
from mixanalysis.visible import visible

MOST_ROWS = 600
"""Rows of a table in the page; the CSV file has all."""

PLAIN = "html/section.html"
"""Template of a section that has none of its own."""

SCRIPTS = ("core.js", "tables.js", "charts.js", "views.js", "picker.js")

ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, and the number to sort it by ("" for text and what is undefined)."""

    text: str
    number: str = ""


@dataclass(frozen=True, eq=False)
class Table:
    """A table of the page.

    Attributes:
        name: of its schema and its CSV file.
        caption: what it holds.
        columns: names, units, meanings.
        numeric: which of them hold numbers.
        rows: at most `MOST_ROWS`.
        total: rows of the CSV file.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: int


@dataclass(frozen=True, eq=False)
class Part:
    """A section of the page.

    Attributes:
        topic: names its place in the page.
        heading: its title.
        method: how its results were obtained.
        notes: what is to be said beside them.
        finding: what stands out.
        body: its charts and tables.
    """

    topic: str
    heading: str
    method: str
    notes: tuple[str, ...]
    finding: Finding | None
    body: Markup


def write_html(path: Path, report: Report) -> None:
    """Write the page; the same report gives the same bytes.

    Args:
        path: the file.
        report: what it tells.
    """
    write_text(path, render(report))


def render(report: Report) -> str:
    """The page's text."""
    environment = Environment(
        loader=PackageLoader("mixanalysis.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    style = _source("style.css") + palette()
    # one function around all: a script's names are no names of the page
    script = '"use strict";\n(() => {\n' + "\n".join(map(_source, SCRIPTS)) + "})();\n"
    shown = [section.interactive() if section.interactive else None for section in report.sections]
    return environment.get_template("html/template.html").render(
        report=report,
        overview=tables_of(report.overview),
        sections=[_part(environment, report, *pair) for pair in zip(report.sections, shown, strict=True)],
        places=["summary", *(section.topic for section in report.sections), "provenance"],
        left_out=[line for part in shown if part for line in part.left_out],
        data=embedded(payload(report, shown)),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        version=__version__,
    )


def _shown(value: Any) -> Any:
    """Text that came from a file, its control characters as escapes; what the page is made of stays as it is."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def payload(report: Report, shown: list[Interactive | None]) -> dict[str, Any]:
    """The data of the charts.

    Args:
        report: what the page tells.
        shown: for each of its sections, what the page shows in place of the figures.

    Returns:
        JSON-ready data.
    """
    data: dict[str, Any] = {
        "markers": list(MARKERS),
        "networks": list(report.networks),
        "reference": report.networks[0],
    }
    for part in shown:
        data |= part.data if part else {}
    seen: dict[str, Any] = _seen(data)
    return seen


def _seen(data: Any) -> Any:
    """JSON-ready data whose texts hold no control characters."""
    if isinstance(data, dict):
        return {_seen(key): _seen(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_seen(value) for value in data]
    return visible(data) if isinstance(data, str) else data


def _part(environment: Environment, report: Report, section: Section, shown: Interactive | None) -> Part:
    words = {} if shown is None else shown.words
    body = environment.get_template(PLAIN if shown is None else shown.template).render(
        report=report,
        tables=tables_of(section),
        captions={drawing.name: drawing.caption for drawing in section.figures},
        images=[] if shown else [_image(drawing) for drawing in section.figures],
        words=words,
    )
    heading = f"{section.title} ({section.subtitle})" if section.subtitle else section.title
    return Part(section.topic, heading, section.method, section.notes, section.finding, Markup(body))


def _image(drawing: Drawing) -> dict[str, str]:
    """A figure within the page, with its caption."""
    stream = io.BytesIO()
    save_figure(figure(drawing.draw, drawing.size, *drawing.arguments), stream, PAPER)
    return {"png": base64.b64encode(stream.getvalue()).decode(), "caption": drawing.caption}


def tables_of(section: Section) -> Mapping[str, Table]:
    """The section's tables that the page shows, by their names."""
    return {table.name: table_of(table.name, table.view) for table in section.tables if table.view is not None}


def table_of(name: str, view: View) -> Table:
    """A table as the page shows it, its first `MOST_ROWS` rows as text."""
    names = [column.name for column in view.columns]
    numeric = tuple(pd.api.types.is_numeric_dtype(view.frame[name]) for name in names)
    rows = tuple(
        tuple(_cell(value, numeric=is_number) for value, is_number in zip(row, numeric, strict=True))
        for row in view.frame.head(MOST_ROWS)[names].itertuples(index=False, name=None)
    )
    return Table(name, view.caption, view.columns, numeric, rows, len(view.frame))


def _cell(value: Any, *, numeric: bool) -> Cell:
    number = plain(value) if numeric else None
    return Cell(text_of(value), "" if number is None else f"{number:.9g}")


def embedded(data: Any) -> Markup:
    """JSON that is safe between script tags: no character of it can end the element.

    Returns:
        Markup that is not escaped again.

    Raises:
        ValueError: the data hold NaN or an infinity.
    """
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    for character, escape in ESCAPES.items():
        text = text.replace(character, escape)
    return Markup(text)


def palette() -> str:
    """The figures' colours as a style sheet; black becomes white in the dark."""
    shades = (f"light-dark({shade}, #FFFFFF)" if shade == "#000000" else shade for shade in PALETTE)
    variables = "".join(f"  --s{index}: {shade};\n" for index, shade in enumerate(shades))
    classes = "".join(f".c{index} {{ --c: var(--s{index}); }}\n" for index in range(len(PALETTE)))
    return f":root {{\n{variables}}}\n{classes}"


def _source(name: str) -> str:
    return resources.files("mixanalysis.report.html").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """A text's name in a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
