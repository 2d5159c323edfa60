"""The figures of spectra: each draws one table onto a figure, and its labels come from the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase, SubFigure
from matplotlib.ticker import MaxNLocator

from mixanalysis.report.spectra.histograms import bin_edges, outlier_values
from mixanalysis.report.style import axes_of, beside, colour, marker, sized
from mixanalysis.spectra import nulls

SIGNIFICANT = 0.01


def spectrum_histograms(
    fig: Figure | SubFigure, summary: pd.DataFrame, values: pd.DataFrame, laws: Mapping[tuple[str, str], nulls.Null]
) -> None:
    """Small multiples, a panel per layer: singular values, the null's density, its edge and the largest value.

    Args:
        fig: where to draw.
        summary: rows of `SPECTRUM`.
        values: rows of `SINGULAR_VALUES` of the same layers.
        laws: the null of each (network, layer) that has one, for its density.
    """
    columns = min(4, len(summary))
    grid = _grid(fig, len(summary), columns)
    for ax, (_, layer) in zip(grid, summary.iterrows(), strict=True):
        own = values[(values["network"] == layer["network"]) & (values["layer"] == layer["layer"])]
        spectrum_histogram(ax, layer, own, laws.get((layer["network"], layer["layer"])))
    for index, ax in enumerate(grid):
        if index % columns == 0:
            ax.set_ylabel("density")
        if index + columns >= len(summary):
            ax.set_xlabel("singular value")
    # a layer without a null lacks the law and its edge
    handles, labels = max((ax.get_legend_handles_labels() for ax in grid), key=lambda pair: len(pair[0]))
    fig.legend(handles, labels, loc="upper center", ncols=5, borderaxespad=sized(0.1))


def _grid(fig: Figure | SubFigure, count: int, columns: int) -> list[Axes]:
    """Axes with room for their titles and labels, and above all of them for a legend.

    Placed by hand: where there are many, to find their places takes longer than to draw them.

    Returns:
        The axes, row by row.
    """
    rows = -(-count // columns)
    inches = fig.bbox.size / fig.dpi_scale_trans.get_matrix()[0, 0]
    point = sized(1.0) / 72
    left, right, bottom, top, across, down = (point * size for size in (37, 7, 26, 42, 31, 38))
    width, height = (inches - [left + right, bottom + top] - [across, down] * (np.array([columns, rows]) - 1)) / [
        columns,
        rows,
    ]
    grid = []
    for row, column in (divmod(index, columns) for index in range(count)):
        corner = np.array([left + column * (width + across), bottom + (rows - 1 - row) * (height + down)])
        ax = fig.add_axes((*(corner / inches), *([width, height] / inches)))
        ax.xaxis.set_label_coords(0.5, -15 * point / height)
        ax.yaxis.set_label_coords(-25 * point / width, 0.5)
        grid.append(ax)
    return grid


def spectrum_histogram(ax: Axes, layer: pd.Series, own: pd.DataFrame, law: nulls.Null | None) -> None:
    """One panel: a layer's row of `SPECTRUM`, its rows of `SINGULAR_VALUES`, and its null."""
    singular = own["singular_value"].to_numpy()
    edges = bin_edges(float(layer["s_max"]), float(layer["null_edge"]), len(singular))
    top = float(edges[-1])
    heights, _ = np.histogram(singular, edges, weights=own["multiplicity"], density=True)
    highest = float(heights.max())
    # one artist, where bars would be one each
    ax.stairs(heights, edges, fill=True, color="#BBBBBB", label="singular values")
    if law is not None:
        s = np.linspace(top / 400, top, 400)
        curve = nulls.density(law, s, (int(layer["factor_rows"]), int(layer["factor_columns"])))
        if curve is not None:
            highest = max(highest, float(curve.max()))
            ax.plot(s, curve, color=colour(0), label="free product" if law.chain else "Marchenko-Pastur")
        ax.axvline(law.expected, color=colour(1), linestyle="--", label="edge of the null")
    outliers = outlier_values(layer, own)
    # without a point, a line that isn't clipped has no bounds to lay out
    style: dict[str, Any] = {"color": colour(3), "markersize": sized(9), "clip_on": not len(outliers)}
    ax.plot(outliers, np.zeros(len(outliers)), "|", label="outliers", **style)
    ax.plot(
        [layer["s_max"]],
        [0],
        marker="v",
        color="black",
        clip_on=False,
        linestyle="none",
        label="largest value",
    )
    p = layer["p_value"]
    # a title at a fixed height isn't searched for among the ticks
    ax.set_title(f"{short_layer(layer['layer'])}\n{p_text(p)}", fontsize=sized(7), y=1.0)
    ax.set_xlim(0.0, top)
    ax.set_ylim(0.0, highest * 1.05)
    # ticks take longest to draw, and a locator also makes those beyond the ends
    ax.set_xticks(_ticks(top, 4))
    ax.set_yticks(_ticks(highest, 3))


def _ticks(end: float, most: int) -> list[float]:
    """Round numbers from 0 to the end, in at most so many steps."""
    return [float(tick) for tick in MaxNLocator(most).tick_values(0.0, end) if tick <= end]


def beyond_edge(spectra: pd.DataFrame) -> pd.Series:
    """Which layers reach beyond the edge of noise: p below `SIGNIFICANT` over the layers of the network (Bonferroni).

    Args:
        spectra: rows of `SPECTRUM`.

    Returns:
        True or False for each row; False without a p-value.
    """
    return spectra["p_value"] < SIGNIFICANT / spectra.groupby("network")["layer"].transform("size")


def spectrum_edges(place: FigureBase | Axes, summary: pd.DataFrame) -> None:
    """Largest singular value over its null's edge, layer by layer, for every network."""
    ax = axes_of(place)
    known = summary.assign(beyond=beyond_edge(summary))[summary["null_edge"].notna()]
    for index, (name, rows) in enumerate(known.groupby("network", sort=False)):
        ratio = (rows["s_max"] / rows["null_edge"]).to_numpy()
        position = np.arange(1, len(rows) + 1)
        ax.plot(position, ratio, color=colour(index), linewidth=sized(0.7))
        beyond = rows["beyond"].to_numpy()
        for chosen, face in ((beyond, colour(index)), (~beyond, "white")):
            shape: dict[str, Any] = {"marker": marker(index), "linestyle": "none", "color": colour(index)}
            ax.plot(position[chosen], ratio[chosen], markerfacecolor=face, **shape)
        ax.plot([], [], marker=marker(index), color=colour(index), label=str(name))
    ax.axhline(1.0, color="black", linestyle="--", linewidth=sized(0.8))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("layer, in forward order")
    ax.set_ylabel("largest singular value\nover the edge of the null")
    if len(known):
        beside(ax, f"filled: Tracy-Widom p < {SIGNIFICANT} / layers")


def spectrum_training(fig: FigureBase, summary: pd.DataFrame, steps: Mapping[str, int]) -> None:
    """Over training: largest singular value, edge of the null, and outliers of every layer against the epoch.

    Args:
        fig: where to draw.
        summary: rows of `SPECTRUM` of several checkpoints of one run.
        steps: epoch of each checkpoint, by its label.
    """
    left, right = fig.subplots(1, 2)
    table = summary.assign(step=[steps[name] for name in summary["network"]]).sort_values("step", kind="stable")
    for index, (layer, rows) in enumerate(table.groupby("layer", sort=False)):
        shade = colour(index)
        left.plot(rows["step"], rows["s_max"], f"{marker(index)}-", color=shade, label=short_layer(str(layer)))
        left.plot(rows["step"], rows["null_edge"], ":", color=shade, linewidth=sized(0.8))
        right.plot(rows["step"], rows["outliers"], f"{marker(index)}-", color=shade)
    left.set_ylabel("largest singular value\n(dotted: edge of the null)")
    right.set_ylabel("outliers")
    for ax in (left, right):
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    right.yaxis.set_major_locator(MaxNLocator(integer=True))
    fig.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=4)


def spectrum_sweep(place: FigureBase | Axes, table: pd.DataFrame) -> None:
    """HK Fig. 4 (right): the largest singular value of masked noise against gamma m at fixed Omega.

    Args:
        place: the figure, or the axes, to draw on.
        table: rows of `SPECTRUM_SWEEP`.
    """
    ax = axes_of(place)
    wide = table["expansion"] * table["width"]
    first = table.iloc[0]
    spread = np.nan_to_num(table["standard_error"])
    drawn = f"mean of {first['seeds']} seeds"
    ax.errorbar(wide, table["s_max"], yerr=spread, fmt="o", color=colour(0), capsize=sized(2), label=drawn, zorder=3)
    ax.plot(wide, table["predicted"], color=colour(1), label="graph edge or heaviest hub (heuristic)")
    ax.plot(wide, table["bulk_edge"], color=colour(2), linestyle="-.", label="graph edge")
    ax.plot(wide, table["first_order_edge"], color=colour(4), linestyle="--", label="first-order edge")
    ax.plot(wide, table["c_gamma"], color="black", linestyle=":", label="c_γ = 1 + √γ")
    ax.set_ylim(float(table["c_gamma"].min()) * 0.95, float(table[["s_max", "predicted"]].max().max()) * 1.05)
    ax.set_xscale("log")
    ax.set_xlabel("γ m")
    ax.set_ylabel("largest singular value")
    title = f"Ω = {first['omega']:,.6g}, γ = {first['expansion']:.3g}, density: {first['convention']}"
    ax.set_title(title, fontsize=sized(7))
    ax.legend(loc="upper left")


def p_text(p: float) -> str:
    """A p-value in few characters."""
    if np.isnan(p):
        return "no p-value"
    return "p < 1e-12" if p < 1e-12 else f"p = {p:.2g}"


def short_layer(name: str) -> str:
    """A layer's path without the parts that every layer has."""
    return name.removeprefix("blocks.").replace(".mlp.", ".")
