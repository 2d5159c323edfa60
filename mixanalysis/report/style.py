"""One style sheet: colours that colour-blind readers can tell apart, sizes that fit a column, fixed metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase, SubFigure
from matplotlib.transforms import Bbox

FigureFormat = Literal["png", "svg", "pdf"]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
"""Okabe and Ito's colours, in an order that keeps neighbours apart."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

COLUMN = 3.4
"""Width of a journal's column in inches."""

DPI = 200

_STYLE: dict[Any, Any] = {
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "mixanalysis",
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw with the project's style, whatever the user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def colour(index: int) -> str:
    """Colour of the index-th network."""
    return PALETTE[index % len(PALETTE)]


def marker(index: int) -> str:
    """Marker of the index-th network."""
    return MARKERS[index % len(MARKERS)]


def figure(draw: Callable[..., None], size: Sequence[float], *arguments: Any) -> Figure:
    """A figure of its own, `size` in inches, drawn by draw(figure, *arguments)."""
    with styled():
        result = Figure(figsize=(size[0], size[1]), layout="constrained")
        draw(result, *arguments)
        settle(result)
    return result


def axes_of(place: FigureBase | Axes) -> Axes:
    """The axes to draw on: these, or the only ones of a figure."""
    return place if isinstance(place, Axes) else place.subplots()


def settle(fig: Figure) -> None:
    """Lay a figure out once and for all, in positions without the last digits of the layout's solver.

    These depend on the order of objects in memory, and would make equal figures unequal files.
    """
    fig.draw_without_rendering()
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


def save_figure(fig: FigureBase, path: Path, kind: FigureFormat) -> None:
    """Save a figure without a date or a program's version in it, so that equal figures are equal files."""
    metadata = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }[kind]
    with styled():
        fig.savefig(path, format=kind, metadata=metadata)  # type: ignore[attr-defined]
