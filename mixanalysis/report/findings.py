"""What stands out in the tables, in words and numbers: similarity, spectra, width."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mixanalysis.report.figures import SIGNIFICANT, beyond_edge, p_text, short_layer
from mixanalysis.report.similarity.figures import by_mean
from mixanalysis.results import INTERVAL, plain

FLOORS = {"untrained": "the untrained network", "floor": "the floor"}
"""Relations of a pair that say how similar networks are without training."""

CEILINGS = {"other seed": "another seed of it", "ceiling": "the ceiling"}
"""Relations that say how similar networks can be."""

WIDER = 1.005
"""A network is called wider than the widest Mixer from this ratio on, and as wide from its inverse on; whole tokens and
channels round below it."""

NAMED = 8
"""Networks that a sentence lists at most."""


@dataclass(frozen=True)
class Finding:
    """One thing that stands out.

    Attributes:
        topic: "similarity", "spectra" or "width".
        title: it in a line.
        sentences: the numbers behind it, and what they don't tell.
        numbers: the same numbers, JSON-ready names and values; empty where there is nothing to tell.
    """

    topic: str
    title: str
    sentences: tuple[str, ...]
    numbers: Mapping[str, Any]


def findings(
    diagonal: pd.DataFrame, spectra: pd.DataFrame, points: pd.DataFrame, cells: pd.DataFrame | None = None
) -> tuple[Finding, ...]:
    """One finding a topic, also where it is that there is nothing to find.

    Args:
        diagonal: rows of `CKA_DIAGONAL`; the first row's `network_a` is the reference.
        spectra: rows of `SPECTRUM`.
        points: rows of `WIDTH_POINTS`.
        cells: rows of `CKA_CELLS`, for networks whose depths differ.
    """
    return similarity_finding(diagonal, cells), spectra_finding(spectra), width_finding(points)


def compared(diagonal: pd.DataFrame) -> pd.DataFrame:
    """The reference network's pairs that have a mean, most similar first; `diagonal` holds `CKA_DIAGONAL`."""
    return by_mean(diagonal[diagonal["network_a"] == diagonal.iloc[0]["network_a"]])


def similarity_finding(diagonal: pd.DataFrame, cells: pd.DataFrame | None = None) -> Finding:
    """Which network is most and which least similar to the reference, against floor and ceiling.

    Args:
        diagonal: rows of `CKA_DIAGONAL`; the first row's `network_a` is the reference.
        cells: rows of `CKA_CELLS`, for networks whose depths differ.
    """
    reference = str(diagonal.iloc[0]["network_a"])
    if (diagonal["relation"] == "itself").all():
        return Finding("similarity", f"{reference} is alone: there is no other network to compare it with", (), {})
    rows = compared(diagonal)
    if rows.empty:
        return _without_diagonal(diagonal[diagonal["network_a"] == reference], reference, cells)
    controls = rows["relation"].isin([*FLOORS, *CEILINGS])
    others = rows if controls.all() else rows[~controls]
    most, least = others.iloc[0], others.iloc[-1]
    sentences = [f"Mean CKA of blocks at the same position: {_listed([_valued(row) for row in _ends(others)])}."]
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
    return Finding("similarity", title, tuple(sentences), numbers)


def _undecided(rows: pd.DataFrame) -> list[str]:
    """What the intervals leave open of the first and the last of the rows, most similar first."""
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
        return Finding("similarity", f"No network has a mean similarity to {reference}", tuple(told), {})
    most = known.loc[known["value"].idxmax()]
    title = f"The most similar blocks are {most['layer_a']} of {reference} and {most['layer_b']} of {most['network_b']}"
    value = f"{most['value']:.3f}{_between(most['low'], most['high'])}"
    told.insert(0, f"Their CKA is {value}; there is no mean over blocks at the same position.")
    names = ("network_b", "layer_a", "layer_b", "value", "low", "high")
    return Finding(
        "similarity", title, tuple(told), {"reference": reference} | {name: plain(most[name]) for name in names}
    )


def _against_controls(others: pd.DataFrame, controls: pd.DataFrame) -> list[str]:
    """What the floors and ceilings among the reference's pairs say about the most and the least similar."""
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
    """
    text = str(rows.iloc[0]["network_b"])
    for above, below in itertools.pairwise(rows.itertuples()):
        text += f" {'>' if above.low > below.high else '≈'} {below.network_b}"
    return f"In order of similarity to {reference}: {text} (≈ where the intervals of neighbours overlap)."


def spectrum_table(spectra: pd.DataFrame) -> pd.DataFrame:
    """A row per network: `network`, `layers`, `known` (with a p-value), `beyond`, and of the furthest layer `ratio`,
    `layer`, `p_value`.

    The furthest is that of the largest s_max / null_edge among those beyond, or among all where there is none.
    `ratio` is NaN, and `layer` empty, where no layer has a null.
    """  # noqa: D205
    rows = []
    for name, layers in spectra.groupby("network", sort=False):
        edge = layers["null_edge"].astype(float)
        ratio = layers["s_max"] / edge.where(edge > 0)
        significant = beyond_edge(layers)
        chosen = ratio[significant] if ratio[significant].notna().any() else ratio
        known = bool(chosen.notna().any())
        rows.append(
            {
                "network": str(name),
                "layers": len(layers),
                "known": int(layers["p_value"].notna().sum()),
                "beyond": int(significant.sum()),
                "ratio": float(chosen.max()) if known else math.nan,
                "layer": str(layers.loc[chosen.idxmax(), "layer"]) if known else "",
                "p_value": float(layers.loc[chosen.idxmax(), "p_value"]) if known else math.nan,
            }
        )
    return pd.DataFrame(rows)


def spectra_finding(spectra: pd.DataFrame) -> Finding:
    """How many layers reach beyond the edge of noise, and which furthest; `spectra` holds `SPECTRUM`."""
    table = spectrum_table(spectra)
    layers, beyond = int(table["layers"].sum()), int(table["beyond"].sum())
    if table["ratio"].isna().all():
        return Finding("spectra", f"None of the {layers} layers has a null to be compared with", (), {})
    candidates = table[table["beyond"] > 0] if beyond else table
    furthest = table.loc[candidates["ratio"].idxmax()]
    layer = f"{short_layer(furthest['layer'])} of {furthest['network']}"
    if beyond:
        verb = "reaches" if beyond == 1 else "reach"
        title = f"{beyond} of {layers} layers {verb} beyond the edge of noise, {layer} furthest"
    else:
        title = f"No layer of {layers} is shown to reach beyond the edge of noise"
    sentences = [
        f"The largest singular value of {layer} is {furthest['ratio']:.3g} times the edge that noise of the same "
        f"structure and variance would have ({p_text(furthest['p_value'])})."
    ]
    if len(table) > 1:
        counts = [f"{row.network} {row.beyond} of {row.layers}" for row in table.itertuples()]
        sentences.append(f"Beyond, by network: {_listed(counts)}.")
    sentences.append(
        f"Beyond: Tracy-Widom p below {SIGNIFICANT:g} over the number of the network's layers (Bonferroni)."
    )
    if unknown := layers - int(table["known"].sum()):
        sentences.append(f"{unknown} of the layers have no p-value: no law of the fluctuations is known for them.")
    numbers = {"layers": layers, "beyond": beyond, "unknown": unknown}
    numbers |= {name: plain(furthest[name]) for name in ("network", "layer", "ratio", "p_value")}
    return Finding("spectra", title, tuple(sentences), numbers)


def width_finding(points: pd.DataFrame) -> Finding:
    """Where each network stands relative to the widest Mixer m* of its own Omega; `points`: `WIDTH_POINTS`."""
    known = points[points["width"].notna() & (points["widest_mixer"] > 0)]
    if known.empty:
        return Finding("width", "No network has an effective width", (), {})
    ratio = (known["width"] / known["widest_mixer"]).to_numpy(dtype=float)
    first = int(ratio.argmax())
    widest = known.iloc[first]
    if ratio[first] >= WIDER:
        title = f"{widest['network']} is {ratio[first]:.3g} times as wide as the widest Mixer of its Ω"
    elif len(level := known.loc[ratio > 1 / WIDER, "network"].astype(str)) > 0:
        title = f"{_listed([*level])} {'is' if len(level) == 1 else 'are'} as wide as the widest Mixer of the same Ω"
    elif len(known) == 1:
        title = f"{widest['network']} has {_percent(ratio[first])} of the width of the widest Mixer of its Ω"
    else:
        title = (
            f"No network is wider than the widest Mixer of its Ω; {widest['network']} comes closest, "
            f"at {_percent(ratio[first])}"
        )
    told = [
        f"{row.network} has m = {row.width:,.6g} and p = {row.density:.3g}, {_percent(share)} of m* = "
        f"{row.widest_mixer:,.6g} at Ω = {row.omega:,.0f}"
        for row, share in zip(known.itertuples(), ratio, strict=True)
    ]
    sentences = [f"{_listed(told, '; ')}."]
    sentences.append("m* is the width of the widest Mixer with the same average number of connections Ω.")
    if len(known) < len(points):
        missing = points.loc[points.index.difference(known.index), "network"]
        sentences.append(f"Without an effective width: {_listed([*map(str, missing)])}.")
    numbers = {name: plain(widest[name]) for name in ("network", "width", "density", "widest_mixer")}
    return Finding("width", title, tuple(sentences), numbers | {"ratio": float(ratio[first])})


def _ends(rows: pd.DataFrame) -> list[pd.Series]:
    """All rows, or of many the first and the last."""
    chosen = range(len(rows)) if len(rows) <= NAMED else (0, 1, len(rows) - 1)
    return [rows.iloc[index] for index in chosen]


def _valued(row: pd.Series) -> str:
    return f"{row['network_b']} {row['mean']:.3f}{_between(row['low'], row['high'])}"


def _between(low: float, high: float) -> str:
    return "" if np.isnan([low, high]).any() else f" ({low:.3f} to {high:.3f})"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 9.995 else f"{share:.3g} times"


def _listed(parts: Sequence[str], separator: str = ", ") -> str:
    """The parts, or of many the first ones and how many there are more."""
    if len(parts) <= NAMED:
        return separator.join(parts)
    return separator.join(parts[:NAMED]) + f"{separator}and {len(parts) - NAMED} more"
