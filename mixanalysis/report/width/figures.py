"""The figures of effective width: each draws one table onto a figure, and its labels come from the table."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import LogLocator, NullFormatter

from mixanalysis.report.style import axes_of, beside, colour, marker, sized


def width_lines(place: FigureBase | Axes, lines: pd.DataFrame, points: pd.DataFrame) -> None:
    """p(m) at fixed Omega: a line for each Omega, networks as points on the line of their own.

    Args:
        place: the figure, or the axes, to draw on.
        lines: rows of `WIDTH_LINE`.
        points: rows of `WIDTH_POINTS`; may be empty.
    """
    ax = axes_of(place)
    for index, (key, table) in enumerate(lines.groupby(["omega", "expansion"], sort=False)):
        connections, gamma = key
        shade = colour(index)
        name = f"Ω = {connections:,.6g}, γ = {gamma:.3g}"
        ax.plot(table["width"], table["density"], color=shade, linewidth=sized(0.9), label=name)
        mixer = table[table["mixer"]]
        ax.plot(mixer["width"], mixer["density"], color=shade, linewidth=sized(2.6), alpha=0.35)
        ax.plot(
            mixer["width"].tail(1),
            mixer["density"].tail(1),
            marker="|",
            color=shade,
            markersize=sized(14),
            linestyle="none",
        )
    for index, row in enumerate(points.itertuples()):
        # rings of falling size stay visible where networks share a point
        ax.plot(
            [row.width],
            [row.density],
            marker(index),
            color=colour(index),
            markersize=sized(max(13 - 2 * index, 4)),
            markerfacecolor="none",
            markeredgewidth=sized(1.3),
            label=f"{row.network} (m = {row.width}, p = {row.density:.3g})",
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(numticks=12))
        axis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("effective width m")
    ax.set_ylabel("density p")
    ax.grid(which="major", alpha=0.5)
    beside(ax, "thick: a Mixer exists; bar: the widest one", markerscale=0.6)


def channel_lines(fig: FigureBase, table: pd.DataFrame) -> None:
    """m(C) and p(C) of Mixers at fixed Omega (HK Fig. 3); `table` holds rows of `WIDTH_CHANNELS`."""
    left, right = fig.subplots(1, 2)
    for index, (key, rows) in enumerate(table.groupby(["omega", "expansion_token", "expansion_channel"], sort=False)):
        connections, gamma_s, gamma_c = key
        gamma = f"{gamma_s:.3g}" if gamma_s == gamma_c else f"({gamma_s:.3g}, {gamma_c:.3g})"
        name = f"Ω = {connections:,.6g}, γ = {gamma}"
        for ax, column in ((left, "width"), (right, "density")):
            ax.plot(rows["channels"], rows[column], color=colour(index), label=name)
    for ax, label in ((left, "effective width m"), (right, "density p")):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("channels C")
        ax.set_ylabel(label)
        ax.grid(which="major", alpha=0.5)
    handles, labels = left.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2)
