"""The figures of CKA: each draws one table onto a figure, and its labels come from the table."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import StrMethodFormatter

from mixanalysis.report.names import shortened
from mixanalysis.report.style import axes_of, beside, colour, marker, sized
from mixanalysis.results import INTERVAL

Scale = Literal["unit", "auto"]
"""Colours of heat maps: from 0 to 1, or over the values that there are."""

READABLE_CELLS = 14
"""Heat maps with at most this many rows and columns show their values."""

TITLE = 58
"""Characters of a line of a heat map's title."""

LABEL = 26
"""Characters of a network's label in a legend or at an axis."""

TICK = 36
"""Characters of a layer's name at an axis."""

SIDE = 20
"""Characters of a network's label beside a heat map."""

UPRIGHT = 36
"""Characters of all labels of a profile's axis up to which they don't overlap."""

KINDS = {"untrained": 1, "floor": 1, "other seed": 2, "ceiling": 2}
"""Relations of a pair that have a colour of their own, by its number."""

MEANINGS = {1: "untrained: floor", 2: "other seed: ceiling"}


def cka_heatmap(place: FigureBase | Axes, cells: pd.DataFrame, scale: Scale = "unit") -> None:
    """Layers by layers of one pair of networks.

    Args:
        place: the figure, or the axes, to draw on.
        cells: the pair's rows of `CKA_CELLS`.
        scale: colours from 0 to 1 ("unit"), or over the values that there are ("auto").
    """
    ax = axes_of(place)
    values = cells.pivot_table("value", "index_a", "index_b", dropna=False)
    readable = max(values.shape) <= READABLE_CELLS
    below = scale == "unit" and bool((values < 0).any(axis=None))
    with _unseen(ax):
        sns.heatmap(
            values,
            ax=ax,
            vmin=0.0 if scale == "unit" else None,
            vmax=1.0 if scale == "unit" else None,
            cmap="viridis",
            square=max(values.shape) <= 2 * min(values.shape),
            annot=readable,
            fmt=".2f",
            annot_kws={"size": sized(6 if max(values.shape) <= READABLE_CELLS / 2 else 5)},
            xticklabels=False,
            yticklabels=False,
            rasterized=not readable,
            cbar_kws={"label": "CKA", "shrink": 0.8, "extend": "min" if below else "neither"},
        )
    ax.invert_yaxis()
    ax.set_xticks(np.arange(values.shape[1]) + 0.5, _thinned(_labels(cells, "b")), rotation=90)
    ax.set_yticks(np.arange(values.shape[0]) + 0.5, _thinned(_labels(cells, "a")))
    ax.tick_params(length=0)
    first = cells.iloc[0]
    ax.set_xlabel(f"{_part(cells)} of {_short(first['network_b'])}")
    upright = _short(first["network_a"], SIDE)
    ax.set_ylabel(f"{_part(cells)} of{' ' if len(upright) < SIDE / 2 else chr(10)}{upright}")
    title = [f"{first['network_a']} against {first['network_b']}", str(first["features"]), independent_text(cells)]
    lines = [line for text in title if text for line in textwrap.wrap(text, TITLE)]
    if isinstance(place, Axes):
        ax.set_title("\n".join(lines), fontsize=sized(7))
    else:
        place.suptitle("\n".join(lines), fontsize=sized(7))


@contextmanager
def _unseen(ax: Axes) -> Iterator[None]:
    """Within it nothing is drawn: to see whether labels overlap, seaborn draws all of a figure for each heat map."""
    figure = ax.get_figure(root=True)
    if figure is None:
        yield
        return
    seen = figure.get_visible()
    figure.set_visible(False)
    try:
        yield
    finally:
        figure.set_visible(seen)


def independent_text(cells: pd.DataFrame) -> str:
    """The value of a biased estimator for independent features of these sizes; nothing for an unbiased one."""
    known = pd.to_numeric(cells["independent"]).dropna()
    known = known[known > 0]
    if known.empty:
        return ""
    low, high = f"{known.min():.2f}", f"{known.max():.2f}"
    return f"independent Gaussian features would give {low if low == high else f'{low} to {high}'}"


def cka_heatmaps(fig: FigureBase, pairs: Sequence[pd.DataFrame], scale: Scale = "unit") -> None:
    """Heat maps of several pairs, two in a row."""
    if len(pairs) == 1:
        # in the middle
        parts = np.asarray(fig.subfigures(1, 3, width_ratios=(1, 2, 1)), dtype=object)[1:2]
    else:
        parts = np.ravel(np.asarray(fig.subfigures(-(-len(pairs) // 2), 2), dtype=object))
    for part, cells in zip(parts, pairs, strict=False):
        cka_heatmap(part, cells, scale)


def cka_means(place: FigureBase | Axes, diagonal: pd.DataFrame) -> None:
    """Mean of the diagonal of every pair that has one, with its interval, largest on top."""
    ax = axes_of(place)
    known = by_mean(diagonal)[::-1]
    for height, row in enumerate(known.itertuples()):
        kind = KINDS.get(row.relation, 0)
        bounds = np.nan_to_num([row.mean - row.low, row.high - row.mean])
        style: dict[str, Any] = {"fmt": marker(kind), "color": colour(kind), "elinewidth": sized(1)}
        ax.errorbar(row.mean, height, xerr=bounds[:, None], capsize=sized(2), **style)
    for kind, meaning in MEANINGS.items():
        if (known["relation"].map(KINDS) == kind).any():
            ax.plot([], [], marker(kind), color=colour(kind), label=meaning)
    if ax.get_legend_handles_labels()[0]:
        if isinstance(place, Axes):
            ax.legend()
        else:
            place.legend(loc="outside upper right", ncols=2)
    names = [
        f"{_short(row.network_a)} – {_short(row.network_b)}" + (f" ({row.relation})" if row.relation else "")
        for row in known.itertuples()
    ]
    ax.set_yticks(range(len(known)), names)
    ax.set_ylim(-0.6, len(known) - 0.4)
    lowest = float(np.nan_to_num(known["low"].fillna(known["mean"]).min()))
    ax.set_xlim(min(0.0, lowest), 1.0)
    ax.grid(axis="x", alpha=0.5)
    ax.set_xlabel(f"mean CKA of blocks at the same position\n({INTERVAL})")


def by_mean(diagonal: pd.DataFrame) -> pd.DataFrame:
    """The pairs that have a mean, largest first; `diagonal` holds rows of `CKA_DIAGONAL`."""
    return diagonal[diagonal["mean"].notna()].sort_values("mean", ascending=False, kind="stable")


def cka_profile(place: FigureBase | Axes, cells: pd.DataFrame, diagonal: pd.DataFrame, reference: str) -> None:
    """CKA of each block of the reference network with the block at the same position of every other network.

    Args:
        place: the figure, or the axes, to draw on.
        cells: rows of `CKA_CELLS`.
        diagonal: rows of `CKA_DIAGONAL`; pairs that are a floor or a ceiling are drawn as bands.
        reference: the network.
    """
    ax = axes_of(place)
    kinds = {row.network_b: KINDS.get(row.relation, 0) for row in diagonal.itertuples() if row.network_a == reference}
    pairs = cells[(cells["network_a"] == reference) & (cells["index_a"] == cells["index_b"])].sort_values("index_a")
    compared = [name for name in pairs["network_b"].unique() if not kinds.get(name)]
    for name, rows in pairs.groupby("network_b", sort=False):
        low, high = (rows[bound].fillna(rows["value"]) for bound in ("low", "high"))
        if kind := kinds.get(name, 0):
            ax.fill_between(rows["index_a"], low, high, color=colour(kind), alpha=0.25, linewidth=0)
            label = _control(str(name), kind)
            ax.plot(rows["index_a"], rows["value"], color=colour(kind), linewidth=sized(0.8), label=label)
            continue
        index = compared.index(name)
        ax.errorbar(
            rows["index_a"] + (index - (len(compared) - 1) / 2) * 0.06,
            rows["value"],
            yerr=np.asarray([rows["value"] - low, high - rows["value"]]),
            fmt=f"{marker(index)}-",
            color=_shade(index),
            capsize=sized(1.5),
            elinewidth=sized(0.8),
            label=_short(str(name)),
        )
        if (pd.to_numeric(rows["independent"]) > 0).any():
            ax.plot(rows["index_a"], rows["independent"], ":", color=_shade(index), linewidth=sized(0.8))
    if any(pd.to_numeric(pairs["independent"]) > 0):
        ax.plot([], [], ":", color="black", linewidth=sized(0.8), label="independent Gaussian")
    ticks = pairs.drop_duplicates("index_a")
    names = _thinned(_labels(ticks, "a"))
    ax.set_xticks(ticks["index_a"], names, rotation=90 if sum(map(len, names)) > UPRIGHT else 0)
    ax.set_ylim(min(0.0, float(np.nan_to_num(pairs["low"].min()))), 1.03)
    ax.set_xlabel(f"{_part(cells)} of {_short(reference)}")
    ax.set_ylabel("CKA at the same position")
    ax.grid(axis="y", alpha=0.5)
    beside(ax, f"{_short(reference)} against")


def cka_density(place: FigureBase | Axes, diagonal: pd.DataFrame, reference: str, sparse: Sequence[str]) -> None:
    """HK Fig. 2a: mean of the diagonal of the reference with sparse networks, against 1/p of these.

    Args:
        place: the figure, or the axes, to draw on.
        diagonal: rows of `CKA_DIAGONAL`; floors and ceilings of the reference are horizontal bands.
        reference: the network that all are compared with.
        sparse: labels of the networks that are drawn as points.
    """
    ax = axes_of(place)
    pairs = diagonal[(diagonal["network_a"] == reference) & diagonal["mean"].notna()]
    for row in pairs[pairs["relation"].isin(KINDS)].itertuples():
        kind = KINDS[row.relation]
        ax.axhspan(*np.nan_to_num([row.low, row.high], nan=row.mean), color=colour(kind), alpha=0.25, linewidth=0)
        ax.axhline(row.mean, color=colour(kind), linewidth=sized(0.8), label=_control(str(row.network_b), kind))
    points = pairs[pairs["network_b"].isin(sparse)].sort_values("density_b", ascending=False)
    centres = points.groupby("density_b")["mean"].mean()
    ax.plot(1 / centres.index, centres, color=colour(0), linewidth=sized(0.8))
    spread = np.nan_to_num([points["mean"] - points["low"], points["high"] - points["mean"]])
    name = f"{_short(reference)} and a sparse MLP"
    style: dict[str, Any] = {"fmt": "o", "color": colour(0), "capsize": sized(2), "elinewidth": sized(1), "label": name}
    ax.errorbar(1 / points["density_b"], points["mean"], yerr=spread, **style)
    own = float(pairs["density_a"].iloc[0])
    if np.isfinite(own):
        ax.axvline(1 / own, color="black", linestyle=":", linewidth=sized(0.8), label=f"1/p of {_short(reference)}")
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.set_ylim(min(0.0, float(np.nan_to_num(pairs["low"].min()))), 1.03)
    ax.set_xlabel("1/p of the sparse MLP")
    ax.set_ylabel("mean CKA of blocks\nat the same position")
    ax.grid(axis="y", alpha=0.5)
    beside(ax)


def _shade(index: int) -> str:
    """Colour of the index-th network that is compared; those of floors and ceilings are left out."""
    return colour(index if index == 0 else index + len(MEANINGS))


def _control(label: str, kind: int) -> str:
    return f"{_short(label)} ({MEANINGS[kind].split(': ')[1]})"


def _short(label: str, most: int = LABEL) -> str:
    """A label without its middle where it is long."""
    return shortened(label, most)


def _part(cells: pd.DataFrame) -> str:
    return "module" if "module outputs" in str(cells.iloc[0]["features"]) else "block"


def _labels(cells: pd.DataFrame, side: str) -> list[str]:
    """Layers in order, each with what it mixes unless its name says so."""
    rows = cells.drop_duplicates(f"index_{side}").sort_values(f"index_{side}")
    names = (shortened(name, TICK) for name in rows[f"layer_{side}"].astype(str))
    named = zip(names, rows[f"role_{side}"].fillna("").astype(str), strict=True)
    return [name if not role or role in name else f"{name} ({role})" for name, role in named]


def _thinned(labels: Sequence[str], most: int = 24) -> list[str]:
    step = -(-len(labels) // most)
    return [label if index % step == 0 else "" for index, label in enumerate(labels)]
