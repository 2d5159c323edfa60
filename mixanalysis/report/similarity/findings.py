"""The finding of CKA: the most and the least similar networks, in words and numbers."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd

from mixanalysis.report.section import Finding
from mixanalysis.report.similarity.figures import by_mean
from mixanalysis.results import INTERVAL, plain
from mixanalysis.selection import listed

FLOORS = {"untrained": "the untrained network", "floor": "the floor"}
"""Relations of a pair that say how similar networks are without training."""

CEILINGS = {"other seed": "another seed of it", "ceiling": "the ceiling"}
"""Relations that say how similar networks can be."""

NAMED = 8
"""Networks that a sentence lists at most."""


def compared(diagonal: pd.DataFrame) -> pd.DataFrame:
    """The reference network's pairs that have a mean, most similar first; `diagonal` holds `CKA_DIAGONAL`."""
    return by_mean(diagonal[diagonal["network_a"] == diagonal.iloc[0]["network_a"]])


def finding(diagonal: pd.DataFrame, cells: pd.DataFrame | None = None) -> Finding:
    """Which network is most and which least similar to the reference, against floor and ceiling.

    Args:
        diagonal: rows of `CKA_DIAGONAL`; the first row's `network_a` is the reference.
        cells: rows of `CKA_CELLS`, for networks whose depths differ.

    Returns:
        The two networks and their means; without numbers where there is nothing to compare.
    """
    reference = str(diagonal.iloc[0]["network_a"])
    if (diagonal["relation"] == "itself").all():
        return Finding(f"{reference} is alone: there is no other network to compare it with")
    rows = compared(diagonal)
    if rows.empty:
        return _without_diagonal(diagonal[diagonal["network_a"] == reference], reference, cells)
    controls = rows["relation"].isin([*FLOORS, *CEILINGS])
    others = rows if controls.all() else rows[~controls]
    most, least = others.iloc[0], others.iloc[-1]
    sentences = [f"Mean CKA of blocks at the same position: {listed([_valued(row) for row in _ends(others)])}."]
    if len(others) == 1:
        title = f"{most['network_b']} has a mean CKA of {most['mean']:.3f} with {reference}"
    elif unsure := _undecided(others):
        title = f"{most['network_b']} has the highest mean CKA with {reference}, {least['network_b']} the lowest"
        sentences += unsure
    else:
        title = f"{most['network_b']} is most similar to {reference}, {least['network_b']} least"
    sentences += _against_controls(others, rows[controls])
    sentences.append(
        f"Intervals: {INTERVAL}; they cover the choice of {most['n']} images of {most['data']}, not that of the seed."
    )
    names = ("network_b", "mean", "low", "high")
    numbers = {
        "reference": reference,
        "most": {name: plain(most[name]) for name in names},
        "least": {name: plain(least[name]) for name in names},
    }
    return Finding(title, tuple(sentences), numbers)


def _undecided(rows: pd.DataFrame) -> list[str]:
    """Sentences on ranks that overlapping intervals leave open, of rows that are most similar first."""
    sentences = []
    for (above, below), which in (((0, 1), "more"), ((-2, -1), "less"))[: len(rows) - 1]:
        first, second = rows.iloc[above], rows.iloc[below]
        if first["low"] > second["high"]:
            continue
        reason = "There are no intervals" if math.isnan(first["low"] + second["high"]) else "The intervals overlap"
        names = f"{first['network_b']} or {second['network_b']}"
        sentences.append(f"{reason}: whether {names} is the {which} similar is open.")
    return sentences


def _without_diagonal(diagonal: pd.DataFrame, reference: str, cells: pd.DataFrame | None) -> Finding:
    """The most similar blocks, where no network has a mean."""
    told = [f"{row.network_b}: {row.status}." for row in diagonal.head(NAMED).itertuples()]
    known = None if cells is None else cells[(cells["network_a"] == reference) & cells["value"].notna()]
    if known is None or known.empty:
        return Finding(f"No network has a mean similarity to {reference}", tuple(told), {})
    most = known.loc[known["value"].idxmax()]
    title = f"The most similar blocks are {most['layer_a']} of {reference} and {most['layer_b']} of {most['network_b']}"
    value = f"{most['value']:.3f}{_between(most['low'], most['high'])}"
    told.insert(0, f"Their CKA is {value}; there is no mean over blocks at the same position.")
    names = ("network_b", "layer_a", "layer_b", "value", "low", "high")
    return Finding(title, tuple(told), {"reference": reference} | {name: plain(most[name]) for name in names})


def _against_controls(others: pd.DataFrame, controls: pd.DataFrame) -> list[str]:
    """Sentences that compare the most and the least similar network with ceilings and floors."""
    if controls.empty:
        return ["Neither an untrained network (floor) nor another seed (ceiling) is among the networks."]
    sentences = []
    for names, row, level in ((CEILINGS, others.iloc[0], "ceiling"), (FLOORS, others.iloc[-1], "floor")):
        for control in controls[controls["relation"].isin([*names])].itertuples():
            what = f"{level} ({control.network_b}, {names[control.relation]})"
            value = f"{control.mean:.3f}{_between(control.low, control.high)}"
            if control.network_b == row["network_b"]:
                sentences.append(f"{control.network_b} itself is the {level}.")
            else:
                sentences.append(f"{row['network_b']} {_relative(row, control)} the {what} of {value}.")
        if not controls["relation"].isin([*names]).any():
            sentences.append(f"There is no {level}: none of the networks is {' or '.join(names.values())}.")
    return sentences


def _relative(row: pd.Series, control: Any) -> str:
    bounds = (row["low"], row["high"], control.low, control.high)
    if any(map(math.isnan, bounds)):
        return "can't be told, without intervals, from"
    if row["low"] > control.high:
        return "lies above"
    return "lies below" if row["high"] < control.low else "has an interval that overlaps that of"


def ranking(reference: str, rows: pd.DataFrame) -> str:
    """In words, which networks are closest to the reference, and which of them the intervals tell apart.

    Args:
        reference: label of the network that the others are compared with.
        rows: its rows of `CKA_DIAGONAL`, most similar first.

    Returns:
        A sentence.
    """
    text = str(rows.iloc[0]["network_b"])
    for above, below in itertools.pairwise(rows.itertuples()):
        text += f" {'>' if above.low > below.high else '≈'} {below.network_b}"
    return f"In order of similarity to {reference}: {text} (≈ where the intervals of neighbours overlap)."


def _ends(rows: pd.DataFrame) -> list[pd.Series]:
    """All rows, or of many the first and the last."""
    chosen = range(len(rows)) if len(rows) <= NAMED else (0, 1, len(rows) - 1)
    return [rows.iloc[index] for index in chosen]


def _valued(row: pd.Series) -> str:
    return f"{row['network_b']} {row['mean']:.3f}{_between(row['low'], row['high'])}"


def _between(low: float, high: float) -> str:
    return "" if np.isnan([low, high]).any() else f" ({low:.3f} to {high:.3f})"
