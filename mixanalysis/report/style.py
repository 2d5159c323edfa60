"""One style sheet for papers and slides: colours that colour-blind readers can tell apart, sizes that fit a column."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure, FigureBase, SubFigure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from mixanalysis.report.names import legible

FigureFormat = Literal["png", "svg", "pdf"]
StyleName = Literal["paper", "slides"]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
"""Okabe and Ito's colours, in an order that keeps neighbours apart."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

LEGEND = 14
"""Networks in one column of a legend."""

COLUMN, TEXT = 3.25, 6.75
"""Widths in inches of a column and of the whole text of a paper (those of ICML); figures have one of them."""


@dataclass(frozen=True)
class Sheet:
    """The settings that a style changes.

    Attributes:
        font: size of text in points; lines, marks and small print follow it.
        enlarged: size of a figure over that in a paper.
        dpi: dots per inch of a PNG.
    """

    font: float
    enlarged: float
    dpi: int


SHEETS: dict[StyleName, Sheet] = {"paper": Sheet(8.0, 1.0, 300), "slides": Sheet(17.0, 1.85, 160)}
"""A figure as wide as the text fills a wide slide (13.33 in) but for its margins."""


@dataclass(frozen=True)
class FigureStyle:
    """How figures are saved: file format, and style."""

    format: FigureFormat = "png"
    style: StyleName = "paper"


PAPER = FigureStyle()


def width_of(panels: int) -> float:
    """Inches of a figure of so many panels side by side: a column or the whole text."""
    return COLUMN if panels == 1 else TEXT


_SIZES = {
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "legend.title_fontsize": 7.0,
    "axes.linewidth": 0.7,
    "axes.labelpad": 3.0,
    "axes.titlepad": 5.0,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "lines.markeredgewidth": 1.0,
    "grid.linewidth": 0.4,
    "xtick.major.size": 3.0,
    "xtick.major.width": 0.7,
    "xtick.major.pad": 3.0,
    "xtick.minor.size": 1.8,
    "xtick.minor.width": 0.5,
    "ytick.major.size": 3.0,
    "ytick.major.width": 0.7,
    "ytick.major.pad": 3.0,
    "ytick.minor.size": 1.8,
    "ytick.minor.width": 0.5,
}
"""In points, of the style "paper"."""

_SETTINGS: dict[Any, Any] = {
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "mixanalysis",
    "figure.dpi": 150,
}


@contextmanager
def any_script() -> Iterator[None]:
    """Within it nothing is said of names in scripts that the font lacks; they are drawn as boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        yield


@contextmanager
def styled(style: StyleName = "paper") -> Iterator[None]:
    """Draw with one of the project's styles, whatever the user's own settings are."""
    larger = SHEETS[style].font / _SIZES["font.size"]
    with mpl.rc_context(), any_script():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS | {name: size * larger for name, size in _SIZES.items()})
        yield


def sized(size: float) -> float:
    """The size in points, in the present settings, of `size` points in a paper."""
    return size * float(mpl.rcParams["font.size"]) / _SIZES["font.size"]


def colour(index: int) -> str:
    """Colour of the index-th network."""
    return PALETTE[index % len(PALETTE)]


def marker(index: int) -> str:
    """Marker of the index-th network; where colours begin again, markers are shifted."""
    return MARKERS[(index + index // len(PALETTE)) % len(MARKERS)]


def beside(ax: Axes, title: str | None = None, **options: Any) -> None:
    """A legend to the right of the axes, in as many columns as its height takes."""
    count = len(ax.get_legend_handles_labels()[1])
    ax.legend(title=title, loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=-(-count // LEGEND) or 1, **options)


def figure(draw: Callable[..., None], size: Sequence[float], *arguments: Any, style: StyleName = "paper") -> Figure:
    """A figure of its own, `size` in inches of a paper, drawn by draw(figure, *arguments)."""
    enlarged = SHEETS[style].enlarged
    with styled(style):
        result = blank(size[0] * enlarged, size[1] * enlarged)
        drawn_onto(result, draw, *arguments)
        settle(result)
    return result


def drawn_onto(place: FigureBase | Axes, draw: Callable[..., None], *arguments: Any) -> None:
    """Call draw(place, *arguments) with names that can be drawn; none of its texts is a formula.

    Texts that a formatter makes later, of ticks of logarithmic axes, stay formulas.

    Args:
        place: a figure or axes; texts that are there already stay as they are.
        draw: draws the arguments.
        arguments: frames, rows, and names in them.
    """
    before = {text: text.get_text() for text in _texts(place)}
    draw(place, *legible(arguments))
    for text in _texts(place):
        if text.get_text() != before.get(text, ""):
            text.set_parse_math(False)


def _texts(place: FigureBase | Axes) -> list[Text]:
    return [each for each in place.findobj(Text) if isinstance(each, Text)]


def blank(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    result = Figure(figsize=(width, height), layout="constrained")
    # it keeps its renderer, where other canvases make one for each text that is measured
    FigureCanvasAgg(result)
    return result


def axes_of(place: FigureBase | Axes) -> Axes:
    """The axes to draw on: these, or the only ones of a figure."""
    return place if isinstance(place, Axes) else place.subplots()


def settle(fig: Figure) -> None:
    """Lay a figure out once and for all, in positions without the last digits of the layout's solver.

    These depend on the order of objects in memory, and would make equal figures unequal files.
    """
    in_grid = bool(fig.subfigs) or any(ax.get_subplotspec() is not None for ax in fig.axes)
    if in_grid and (engine := fig.get_layout_engine()) is not None:
        engine.execute(fig)
    fig.set_layout_engine("none")
    for part in _parts(fig):
        part.bbox_relative.set_points(_rounded(part.bbox_relative))
    for ax in fig.axes:
        ax.set_position(Bbox(_rounded(ax.get_position(original=True))))


def _parts(fig: FigureBase) -> Iterator[SubFigure]:
    for part in fig.subfigs:
        yield part
        yield from _parts(part)


def _rounded(box: Bbox) -> np.ndarray:
    return box.get_points().round(9)


def save_figure(fig: Figure, path: Path | BinaryIO, look: FigureStyle) -> None:
    """Save a figure without a date or a program's version in it, so that equal figures are equal files."""
    with styled(look.style):
        fig.set_dpi(SHEETS[look.style].dpi)
        # the canvases' own functions draw once, savefig twice
        match look.format:
            case "png":
                FigureCanvasAgg(fig).print_png(path, metadata={"Software": None})  # type: ignore[no-untyped-call]
            case "svg":
                metadata = {"Date": None, "Creator": None}
                FigureCanvasSVG(fig).print_svg(path, metadata=metadata)  # type: ignore[no-untyped-call]
            case "pdf":
                metadata = {"CreationDate": None, "Producer": None, "Creator": None}
                FigureCanvasPdf(fig).print_pdf(path, metadata=metadata)  # type: ignore[no-untyped-call]
