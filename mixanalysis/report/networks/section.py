"""The networks of a report, for its first page."""

from __future__ import annotations

import math

import pandas as pd

from mixanalysis.network.schemas import NETWORKS
from mixanalysis.report.section import Printed, PrintTable, ResultTable, Section


def section(networks: pd.DataFrame, layers: pd.DataFrame) -> Section:
    """The networks and their layers.

    Args:
        networks: rows of `NETWORKS`.
        layers: rows of `LAYERS`.

    Returns:
        Two tables, and a summary of the networks for the first page of the PDF.
    """
    return Section(
        "networks",
        "Networks seen as wide and sparse MLPs",
        tables=(ResultTable.shown(NETWORKS, networks, "The networks"), ResultTable("layers", layers)),
        printed=lambda: Printed((_table(networks),)),
    )


def _table(networks: pd.DataFrame) -> PrintTable:
    return PrintTable(
        "The networks: effective width m, density p, expansion γ, and average connections of a layer Ω.",
        ("network", "family", "m", "p", "γ", "Ω", "parameters", "blocks", "test accuracy"),
        tuple(
            (
                str(row.network),
                str(row.family),
                f"{row.width:,}",
                f"{row.density:.4g}",
                f"{row.expansion:.3g}",
                f"{row.omega:,.0f}",
                f"{row.parameters:,}",
                f"{row.blocks}",
                "" if math.isnan(row.test_accuracy) else f"{row.test_accuracy:.2%}",
            )
            for row in networks.itertuples()
        ),
        "llrrrrrrr",
    )
