"""A PDF of fixed A4 pages: headings, paragraphs, tables and drawings with captions, from top to bottom."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure, SubFigure
from matplotlib.transforms import Bbox

from mixanalysis.report.style import settle, styled

A4 = (8.27, 11.69)
MARGIN = 0.6
"""Inches of white on each side."""

INNER = A4[1] - 2 * MARGIN - 0.25
"""Inches of height that a page's blocks can share."""

_LINE = 1.45 / 72
"""Height of a line in inches, per point of the font's size."""


class Page:
    """One A4 page; blocks are stacked from the top and drawn by `render`.

    Args:
        title: heading of the page.
    """

    def __init__(self, title: str) -> None:
        self.blocks: list[tuple[float, Callable[[SubFigure], None]]] = []
        self.paragraph(title, size=13, weight="bold")

    @property
    def left(self) -> float:
        """Inches that are still free."""
        return INNER - sum(height for height, _ in self.blocks)

    def paragraph(self, text: str, *, size: float = 8.5, weight: str = "normal") -> None:
        """Text, wrapped to the page's width."""
        characters = int((A4[0] - 2 * MARGIN) * 72 / (size * 0.545))
        lines = [line for part in text.split("\n") for line in textwrap.wrap(part, characters) or [""]]
        height = len(lines) * size * _LINE + 0.1
        self.blocks.append((height, partial(_write, "\n".join(lines), size, weight)))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[float]) -> None:
        """A table that fits the page; `widths` are relative."""
        height = 0.2 * (len(rows) + 1) + 0.12
        self.blocks.append((height, partial(_tabulate, header, rows, widths)))

    def drawing(self, draw: Callable[..., None], height: float, caption: str, *arguments: Any) -> None:
        """A drawing over the page's width, `height` in inches, and its caption."""
        self.blocks.append((height, lambda part: draw(part, *arguments)))
        self.paragraph(caption, size=7.5)

    def render(self, number: int, total: int) -> Figure:
        """The page as a figure, numbered."""
        figure = Figure(figsize=A4, layout="constrained")
        heights = [height for height, _ in self.blocks]
        grid = figure.add_gridspec(
            len(heights) + 2,
            3,
            height_ratios=[MARGIN, *heights, max(A4[1] - MARGIN - sum(heights), 0.01)],
            width_ratios=[MARGIN, A4[0] - 2 * MARGIN, MARGIN],
        )
        for row, (_, draw) in enumerate(self.blocks, start=1):
            draw(figure.add_subfigure(grid[row, 1]))
        figure.text(0.5, 0.03, f"{number} / {total}", ha="center", fontsize=7)
        settle(figure)
        return figure


def write_pdf(path: Path, pages: Sequence[Callable[[], Page]]) -> None:
    """Draw the pages one after the other and write them, numbered, without dates.

    Args:
        path: the file.
        pages: a function for each page, called within the style.
    """
    metadata = {"Title": "mixanalysis report", "CreationDate": None, "Producer": None, "Creator": None}
    with styled(), PdfPages(path, metadata=metadata) as pdf:
        for number, make in enumerate(pages, start=1):
            pdf.savefig(make().render(number, len(pages)))


def _write(text: str, size: float, weight: str, part: SubFigure) -> None:
    part.text(0, 1, text, fontsize=size, fontweight=weight, va="top", linespacing=1.3, parse_math=False)


def _tabulate(header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[float], part: SubFigure) -> None:
    ax = part.add_axes((0, 0.04, 1, 0.94))
    ax.set_axis_off()
    table = ax.table(
        cellText=[list(row) for row in rows],
        colLabels=list(header),
        colWidths=[share / sum(widths) for share in widths],
        cellLoc="right",
        bbox=Bbox.unit(),
        edges="horizontal",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(7)
    for (row, column), cell in table.get_celld().items():
        cell.set_linewidth(0.4)
        cell.PAD = 0.02
        cell.set_text_props(ha="left" if column == 0 else "right", fontweight="bold" if row == 0 else "normal")
