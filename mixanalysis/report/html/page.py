"""The page: a template filled with tables, findings, and the data of its charts."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mixanalysis._version import __version__
from mixanalysis.files import write_text
from mixanalysis.report.findings import findings
from mixanalysis.report.html.content import FACTS, Contents, left_out, payload, text_of, with_ratio
from mixanalysis.report.style import PALETTE
from mixanalysis.results import Column, plain
from mixanalysis.schemas import ANALYSES

MOST_ROWS = 600
"""Rows of a table in the page; the CSV file has all."""

RATIO = Column("ratio", "", "s_max over null_edge")
"""The one column of the page that the CSV files leave to their reader."""

SCRIPTS = ("core.js", "tables.js", "charts.js", "views.js", "picker.js")

SHOWN = {
    "networks": (),
    "cka_diagonal": ("network_a", "network_b", "relation", "density_a", "density_b", "blocks", "mean", "low", "high"),
    "spectrum": (
        *("network", "layer", "role", "width", "density", "s_max", "null_edge", "threshold", "ratio"),
        *("p_value", "q_value", "outliers", "null"),
    ),
    "spectrum_outliers": (),
    "width_points": (),
}
"""Columns of the page's tables; all where none are named."""

CAPTIONS = {
    "networks": "The networks",
    "cka_diagonal": "Pairs of networks",
    "spectrum": "Layers and their noise",
    "spectrum_outliers": "Outliers: singular values beyond the threshold",
    "width_points": "The networks and the widest Mixer of the same Ω",
}

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


def write_html(path: Path, contents: Contents) -> None:
    """Write the page; the same contents give the same bytes.

    Args:
        path: the file.
        contents: what it tells.
    """
    write_text(path, render(contents))


def render(contents: Contents) -> str:
    """The page's text."""
    environment = Environment(
        loader=PackageLoader("mixanalysis.report", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tables = contents.tables
    style = _source("style.css") + palette()
    # one function around all: a script's names are no names of the page
    script = '"use strict";\n(() => {\n' + "\n".join(map(_source, SCRIPTS)) + "})();\n"
    diagonal = tables["cka_diagonal"].iloc[0]
    return environment.get_template("template.html").render(
        contents=contents,
        first=diagonal,
        networks=[str(name) for name in tables["networks"]["network"]],
        findings=findings(tables["cka_diagonal"], tables["spectrum"], tables["width_points"], tables["cka"]),
        tables={name: table_of(name, tables[name]) for name in SHOWN},
        details={column.name: column for column in (*ANALYSES["spectrum"].columns, RATIO) if column.name in FACTS},
        left_out=left_out(contents),
        data=embedded(payload(contents)),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        version=__version__,
    )


def table_of(name: str, frame: pd.DataFrame) -> Table:
    """A frame as the page shows it, its columns told by the schema of that name."""
    known = {column.name: column for column in ANALYSES[name].columns}
    if name == "spectrum":
        frame, known = with_ratio(frame), known | {RATIO.name: RATIO}
    columns = tuple(known[column] for column in SHOWN[name] or known)
    numeric = tuple(pd.api.types.is_numeric_dtype(frame[column.name]) for column in columns)
    shown = frame.head(MOST_ROWS)[[column.name for column in columns]]
    rows = tuple(
        tuple(_cell(value, numeric=is_number) for value, is_number in zip(row, numeric, strict=True))
        for row in shown.itertuples(index=False, name=None)
    )
    return Table(name, CAPTIONS[name], columns, numeric, rows, len(frame))


def _cell(value: Any, *, numeric: bool) -> Cell:
    number = plain(value) if numeric else None
    return Cell(text_of(value), "" if number is None else f"{number:.9g}")


def embedded(data: Any) -> Markup:
    """JSON that is safe between script tags: no character of it can end the element.

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
