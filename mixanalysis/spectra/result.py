"""What the analysis of singular values answers with."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from mixanalysis import representation
from mixanalysis.results import records
from mixanalysis.spectra.nulls import Null


@dataclass(frozen=True, eq=False)
class SpectrumResult:
    """Spectra of the layers of some networks.

    Attributes:
        summary: a row per layer (`SPECTRUM`).
        values: a row per distinct singular value (`SINGULAR_VALUES`).
        outliers: a row per described outlier (`SPECTRUM_OUTLIERS`).
        nulls: for each (network, layer) that has one, the null that it was compared with.
        skipped: for each (network, layer) with NaN or infinite weights, the reason why it has no row.
    """

    summary: pd.DataFrame
    values: pd.DataFrame
    outliers: pd.DataFrame
    nulls: dict[tuple[str, str], Null]
    skipped: dict[tuple[str, str], str] = field(default_factory=dict)

    def __repr__(self) -> str:
        found = f"{len(self.summary)} layers, {len(self.outliers)} outliers"
        return f"<SpectrumResult: {found}; see .summary, .outliers, .values>"

    def _repr_html_(self) -> str:
        names = ["network", "layer", "width", "density", "null", "null_edge", "s_max", "p_value", "outliers"]
        return representation.table("Spectra: largest singular values against noise", self.summary[names])

    @property
    def notes(self) -> tuple[str, ...]:
        """Layers that were skipped, and assumptions of the nulls that weights contradict, a sentence for each."""
        checked = self.summary[~self.summary["check"].isin(("", "ok"))]
        sentences = [f"{network} {layer}: skipped; {reason}" for (network, layer), reason in self.skipped.items()]
        for (check, null), rows in checked.groupby(
            [checked["check"].map(_kind), checked["null"].map(_kind)], sort=False
        ):
            first, more = rows.iloc[0], len(rows) - 1
            where = f"{first['network']} {first['layer']}" + f" and {more} more" * bool(more)
            reached = f"p = {first['p_value']:.2g}" + " in the first" * bool(more)
            compared = (
                "no null fits, so there is no p-value" if null == "none" else f"against the null {null}, {reached}"
            )
            sentence = f"{where}: {first['check'] if not more else check}; {compared}"
            zeros = "; with --zeros-are-masked they are its mask, and density follows from them"
            sentences.append(sentence + zeros * ("exactly zero" in check))
        return tuple(sentences)

    def to_frame(self) -> pd.DataFrame:
        """The summary."""
        return self.summary

    def to_json(self) -> dict[str, Any]:
        """JSON-ready data."""
        return {"spectrum": records(self.summary), "spectrum_outliers": records(self.outliers)}


def _kind(text: str) -> str:
    """A check or null without its numbers, so that layers of one kind are told together."""
    text = re.sub(r" \(kurtosis [^)]*\)", "", text)
    text = re.sub(r"\d+(\.\d+)?% of the entries", "many of the entries", text)
    text = re.sub(r"^\d+ (rows|columns)", r"some \1", text)
    text = re.sub(r"a mean of \S+ standard deviations", "a mean", text)
    return "none" if text.startswith("none") else text
