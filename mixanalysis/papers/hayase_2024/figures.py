"""Drawings of the paper's figures: each draws tables of the experiments, from which its labels come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FormatStrFormatter, LogLocator, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from mixanalysis.report.style import colour, marker, sized
from mixanalysis.results import INTERVAL, SEED_INTERVAL

DODGE = 2.5
"""Points between two series at the same place."""

Marks = Mapping[str, Sequence[tuple[float, str]]]
"""For each panel, vertical lines: where, and their label."""


def _panels(fig: FigureBase, points: pd.DataFrame) -> list[tuple[Axes, str, pd.DataFrame]]:
    names = list(dict.fromkeys(points["panel"]))
    grid = np.atleast_1d(fig.subplots(1, len(names), squeeze=False)).ravel()
    return [(ax, str(name), points[points["panel"] == name]) for ax, name in zip(grid, names, strict=True)]


def _lines(fig: FigureBase, ax: Axes, points: pd.DataFrame, order: Sequence[str]) -> None:
    for name, rows in points.groupby("series", sort=False):
        index = order.index(str(name))
        spread = np.nan_to_num([rows["mean"] - rows["low"], rows["high"] - rows["mean"]])
        drawn = ax.errorbar(
            rows["x"],
            rows["mean"],
            yerr=spread,
            fmt=f"{marker(index)}-" if len(rows) > 1 else marker(index),
            color=colour(index),
            capsize=sized(2),
            elinewidth=sized(0.8),
            label=str(name),
        )
        # intervals at one place stand side by side; limits and data are those of the table
        aside = sized(DODGE) * (index - (len(order) - 1) / 2) / 72
        offset = ScaledTranslation(aside, 0, cast("Figure", fig).dpi_scale_trans)
        for artist in drawn.get_children():
            artist.set_transform(artist.get_transform() + offset)


def _legend(fig: FigureBase, axes: Sequence[Axes], columns: int = 3) -> None:
    found: dict[str, Artist] = {}
    for ax in axes:
        named = zip(*ax.get_legend_handles_labels(), strict=True)
        # series come before vertical lines
        for handle, label in sorted(named, key=lambda pair: isinstance(pair[0], Line2D)):
            found.setdefault(label, handle)
    fig.legend(list(found.values()), list(found), loc="outside upper center", ncols=columns)


def curves(fig: FigureBase, points: pd.DataFrame, x_scale: str = "linear", marks: Marks | None = None) -> None:
    """Means with their intervals against x, a line for each series and an axes for each panel.

    Args:
        fig: where to draw.
        points: rows of `schemas.PAPER_POINTS`.
        x_scale: "linear", "log", or "log2" for powers of two.
        marks: vertical lines.
    """
    order = list(dict.fromkeys(points["series"]))
    axes = []
    for ax, name, rows in _panels(fig, points):
        _lines(fig, ax, rows, order)
        _finish(ax, rows, name, x_scale)
        for where, label in (marks or {}).get(name, ()):
            ax.axvline(where, color="black", linestyle=":", linewidth=sized(0.9), label=label)
        axes.append(ax)
    axes[0].set_ylabel(f"{points.iloc[0]['y_name']}\n({SEED_INTERVAL})")
    _legend(fig, axes)


def _finish(ax: Axes, rows: pd.DataFrame, title: str, x_scale: str) -> None:
    if x_scale != "linear":
        ax.set_xscale("log", base=2 if x_scale == "log2" else 10)
    ticks = sorted(set(rows["x"]))
    if x_scale == "log" and len(ticks) <= 8:
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticklabels([f"{tick:.4g}" for tick in ticks], rotation=45)
        ax.xaxis.set_minor_formatter(NullFormatter())
    if x_scale == "log2":
        narrow = ticks[-1] < 8 * ticks[0]
        ax.xaxis.set_major_locator(LogLocator(base=2, subs=(1.0, 1.5) if narrow else (1.0,), numticks=12))
        ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(str(rows.iloc[0]["x_name"]))
    ax.set_title(title)
    ax.grid(axis="y", alpha=0.5)


def similarity(fig: FigureBase, table: pd.DataFrame, points: pd.DataFrame, marks: Marks) -> None:
    """HK Fig. 2a: mean of the diagonal of the CKA with the Mixer against 1/p.

    Thick: means over seeds with their intervals; pale: each seed with its interval over images.

    Args:
        fig: where to draw.
        table: rows of `schemas.PAPER_SIMILARITY`.
        points: their means over seeds.
        marks: vertical lines.
    """
    order = list(dict.fromkeys(points["series"]))
    axes = []
    for ax, name, rows in _panels(fig, points):
        own = table[table["panel"] == name]
        for series, seeds in own.groupby("series", sort=False):
            index = order.index(str(series))
            spread = np.nan_to_num([seeds["mean"] - seeds["low"], seeds["high"] - seeds["mean"]])
            # beside the mean over seeds, which stands at x itself
            shift = 2 ** (0.12 * (seeds["seed"] - seeds["seed"].mean()) / max(seeds["seed"].nunique() - 1, 1) + 0.16)
            ax.errorbar(
                seeds["x"] * shift,
                seeds["mean"],
                yerr=spread,
                fmt=marker(index),
                color=colour(index),
                markersize=sized(2),
                elinewidth=sized(0.6),
                alpha=0.45,
            )
        _lines(fig, ax, rows, order)
        _finish(ax, rows, name, "log2")
        for where, label in marks.get(name, ()):
            ax.axvline(where, color="black", linestyle=":", linewidth=sized(0.9), label=label)
        ax.set_ylim(min(0.0, float(np.nanmin(own["low"]))), 1.0)
        axes.append(ax)
    label = f"{points.iloc[0]['y_name']}\nthick: {SEED_INTERVAL}\npale: {INTERVAL}"
    axes[0].set_ylabel(label, fontsize=sized(7))
    _legend(fig, axes, columns=2)


def trials(fig: FigureBase, table: pd.DataFrame, points: pd.DataFrame) -> None:
    """Each run as a dot beside the mean of its series with its interval, a place for each series.

    Args:
        fig: where to draw.
        table: rows of `schemas.PAPER_RUNS`.
        points: their means over seeds.
    """
    axes = []
    for ax, name, rows in _panels(fig, points):
        own = table[table["panel"] == name]
        for index, row in enumerate(rows.itertuples()):
            dots = own[own["series"] == row.series]["test_error"].dropna()
            places = index + 0.15 + 0.2 * np.arange(len(dots)) / max(len(dots) - 1, 1)
            ax.plot(places, dots, marker(index), color=colour(index), markersize=sized(3), alpha=0.5)
            spread = np.nan_to_num([[row.mean - row.low], [row.high - row.mean]])
            ax.errorbar([index], [row.mean], yerr=spread, fmt=marker(index), color=colour(index), capsize=sized(3))
        ax.set_xticks(range(len(rows)), list(rows["series"]))
        if len(rows) > 2:
            ax.tick_params(axis="x", rotation=30)
            for label in ax.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        ax.set_xlim(-0.5, len(rows) - 0.3)
        ax.set_title(name)
        ax.grid(axis="y", alpha=0.5)
        axes.append(ax)
    axes[0].set_ylabel(f"{points.iloc[0]['y_name']}\n({SEED_INTERVAL}; pale: each run)")


def width_against_channels(fig: FigureBase, channels: pd.DataFrame, lines: pd.DataFrame, optima: pd.DataFrame) -> None:
    """HK Fig. 3: m(C), p(C) and p(m) at fixed Omega; a dot where a Mixer is widest.

    Args:
        fig: where to draw.
        channels: rows of `WIDTH_CHANNELS`, with the number of their line.
        lines: rows of `WIDTH_LINE`, with the number of the line.
        optima: rows of `WIDTH_OPTIMA`, one for each line.
    """
    panels = fig.subplots(1, 3)
    places = (("channels", "width"), ("channels", "density"), ("width", "density"))
    names = {"channels": "channels C", "width": "effective width m", "density": "density p"}
    each = zip(optima.itertuples(), _each(channels), _each(lines), strict=True)
    for index, (best, rows, sparse) in enumerate(each):
        gammas = best.expansion_token, best.expansion_channel
        gamma = f"{gammas[0]:.3g}" if gammas[0] == gammas[1] else f"({gammas[0]:.3g}, {gammas[1]:.3g})"
        label = f"Ω = {best.omega:,.6g}, γ = {gamma}"
        for ax, (x, y) in zip(panels, places, strict=True):
            ax.plot(rows[x], rows[y], color=colour(index), label=label)
            ax.plot([getattr(best, x)], [getattr(best, y)], marker(index), color=colour(index), markersize=sized(4))
        panels[2].plot(sparse["width"], sparse["density"], color=colour(index), linestyle=":", linewidth=sized(0.9))
    for ax, (x, y) in zip(panels, places, strict=True):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel(names[x] + ("\n(dotted: SW-MLP)" if ax is panels[2] else ""))
        ax.set_ylabel(names[y])
        ax.grid(which="major", alpha=0.5)
    _legend(fig, [panels[0]])


def _each(lines: pd.DataFrame) -> list[pd.DataFrame]:
    return [rows for _, rows in lines.groupby("line", sort=False)]


COSTS = {
    "parameters": "trainable weights",
    "stored_bytes": "memory, stored",
    "step_bytes": "memory of a step",
    "flops": "operations",
    "step_seconds": "time of a step",
}


def costs(fig: FigureBase, table: pd.DataFrame) -> None:
    """HK Table S.3: every cost over the Mixer's, a group of bars for each.

    Args:
        fig: where to draw.
        table: rows of `schemas.PAPER_COSTS`, one of them the family mixer.
    """
    ax = fig.subplots()
    mixer = table[table["family"] == "mixer"].iloc[0]
    for index, row in enumerate(table.itertuples()):
        ratios = [getattr(row, name) / mixer[name] for name in COSTS]
        places = np.arange(len(COSTS)) + (index - (len(table) - 1) / 2) * 0.25
        ax.bar(places, ratios, width=0.23, color=colour(index), label=row.family)
        for place, ratio in zip(places, ratios, strict=True):
            above: dict[str, Any] = {"xytext": (0, sized(1)), "textcoords": "offset points", "ha": "center"}
            ax.annotate(f"{ratio:.3g}", (place, ratio), fontsize=sized(6), **above)
    ax.set_yscale("log")
    ax.set_xticks(range(len(COSTS)), list(COSTS.values()))
    ax.axhline(1.0, color="black", linewidth=sized(0.7))
    ax.set_ylabel("over the Mixer's")
    ax.set_title(f"m = {mixer['width']}, batches of {mixer['batch_size']} images, {mixer['device']}")
    _legend(fig, [ax])
