"""Which figures of CKA are drawn, how large, and their captions."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mixanalysis.report.names import slugs
from mixanalysis.report.section import Drawing
from mixanalysis.report.similarity import figures
from mixanalysis.report.similarity.figures import Scale
from mixanalysis.report.style import COLUMN, TEXT
from mixanalysis.similarity import CKAResult

PAIRS = 36
"""Means of pairs in one figure."""


def overviews(reference: str, similarity: CKAResult) -> list[Drawing]:
    """Means, profile against the reference network, and sparse networks by their density.

    Args:
        reference: label of the network that the others are compared with.
        similarity: the tables.

    Returns:
        Those of them that there is something to draw in.
    """
    cells, diagonal, how = similarity.cells, similarity.diagonal, _method(similarity)
    drawings: list[Drawing] = []
    known = figures.by_mean(diagonal[diagonal["relation"] != "itself"])
    for number, start in enumerate(range(0, len(known), PAIRS), start=1):
        caption = (
            "Mean over the diagonal of the block x block CKA of each pair of networks that have the same number "
            "of blocks. Another seed of the same network is the ceiling for a similarity, the untrained network "
            f"the floor. {how}."
        )
        name, part = "cka_means" + (f"_{number}" if len(known) > PAIRS else ""), known.iloc[start : start + PAIRS]
        drawings.append(Drawing(name, (TEXT, means_height(part)), figures.cka_means, (part,), caption))
    if (cells["network_a"] != cells["network_b"]).any():
        caption = f"CKA of each block of {reference} with the block at the same position of the others. {how}."
        tables = (cells, diagonal, reference)
        drawings.append(Drawing("cka_profile", (TEXT, 2.7), figures.cka_profile, tables, caption))
    if sparse := _sparse(reference, similarity):
        caption = (
            f"Mean over the diagonal of the CKA of {reference} with MLPs of density p (Hayase & Karakida, Fig. 2a); "
            f"bands are floor and ceiling. {how}."
        )
        shown = (diagonal, reference, sparse)
        drawings.append(Drawing("cka_density", (TEXT, 2.7), figures.cka_density, shown, caption))
    return drawings


def heat_maps(similarity: CKAResult, scale: Scale = "unit") -> list[Drawing]:
    """A heat map of each pair of networks.

    Args:
        similarity: the tables.
        scale: colours from 0 to 1 ("unit"), or over the values that there are ("auto").

    Returns:
        One drawing for each row of the diagonal.
    """
    diagonal, how = similarity.diagonal, _method(similarity)
    names = slugs([*diagonal["network_a"], *diagonal["network_b"]])
    drawings = []
    for (a, b), cells in cells_by_pair(similarity).items():
        caption = f"CKA of every block of {a} with every block of {b}. {how}."
        arguments = (cells, scale)
        drawings.append(Drawing(f"cka_{names[a]}_{names[b]}", (COLUMN, 3.1), figures.cka_heatmap, arguments, caption))
    return drawings


def joined_maps(similarity: CKAResult) -> list[Drawing]:
    """The heat maps of all pairs, six to a drawing."""
    every = list(cells_by_pair(similarity).items())
    drawings = []
    for start in range(0, len(every), 6):
        group = every[start : start + 6]
        pairs = [cells for _, cells in group]
        names = ", ".join(f"{a} – {b}" for (a, b), _ in group)
        caption = f"CKA of every block of one network with every block of the other: {names}. {_method(similarity)}."
        size = (TEXT, 3.0 * -(-len(group) // 2))
        drawings.append(Drawing("cka_maps", size, figures.cka_heatmaps, (pairs,), caption))
    return drawings


def cells_by_pair(similarity: CKAResult) -> dict[tuple[str, str], pd.DataFrame]:
    """The cells of each pair of networks of the diagonal, in its order; none for a pair without any."""
    known = dict(iter(similarity.cells.groupby(["network_a", "network_b"], sort=False)))
    nothing = similarity.cells.head(0)
    pairs = similarity.diagonal[["network_a", "network_b"]].itertuples(index=False, name=None)
    return {pair: known.get(pair, nothing) for pair in pairs}


def _method(similarity: CKAResult) -> str:
    """How the values were obtained, as captions say it."""
    first = similarity.cells.iloc[0]
    how = f"{first['estimator']}; {first['features']}; {first['n']} images of {first['data']}"
    independent = figures.independent_text(similarity.cells)
    return f"{how}; {independent}" if independent else how


def _sparse(reference: str, similarity: CKAResult) -> Sequence[str]:
    """MLPs that the reference is compared with on a diagonal, where there are several densities of them."""
    diagonal = similarity.diagonal
    rows = diagonal[(diagonal["network_a"] == reference) & diagonal["mean"].notna() & (diagonal["relation"] == "")]
    layers = similarity.layers.groupby("network")["role"]
    dense = {str(name) for name, roles in layers if (roles == "dense").all()}
    rows = rows[rows["network_b"].isin(dense) & rows["density_b"].notna()]
    return list(rows["network_b"]) if rows["density_b"].nunique() > 1 else []


def means_height(known: pd.DataFrame) -> float:
    """Inches of a figure of the means of these pairs."""
    return 1.0 + 0.22 * len(known)
