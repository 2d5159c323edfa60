"""The finding of spectra: layers that reach beyond the edge of noise, in words and numbers."""

from __future__ import annotations

import math

import pandas as pd

from mixanalysis.report.section import Finding
from mixanalysis.report.spectra.figures import SIGNIFICANT, beyond_edge, p_text, short_layer
from mixanalysis.results import plain
from mixanalysis.selection import listed


def spectrum_table(spectra: pd.DataFrame) -> pd.DataFrame:
    """A row per network: `network`, `layers`, `known` (with a p-value), `beyond`, and of the furthest layer `ratio`,
    `layer`, `p_value`.

    The furthest is that of the largest s_max / null_edge among those beyond, or among all where there is none.
    `ratio` is NaN, and `layer` empty, where no layer has a null.

    Returns:
        A frame in the order in which the networks come.
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


def finding(spectra: pd.DataFrame) -> Finding:
    """How many layers reach beyond the edge of noise, and which furthest; `spectra` holds `SPECTRUM`."""
    table = spectrum_table(spectra)
    layers, beyond = int(table["layers"].sum()), int(table["beyond"].sum())
    if table["ratio"].isna().all():
        return Finding(f"None of the {layers} layers has a null to be compared with")
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
        sentences.append(f"Beyond, by network: {listed(counts)}.")
    sentences.append(
        f"Beyond: Tracy-Widom p below {SIGNIFICANT:g} over the number of the network's layers (Bonferroni)."
    )
    if unknown := layers - int(table["known"].sum()):
        sentences.append(f"{unknown} of the layers have no p-value: no law of the fluctuations is known for them.")
    numbers = {"layers": layers, "beyond": beyond, "unknown": unknown}
    numbers |= {name: plain(furthest[name]) for name in ("network", "layer", "ratio", "p_value")}
    return Finding(title, tuple(sentences), numbers)
