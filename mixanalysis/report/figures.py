"""The figures: each draws one table onto a figure, and its labels come from the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from mixanalysis.report.histograms import bin_edges, outlier_values
from mixanalysis.report.style import colour, marker
from mixanalysis.results import INTERVAL
from mixanalysis.spectra import nulls

READABLE_CELLS = 14
"""Heat maps with at most this many rows and columns show their values."""

SIGNIFICANT = 0.01

KINDS = ("", "untrained", "other seed")
"""Relations of a pair that have a colour of their own."""


def cka_heatmap(fig: FigureBase, cells: pd.DataFrame) -> None:
    """Layers by layers of one pair of networks; `cells` are the pair's rows of `results.CKA_CELLS`."""
    ax = fig.subplots()
    values = cells.pivot_table("value", "index_a", "index_b", dropna=False)
    readable = max(values.shape) <= READABLE_CELLS
    sns.heatmap(
        values,
        ax=ax,
        vmin=0.0,
        vmax=1.0,
        cmap="viridis",
        square=True,
        annot=readable,
        fmt=".2f",
        annot_kws={"size": 6},
        xticklabels=_thinned(_labels(cells, "b")),
        yticklabels=_thinned(_labels(cells, "a")),
        rasterized=not readable,
        cbar_kws={"label": "CKA", "shrink": 0.8},
    )
    ax.invert_yaxis()
    ax.tick_params(length=0)
    ax.set_xticklabels(ax.get_xticklabels(), rotation=90)
    ax.set_yticklabels(ax.get_yticklabels(), rotation=0)
    first = cells.iloc[0]
    ax.set_xlabel(f"block of {first['network_b']}")
    ax.set_ylabel(f"block of {first['network_a']}")
    ax.set_title(f"{first['network_a']} against {first['network_b']}\n{first['features']}", fontsize=7)


def cka_heatmaps(fig: FigureBase, pairs: Sequence[pd.DataFrame]) -> None:
    """Heat maps of several pairs, two in a row."""
    rows = -(-len(pairs) // 2)
    parts = np.ravel(np.asarray(fig.subfigures(rows, 2), dtype=object))
    for part, cells in zip(parts, pairs, strict=False):
        cka_heatmap(part, cells)


def cka_means(fig: FigureBase, diagonal: pd.DataFrame) -> None:
    """Mean of the diagonal of every pair that has one, with its interval, largest on top."""
    ax = fig.subplots()
    known = diagonal[diagonal["mean"].notna()].sort_values("mean", ascending=True, kind="stable")
    for height, row in enumerate(known.itertuples()):
        kind = KINDS.index(row.relation) if row.relation in KINDS else 0
        bounds = np.nan_to_num([row.mean - row.low, row.high - row.mean])
        style: dict[str, Any] = {"fmt": marker(kind), "color": colour(kind), "capsize": 2, "elinewidth": 1}
        ax.errorbar(row.mean, height, xerr=bounds[:, None], **style)
    for kind, name in enumerate(KINDS):
        if (known["relation"] == name).any() and name:
            meaning = {"untrained": "untrained: floor", "other seed": "other seed: ceiling"}[name]
            ax.plot([], [], marker(kind), color=colour(kind), label=meaning)
    if ax.get_legend_handles_labels()[0]:
        fig.legend(loc="outside upper right", ncols=2)
    names = [
        f"{row.network_a} – {row.network_b}" + (f" ({row.relation})" if row.relation else "")
        for row in known.itertuples()
    ]
    ax.set_yticks(range(len(known)), names)
    ax.set_ylim(-0.6, len(known) - 0.4)
    lowest = float(np.nan_to_num(known["low"].fillna(known["mean"]).min()))
    ax.set_xlim(min(0.0, lowest), 1.0)
    ax.grid(axis="x", linewidth=0.4, alpha=0.5)
    ax.set_xlabel(f"mean CKA of blocks at the same position\n({INTERVAL})")


def cka_profile(fig: FigureBase, cells: pd.DataFrame, reference: str) -> None:
    """CKA of each block of the reference network with the block at the same position of every other network."""
    ax = fig.subplots()
    pairs = cells[(cells["network_a"] == reference) & (cells["index_a"] == cells["index_b"])]
    for index, (name, rows) in enumerate(pairs.sort_values("index_a").groupby("network_b", sort=False)):
        spread = np.nan_to_num([rows["value"] - rows["low"], rows["high"] - rows["value"]])
        offset = (index - (pairs["network_b"].nunique() - 1) / 2) * 0.06
        ax.errorbar(
            rows["index_a"] + offset,
            rows["value"],
            yerr=spread,
            fmt=f"{marker(index)}-",
            color=colour(index),
            capsize=1.5,
            elinewidth=0.8,
            label=str(name),
        )
    ticks = pairs.drop_duplicates("index_a").sort_values("index_a")
    ax.set_xticks(ticks["index_a"], _thinned(list(ticks["layer_a"])), rotation=90 if len(ticks) > 8 else 0)
    ax.set_ylim(min(0.0, float(np.nan_to_num(pairs["low"].min()))), 1.03)
    ax.set_xlabel(f"block of {reference}")
    ax.set_ylabel("CKA at the same position")
    ax.grid(axis="y", linewidth=0.4, alpha=0.5)
    ax.legend(title=f"{reference} against", loc="upper left", bbox_to_anchor=(1.0, 1.0))


def spectrum_histograms(
    fig: FigureBase, summary: pd.DataFrame, values: pd.DataFrame, laws: Mapping[tuple[str, str], nulls.Null]
) -> None:
    """Small multiples, a panel per layer: singular values, the null's density, its edge and the largest value.

    Args:
        fig: where to draw.
        summary: rows of `results.SPECTRUM`.
        values: rows of `results.SINGULAR_VALUES` of the same layers.
        laws: the null of each (network, layer) that has one, for its density.
    """
    columns = min(4, len(summary))
    rows = -(-len(summary) // columns)
    grid = np.atleast_1d(fig.subplots(rows, columns, squeeze=False)).ravel()
    for ax, (_, layer) in zip(grid, summary.iterrows(), strict=False):
        own = values[(values["network"] == layer["network"]) & (values["layer"] == layer["layer"])]
        _histogram(ax, layer, own, laws.get((layer["network"], layer["layer"])))
    for ax in grid[len(summary) :]:
        ax.set_axis_off()
    for index, ax in enumerate(grid[: len(summary)]):
        if index % columns == 0:
            ax.set_ylabel("density")
        if index + columns >= len(summary):
            ax.set_xlabel("singular value")
    # a layer without a null lacks the law and its edge
    handles, labels = max((ax.get_legend_handles_labels() for ax in grid), key=lambda found: len(found[0]))
    fig.legend(handles, labels, loc="outside upper center", ncols=5)


def _histogram(ax: Axes, layer: pd.Series, own: pd.DataFrame, law: nulls.Null | None) -> None:
    singular = own["singular_value"].to_numpy()
    edges = bin_edges(float(layer["s_max"]), float(layer["null_edge"]), len(singular))
    top = float(edges[-1])
    ax.hist(
        singular,
        bins=list(edges),
        weights=own["multiplicity"],
        density=True,
        color="#BBBBBB",
        label="singular values",
    )
    if law is not None:
        s = np.linspace(top / 400, top, 400)
        curve = nulls.density(law, s, (int(layer["factor_rows"]), int(layer["factor_columns"])))
        if curve is not None:
            ax.plot(s, curve, color=colour(0), label="free product" if law.chain else "Marchenko-Pastur")
        ax.axvline(law.expected, color=colour(1), linestyle="--", label="edge of the null")
    outliers = outlier_values(layer, own)
    # without a point, a line that isn't clipped has no bounds to lay out
    style: dict[str, Any] = {"color": colour(3), "markersize": 9, "clip_on": not len(outliers), "label": "outliers"}
    ax.plot(outliers, np.zeros(len(outliers)), "|", **style)
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
    ax.set_title(f"{short_layer(layer['layer'])}\n{p_text(p)}", fontsize=7)
    ax.set_xlim(0.0, top)
    ax.yaxis.set_major_locator(MaxNLocator(3))
    ax.xaxis.set_major_locator(MaxNLocator(4))


def spectrum_edges(fig: FigureBase, summary: pd.DataFrame) -> None:
    """Largest singular value over its null's edge, layer by layer, for every network."""
    ax = fig.subplots()
    known = summary[summary["null_edge"].notna()]
    for index, (name, rows) in enumerate(known.groupby("network", sort=False)):
        ratio = (rows["s_max"] / rows["null_edge"]).to_numpy()
        position = np.arange(1, len(rows) + 1)
        ax.plot(position, ratio, color=colour(index), linewidth=0.7)
        beyond = (rows["p_value"] < SIGNIFICANT).to_numpy()
        for chosen, face in ((beyond, colour(index)), (~beyond, "white")):
            shape: dict[str, Any] = {"marker": marker(index), "linestyle": "none", "color": colour(index)}
            ax.plot(position[chosen], ratio[chosen], markerfacecolor=face, **shape)
        ax.plot([], [], marker=marker(index), color=colour(index), label=str(name))
    ax.axhline(1.0, color="black", linestyle="--", linewidth=0.8)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("layer, in forward order")
    ax.set_ylabel("largest singular value / edge of the null")
    if len(known):
        ax.legend(title=f"filled: Tracy-Widom p < {SIGNIFICANT}", loc="upper left", bbox_to_anchor=(1.0, 1.0))


def spectrum_training(fig: FigureBase, summary: pd.DataFrame, steps: Mapping[str, int]) -> None:
    """Over training: largest singular value, edge of the null, and outliers of every layer against the epoch.

    Args:
        fig: where to draw.
        summary: rows of `results.SPECTRUM` of several checkpoints of one run.
        steps: epoch of each checkpoint, by its label.
    """
    left, right = fig.subplots(1, 2)
    table = summary.assign(step=[steps[name] for name in summary["network"]]).sort_values("step", kind="stable")
    for index, (layer, rows) in enumerate(table.groupby("layer", sort=False)):
        shade = colour(index)
        left.plot(rows["step"], rows["s_max"], f"{marker(index)}-", color=shade, label=short_layer(str(layer)))
        left.plot(rows["step"], rows["null_edge"], ":", color=shade, linewidth=0.8)
        right.plot(rows["step"], rows["outliers"], f"{marker(index)}-", color=shade)
    left.set_ylabel("largest singular value (dotted: edge of the null)")
    right.set_ylabel("outliers")
    for ax in (left, right):
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    right.yaxis.set_major_locator(MaxNLocator(integer=True))
    fig.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=4)


def spectrum_sweep(fig: FigureBase, table: pd.DataFrame) -> None:
    """HK Fig. 4 (right): the largest singular value of masked noise against gamma m at fixed Omega.

    Args:
        fig: where to draw.
        table: rows of `results.SPECTRUM_SWEEP`.
    """
    ax = fig.subplots()
    wide = table["expansion"] * table["width"]
    first = table.iloc[0]
    spread = np.nan_to_num(table["standard_error"])
    found = f"mean of {first['seeds']} seeds"
    ax.errorbar(wide, table["s_max"], yerr=spread, fmt="o", color=colour(0), capsize=2, label=found, zorder=3)
    ax.plot(wide, table["predicted"], color=colour(1), label="graph edge or heaviest hub (heuristic)")
    ax.plot(wide, table["bulk_edge"], color=colour(2), linestyle="-.", label="graph edge")
    ax.plot(wide, table["first_order_edge"], color=colour(4), linestyle="--", label="first-order edge")
    ax.plot(wide, table["c_gamma"], color="black", linestyle=":", label="c_γ = 1 + √γ")
    ax.set_ylim(float(table["c_gamma"].min()) * 0.95, float(table[["s_max", "predicted"]].max().max()) * 1.05)
    ax.set_xscale("log")
    ax.set_xlabel("γ m")
    ax.set_ylabel("largest singular value")
    ax.set_title(f"Ω = {first['omega']:.4g}, γ = {first['expansion']:.3g}, density: {first['convention']}", fontsize=7)
    ax.legend(loc="upper left")


def width_lines(fig: FigureBase, lines: pd.DataFrame, points: pd.DataFrame) -> None:
    """p(m) at fixed Omega: a line for each Omega, networks as points on the line of their own.

    Args:
        fig: where to draw.
        lines: rows of `results.WIDTH_LINE`.
        points: rows of `results.WIDTH_POINTS`; may be empty.
    """
    ax = fig.subplots()
    for index, (key, table) in enumerate(lines.groupby(["omega", "expansion"], sort=False)):
        connections, gamma = key
        shade = colour(index)
        name = f"Ω = {connections:.4g}, γ = {gamma:.3g}"
        ax.plot(table["width"], table["density"], color=shade, linewidth=0.9, label=name)
        mixer = table[table["mixer"]]
        ax.plot(mixer["width"], mixer["density"], color=shade, linewidth=2.6, alpha=0.35)
        ax.plot(
            mixer["width"].tail(1),
            mixer["density"].tail(1),
            marker="|",
            color=shade,
            markersize=14,
            linestyle="none",
        )
    for index, row in enumerate(points.itertuples()):
        # rings of falling size stay visible where networks share a point
        ax.plot(
            [row.width],
            [row.density],
            marker(index),
            color=colour(index),
            markersize=max(13 - 2 * index, 4),
            markerfacecolor="none",
            markeredgewidth=1.3,
            label=f"{row.network} (m = {row.width}, p = {row.density:.3g})",
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(numticks=12))
        axis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("effective width m")
    ax.set_ylabel("density p")
    ax.grid(which="major", linewidth=0.4, alpha=0.5)
    ax.legend(title="thick: a Mixer exists; bar: the widest one", loc="upper left", bbox_to_anchor=(1.0, 1.0))


def channel_lines(fig: FigureBase, table: pd.DataFrame) -> None:
    """m(C) and p(C) of Mixers at fixed Omega (HK Fig. 3); `table` holds rows of `results.WIDTH_CHANNELS`."""
    left, right = fig.subplots(1, 2)
    for index, (key, rows) in enumerate(table.groupby(["omega", "expansion_token", "expansion_channel"], sort=False)):
        connections, gamma_s, gamma_c = key
        gamma = f"{gamma_s:.3g}" if gamma_s == gamma_c else f"({gamma_s:.3g}, {gamma_c:.3g})"
        name = f"Ω = {connections:.3g}, γ = {gamma}"
        for ax, column in ((left, "width"), (right, "density")):
            ax.plot(rows["channels"], rows[column], color=colour(index), label=name)
    for ax, label in ((left, "effective width m"), (right, "density p")):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("channels C")
        ax.set_ylabel(label)
        ax.grid(which="major", linewidth=0.4, alpha=0.5)
    handles, labels = left.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2)


def p_text(p: float) -> str:
    """A p-value in few characters."""
    if np.isnan(p):
        return "no p-value"
    return "p < 1e-12" if p < 1e-12 else f"p = {p:.2g}"


def short_layer(name: str) -> str:
    """A layer's path without the parts that every layer has."""
    return name.removeprefix("blocks.").replace(".mlp.", ".")


def _labels(cells: pd.DataFrame, side: str) -> list[str]:
    rows = cells.drop_duplicates(f"index_{side}").sort_values(f"index_{side}")
    return [str(name) for name in rows[f"layer_{side}"]]


def _thinned(labels: Sequence[str], most: int = 24) -> list[str]:
    step = -(-len(labels) // most)
    return [label if index % step == 0 else "" for index, label in enumerate(labels)]
