"""A PDF of A4 pages: headings, paragraphs, numbered tables and figures flow from page to page."""

from __future__ import annotations

import re
import textwrap
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_pdf import FigureCanvasPdf, PdfPages
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from mixanalysis.report.names import shortened
from mixanalysis.report.style import SHEETS, any_script, blank, drawn_onto, settle, styled
from mixanalysis.visible import visible

A4 = (8.27, 11.69)
MARGIN = 0.6
"""Inches of white on each side."""

WIDTH = A4[0] - 2 * MARGIN
INNER = A4[1] - 2 * MARGIN - 0.25
"""Inches of width and height that a page's blocks can share."""

_LINE = 1.45 / 72
"""Height of a line in inches, per point of the font's size."""

_ROW = 0.18
"""Height of a table's row in inches."""

_BELOW, _GAP = 0.2, 0.12
"""Inches below a table, and at least between two of its columns."""

_SMALL, _CAPTION, _TEXT, _TITLE = 7.0, 7.5, 8.5, 13.0
"""Sizes of fonts in points: tables, captions, paragraphs, titles."""


WORD, CELL = 100, 200
"""Characters of a word, such as a name, and of a table's cell; longer ones lose their middle."""

LONG = re.compile(rf"\S{{{WORD + 1},}}")


@dataclass(frozen=True)
class Block:
    """A part of a document that one page holds.

    Attributes:
        height: in inches.
        draw: draws it onto its part of the page.
        leads: it stays on the page of what follows.
    """

    height: float
    draw: Callable[[SubFigure], None]
    leads: bool = False

    @property
    def least(self) -> float:
        """Inches that it takes on a page at least."""
        return self.height

    def cut(self, _room: float) -> tuple[Block, Table | None]:
        """The part that fits into `room` inches, and the rest."""
        return self, None


@dataclass(frozen=True)
class Table:
    """Rows that may go on on the next page, below the same header.

    Attributes:
        header: names of the columns.
        rows: their cells.
        sides: for each column "l" or "r", where its cells are aligned.
        places: the left and right edges of the columns, in inches.
        font: in points.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sides: str
    places: tuple[tuple[float, float], ...]
    font: float
    leads: bool = False

    @property
    def least(self) -> float:
        """Inches for the header and up to three rows."""
        return _ROW * (min(len(self.rows), 3) + 1) + _BELOW

    def cut(self, room: float) -> tuple[Block, Table | None]:
        """The rows that fit into `room` inches, and a table of the others."""
        count = max(int((room - _BELOW) / _ROW) - 1, 1)
        first, rest = self.rows[:count], self.rows[count:]
        block = Block(_ROW * (len(first) + 1) + _BELOW, partial(_tabulate, replace(self, rows=first)))
        return block, replace(self, rows=rest) if rest else None


class Document:
    """Blocks in the order in which they are read; `pages` breaks them into pages."""

    def __init__(self) -> None:
        self._parts: list[Block | Table | str] = []
        self._figures = self._tables = 0

    def section(self, title: str) -> None:
        """A title at the top of a new page, and, smaller, of all pages up to the next one."""
        self._parts.append(title)

    def heading(self, text: str) -> None:
        """A bold line, on the page of what follows."""
        self._text(text, _TEXT, "bold", leads=True)

    def paragraph(self, text: str, *, small: bool = False) -> None:
        """Text, wrapped to the page's width."""
        self._text(text, _CAPTION if small else _TEXT)

    def table(self, caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> None:
        """A numbered table without its empty columns, its caption above; as many pages as it takes.

        Args:
            caption: what it shows.
            header: names of the columns.
            rows: their cells.
            sides: for each column "l" or "r", where its cells are aligned.
        """
        self._tables += 1
        self._text(f"Table {self._tables}. {caption}", _CAPTION, leads=True)
        told = [column for column in range(len(header)) if not rows or any(row[column] for row in rows)]
        cells = tuple(tuple(_cell(row[column]) for column in told) for row in rows)
        names, sides = tuple(header[column] for column in told), "".join(sides[column] for column in told)
        self._parts.append(_arranged(names, cells, sides))

    def drawing(self, draw: Callable[..., None], height: float, caption: str, *arguments: Any) -> None:
        """A numbered figure over the page's width, `height` in inches, with its caption below."""
        self._figures += 1
        self._parts.append(Block(height, lambda part: drawn_onto(part, draw, *arguments), leads=True))
        self._text(f"Figure {self._figures}. {caption}", _CAPTION)

    def _text(self, text: str, size: float, weight: str = "normal", *, leads: bool = False) -> None:
        self._parts.append(_worded(text, size, weight, leads=leads))

    def pages(self) -> list[list[Block]]:
        """The blocks of each page."""
        pages: list[list[Block]] = []
        waiting = deque(self._parts)
        title, room = "", 0.0
        while waiting:
            part = waiting.popleft()
            if isinstance(part, str):
                title = part
                pages.append([_worded(title, _TITLE, "bold")])
                room = INNER - pages[-1][0].height
                continue
            if len(pages[-1]) > 1 and _need(part, waiting) > room:
                pages.append([_worded(f"{title}, continued", _TEXT, "bold")])
                room = INNER - pages[-1][0].height
            block, rest = part.cut(room)
            pages[-1].append(block)
            room -= block.height
            if rest is not None:
                waiting.appendleft(rest)
        return pages


def _worded(text: str, size: float, weight: str = "normal", *, leads: bool = False) -> Block:
    characters = int(WIDTH * 72 / (size * 0.545))
    text = LONG.sub(lambda word: shortened(word[0], WORD), visible(text, "\n"))
    lines = [line for part in text.split("\n") for line in textwrap.wrap(part, characters) or [""]]
    return Block(
        len(lines) * size * _LINE + (0.04 if leads else 0.12), partial(_write, "\n".join(lines), size, weight), leads
    )


def _cell(text: str) -> str:
    return shortened(visible(text), CELL)


def _need(part: Block | Table, following: Sequence[Block | Table | str]) -> float:
    """Inches of a part with all that it has to share a page with."""
    need, index = part.least, 0
    while part.leads and index < len(following) and not isinstance(after := following[index], str):
        part, index = after, index + 1
        need += part.least
    return need


def write_pdf(path: Path, document: Document) -> None:
    """Draw the pages one after the other and write them, numbered, without dates.

    Args:
        path: the file.
        document: what they show.
    """
    metadata = {"Title": "mixanalysis report", "CreationDate": None, "Producer": None, "Creator": None}
    pages = document.pages()
    with styled(), PdfPages(path, metadata=metadata) as pdf:
        for number, blocks in enumerate(pages, start=1):
            page = _page(blocks, f"{number} / {len(pages)}")
            page.set_dpi(SHEETS["paper"].dpi)
            FigureCanvasPdf(page).print_pdf(pdf)  # type: ignore[no-untyped-call]


def _page(blocks: Sequence[Block], number: str) -> Figure:
    figure = blank(*A4)
    heights = [block.height for block in blocks]
    grid = figure.add_gridspec(
        len(heights) + 2,
        3,
        height_ratios=[MARGIN, *heights, max(A4[1] - MARGIN - sum(heights), 0.01)],
        width_ratios=[MARGIN, WIDTH, MARGIN],
    )
    for row, block in enumerate(blocks, start=1):
        block.draw(figure.add_subfigure(grid[row, 1]))
    figure.text(0.5, 0.03, number, ha="center", fontsize=_SMALL)
    settle(figure)
    return figure


def _write(text: str, size: float, weight: str, part: SubFigure) -> None:
    part.text(0, 1, text, fontsize=size, fontweight=weight, va="top", linespacing=1.3, parse_math=False)


def _inches(texts: Sequence[str], font: float, weight: str) -> float:
    """Width of the widest text."""
    longest = sorted(set(texts), key=len)[-3:]
    properties = FontProperties(size=font, weight=weight)
    with any_script():
        widths = [text_to_path.get_text_width_height_descent(text, properties, False)[0] for text in longest]
    return max(widths, default=0.0) / 72


def _arranged(header: tuple[str, ...], rows: tuple[tuple[str, ...], ...], sides: str) -> Table:
    """A table whose columns are as wide as their cells; where the page is too narrow, long names lose their middle."""
    most = max((len(cell) for row in rows for cell in row), default=0)
    for font in (_SMALL, 6.0, 5.0):
        for characters in range(max(most, 16), 15, -4):
            short = tuple(tuple(shortened(cell, characters) for cell in row) for row in rows)
            columns = list(zip(*short, strict=True)) or [()] * len(header)
            widths = [
                max(_inches(cells, font, "normal"), _inches([name], font, "bold"))
                for name, cells in zip(header, columns, strict=True)
            ]
            free = WIDTH - sum(widths) - _GAP * (len(widths) - 1)
            if free >= 0:
                return Table(header, short, sides, _places(widths, free), font)
    return Table(header, short, sides, _places([width * WIDTH / sum(widths) for width in widths], 0.0), font)


def _places(widths: Sequence[float], free: float) -> tuple[tuple[float, float], ...]:
    """Left and right edges of columns; up to half an inch more is between two."""
    gap = _GAP + min(free / max(len(widths) - 1, 1), 0.5)
    places, left = [], 0.0
    for width in widths:
        places.append((left, left + width))
        left += width + gap
    return tuple(places)


def _tabulate(table: Table, part: SubFigure) -> None:
    count = len(table.rows) + 1
    share = _ROW / (_ROW * count + _BELOW)
    # digits are about 0.7 of the font's size high
    down = 0.5 + 0.35 * table.font / 72 / _ROW
    width = table.places[-1][1] / WIDTH
    for line, cells in enumerate((table.header, *table.rows)):
        height = 1 - share * (line + down)
        for cell, side, place in zip(cells, table.sides, table.places, strict=True):
            part.text(
                place[0 if side == "l" else 1] / WIDTH,
                height,
                cell,
                ha="left" if side == "l" else "right",
                va="baseline",
                fontsize=table.font,
                fontweight="bold" if line == 0 else "normal",
                parse_math=False,
            )
    for line, thick in ((0, 0.8), (1, 0.5), (count, 0.8)):
        level = 1 - share * line
        part.add_artist(
            Line2D([0, width], [level, level], color="black", linewidth=thick, transform=part.transSubfigure)
        )
