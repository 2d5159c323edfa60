"""The figures of CKA: each draws one table onto a figure, and its labels come from the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import FigureBase

from mixanalysis.report.style import colour, marker
from mixanalysis.results import INTERVAL

Scale = Literal["unit", "auto"]
"""Colours of heat maps: from 0 to 1, or over the values that there are."""

READABLE_CELLS = 14
"""Heat maps with at most this many rows and columns show their values."""

KINDS = ("", "untrained", "other seed")
"""Relations of a pair that have a colour of their own."""


def cka_heatmap(fig: FigureBase, cells: pd.DataFrame, scale: Scale = "unit") -> None:
    """Layers by layers of one pair of networks.

    Args:
        fig: where to draw.
        cells: the pair's rows of `results.CKA_CELLS`.
        scale: colours from 0 to 1 ("unit"), or over the values that there are ("auto").
    """
    ax = fig.subplots()
    values = cells.pivot_table("value", "index_a", "index_b", dropna=False)
    readable = max(values.shape) <= READABLE_CELLS
    sns.heatmap(
        values,
        ax=ax,
        vmin=0.0 if scale == "unit" else None,
        vmax=1.0 if scale == "unit" else None,
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


def cka_heatmaps(fig: FigureBase, pairs: Sequence[pd.DataFrame], scale: Scale = "unit") -> None:
    """Heat maps of several pairs, two in a row."""
    rows = -(-len(pairs) // 2)
    parts = np.ravel(np.asarray(fig.subfigures(rows, 2), dtype=object))
    for part, cells in zip(parts, pairs, strict=False):
        cka_heatmap(part, cells, scale)


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


def _labels(cells: pd.DataFrame, side: str) -> list[str]:
    rows = cells.drop_duplicates(f"index_{side}").sort_values(f"index_{side}")
    return [str(name) for name in rows[f"layer_{side}"]]


def _thinned(labels: Sequence[str], most: int = 24) -> list[str]:
    step = -(-len(labels) // most)
    return [label if index % step == 0 else "" for index, label in enumerate(labels)]
