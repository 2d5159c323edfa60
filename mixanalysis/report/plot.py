"""Figures of results for a notebook or a figure of one's own: each takes what an analysis answers with.

Without axes a figure of the project's own style is made, which a notebook shows; on given axes the user's own style
holds. The figure is returned, never saved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from mixanalysis.errors import UsageError
from mixanalysis.report.similarity import figures as cka_figures
from mixanalysis.report.similarity.drawings import means_height
from mixanalysis.report.similarity.figures import Scale
from mixanalysis.report.spectra import figures as spectrum_figures
from mixanalysis.report.style import COLUMN, TEXT, axes_of, drawn_onto, figure
from mixanalysis.report.width import figures as width_figures
from mixanalysis.selection import did_you_mean
from mixanalysis.similarity import CKAResult
from mixanalysis.spectra import SpectrumResult
from mixanalysis.spectra.nulls import Null
from mixanalysis.width import WIDTH_POINTS

__all__ = ["cka_heatmap", "cka_means", "cka_profile", "spectrum_edges", "spectrum_histogram", "width_lines"]


def cka_heatmap(
    result: CKAResult,
    network_a: str | None = None,
    network_b: str | None = None,
    *,
    scale: Scale = "unit",
    ax: Axes | None = None,
) -> Figure:
    """Layers by layers of one pair of networks, the first pair by default.

    Args:
        result: what `cka` answered.
        network_a: label of the network of the rows.
        network_b: label of that of the columns.
        scale: colours from 0 to 1 ("unit"), or over the values that there are ("auto").
        ax: axes to draw on.

    Returns:
        The figure.

    Raises:
        UsageError: the two weren't compared.
    """
    first = result.diagonal.iloc[0]
    pair = (network_a or str(first["network_a"]), network_b or str(first["network_b"]))
    cells = result.cells
    cells = cells[(cells["network_a"] == pair[0]) & (cells["network_b"] == pair[1])]
    if cells.empty:
        known = [f"{a} and {b}" for a, b in result.diagonal[["network_a", "network_b"]].itertuples(index=False)]
        raise UsageError(f"{pair[0]} and {pair[1]} were not compared in this order; these were: {', '.join(known)}")
    return _drawn(cka_figures.cka_heatmap, (COLUMN, 3.1), ax, cells, scale)


def cka_means(result: CKAResult, *, ax: Axes | None = None) -> Figure:
    """Mean of the diagonal of every pair that has one, with its interval."""
    known = cka_figures.by_mean(result.diagonal)
    return _drawn(cka_figures.cka_means, (TEXT, means_height(known)), ax, known)


def cka_profile(result: CKAResult, reference: str | None = None, *, ax: Axes | None = None) -> Figure:
    """CKA of each block of a network with the block at the same position of the others.

    Args:
        result: what `cka` answered.
        reference: label of the network, the first by default.
        ax: axes to draw on.

    Returns:
        The figure.

    Raises:
        UsageError: there is no such network.
    """
    labels = list(dict.fromkeys(result.diagonal["network_a"]))
    chosen = _known(reference or labels[0], labels)
    return _drawn(cka_figures.cka_profile, (TEXT, 2.7), ax, result.cells, result.diagonal, chosen)


def spectrum_edges(result: SpectrumResult, *, ax: Axes | None = None) -> Figure:
    """Largest singular value over its null's edge, layer by layer, for every network."""
    return _drawn(spectrum_figures.spectrum_edges, (TEXT, 2.7), ax, result.summary)


def spectrum_histogram(
    result: SpectrumResult, layer: str, network: str | None = None, *, ax: Axes | None = None
) -> Figure:
    """Singular values of one layer, the null's density, its edge and the largest value.

    Args:
        result: what `spectrum` answered.
        layer: its name.
        network: label of its network, the first by default.
        ax: axes to draw on.

    Returns:
        The figure.

    Raises:
        UsageError: there is no such network or layer.
    """
    summary, values = result.summary, result.values
    labels = list(dict.fromkeys(summary["network"]))
    chosen = _known(network or labels[0], labels)
    rows = summary[summary["network"] == chosen]
    row = rows[rows["layer"] == _known(layer, list(rows["layer"]))].iloc[0]
    own = values[(values["network"] == chosen) & (values["layer"] == layer)]

    return _drawn(_histogram, (COLUMN, 2.6), ax, row, own, result.nulls.get((chosen, layer)))


def _histogram(place: FigureBase | Axes, layer: pd.Series, own: pd.DataFrame, law: Null | None) -> None:
    panel = axes_of(place)
    spectrum_figures.spectrum_histogram(panel, layer, own, law)
    panel.set_xlabel("singular value")
    panel.set_ylabel("density")
    panel.legend()


def width_lines(lines: pd.DataFrame, points: pd.DataFrame | None = None, *, ax: Axes | None = None) -> Figure:
    """Density p against effective width m at fixed Omega.

    Args:
        lines: rows of `width.line`, of one Omega or several.
        points: rows of `width.points`, networks to be drawn.
        ax: axes to draw on.

    Returns:
        The figure.
    """
    return _drawn(
        width_figures.width_lines, (TEXT, 3.0), ax, lines, WIDTH_POINTS.frame([]) if points is None else points
    )


def _drawn(draw: Callable[..., None], size: tuple[float, float], ax: Axes | None, *arguments: Any) -> Figure:
    if ax is None:
        return figure(draw, size, *arguments)
    whole = ax.get_figure(root=True)
    if whole is None:
        raise UsageError("the axes belong to no figure")
    drawn_onto(ax, draw, *arguments)
    return whole


def _known(name: str, names: list[str]) -> str:
    if name not in names:
        raise UsageError(f"no {name!r} in this result; it has {', '.join(names)}{did_you_mean(name, names)}")
    return name
