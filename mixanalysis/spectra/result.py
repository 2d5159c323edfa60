"""What the analysis of singular values answers with."""

from __future__ import annotations

from dataclasses import dataclass
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
    """

    summary: pd.DataFrame
    values: pd.DataFrame
    outliers: pd.DataFrame
    nulls: dict[tuple[str, str], Null]

    def __repr__(self) -> str:
        found = f"{len(self.summary)} layers, {len(self.outliers)} outliers"
        return f"<SpectrumResult: {found}; see .summary, .outliers, .values>"

    def _repr_html_(self) -> str:
        names = ["network", "layer", "width", "density", "null", "null_edge", "s_max", "p_value", "outliers"]
        return representation.table("Spectra: largest singular values against noise", self.summary[names])

    def to_frame(self) -> pd.DataFrame:
        """The summary."""
        return self.summary

    def to_json(self) -> dict[str, Any]:
        """JSON-ready data."""
        return {"spectrum": records(self.summary), "spectrum_outliers": records(self.outliers)}
