"""Which figures of CKA are drawn, how large, and their captions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from mixanalysis.report.similarity import figures
from mixanalysis.report.similarity.figures import Scale
from mixanalysis.report.style import COLUMN, TEXT
from mixanalysis.similarity import CKAResult

Drawing = tuple[str, tuple[float, float], Callable[..., None], tuple[Any, ...], str]
"""File name, size in inches, what draws it, its tables, and its caption."""


PAIRS = 36
"""Means of pairs in one figure."""


def similarity_drawings(reference: str, similarity: CKAResult, scale: Scale = "unit") -> list[Drawing]:
    """Means, profile against the reference network, sparse networks by their density, and a heat map a pair.

    Args:
        reference: label of the network that the others are compared with.
        similarity: the tables.
        scale: colours of the heat maps.
    """
    cells, diagonal = similarity.cells, similarity.diagonal
    first = cells.iloc[0]
    how = f"{first['estimator']}; {first['features']}; {first['n']} images of {first['data']}"
    if independent := figures.independent_text(cells):
        how += f"; {independent}"
    drawings: list[Drawing] = []
    known = figures.by_mean(diagonal[diagonal["relation"] != "itself"])
    for number, start in enumerate(range(0, len(known), PAIRS), start=1):
        caption = (
            "Mean over the diagonal of the block x block CKA of each pair of networks that have the same number "
            "of blocks. Another seed of the same network is the ceiling for a similarity, the untrained network "
            f"the floor. {how}."
        )
        name, part = "cka_means" + (f"_{number}" if len(known) > PAIRS else ""), known.iloc[start : start + PAIRS]
        drawings.append((name, (TEXT, means_height(part)), figures.cka_means, (part,), caption))
    if (cells["network_a"] != cells["network_b"]).any():
        caption = f"CKA of each block of {reference} with the block at the same position of the others. {how}."
        drawings.append(("cka_profile", (TEXT, 2.7), figures.cka_profile, (cells, diagonal, reference), caption))
    if sparse := _sparse(reference, similarity):
        caption = (
            f"Mean over the diagonal of the CKA of {reference} with MLPs of density p (Hayase & Karakida, Fig. 2a); "
            f"bands are floor and ceiling. {how}."
        )
        drawings.append(("cka_density", (TEXT, 2.7), figures.cka_density, (diagonal, reference, sparse), caption))
    names = slugs([*diagonal["network_a"], *diagonal["network_b"]])
    for a, b in diagonal[["network_a", "network_b"]].itertuples(index=False, name=None):
        pair = cells[(cells["network_a"] == a) & (cells["network_b"] == b)]
        caption = f"CKA of every block of {a} with every block of {b}. {how}."
        drawings.append((f"cka_{names[a]}_{names[b]}", (COLUMN, 3.1), figures.cka_heatmap, (pair, scale), caption))
    return drawings


def _sparse(reference: str, similarity: CKAResult) -> list[str]:
    """MLPs that the reference is compared with on a diagonal, where there are several densities of them."""
    diagonal = similarity.diagonal
    rows = diagonal[(diagonal["network_a"] == reference) & diagonal["mean"].notna() & (diagonal["relation"] == "")]
    layers = similarity.layers.groupby("network")["role"]
    dense = {str(name) for name, roles in layers if (roles == "dense").all()}
    rows = rows[rows["network_b"].isin(dense) & rows["density_b"].notna()]
    return list(rows["network_b"]) if rows["density_b"].nunique() > 1 else []


def joined_maps(drawings: Sequence[Drawing]) -> list[Drawing]:
    """The same drawings with heat maps joined, six to a drawing."""
    maps = [drawing for drawing in drawings if drawing[2] is figures.cka_heatmap]
    joined = [drawing for drawing in drawings if drawing[2] is not figures.cka_heatmap]
    for start in range(0, len(maps), 6):
        group = maps[start : start + 6]
        pairs = [arguments[0] for _, _, _, arguments, _ in group]
        names = ", ".join(f"{pair.iloc[0]['network_a']} – {pair.iloc[0]['network_b']}" for pair in pairs)
        how = group[0][4].split(". ", 1)[1]
        caption = f"CKA of every block of one network with every block of the other: {names}. {how}"
        size = (TEXT, 3.0 * -(-len(group) // 2))
        joined.append(("cka_maps", size, figures.cka_heatmaps, (pairs,), caption))
    return joined


def means_height(known: pd.DataFrame) -> float:
    """Inches of a figure of the means of these pairs."""
    return 1.0 + 0.22 * len(known)


def slugs(labels: Iterable[str]) -> dict[str, str]:
    """Each label as a part of a file's name, different for different labels, also where case doesn't count."""
    found: dict[str, str] = {}
    taken = set()
    for label in dict.fromkeys(labels):
        plain = "".join(character if character.isalnum() or character in "-." else "-" for character in label)
        name, number = plain, 2
        while name.casefold() in taken:
            name, number = f"{plain}-{number}", number + 1
        taken.add(name.casefold())
        found[label] = name
    return found
