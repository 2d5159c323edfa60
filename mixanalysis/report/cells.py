"""Cells of tables as text for reading, and as data of charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from mixanalysis.results import plain

DIGITS = 4
"""Significant digits of numbers for reading; the CSV files have all."""


def short(value: Any) -> Any:
    """A JSON-ready value, numbers rounded to `DIGITS`."""
    value = plain(value)
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def text_of(value: Any) -> str:
    """A table's cell for reading; empty for what is undefined."""
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if 10**DIGITS <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return str(value) if isinstance(value, int) else f"{value:.{DIGITS}g}"


def grouped(table: pd.DataFrame, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The lines of a table: what they share, and their columns.

    Args:
        table: rows of all lines.
        keys: names of the columns that tell the lines apart.

    Returns:
        For each line its keys, and the other columns as lists.
    """
    return [
        {name: plain(value) for name, value in zip(keys, key, strict=True)} | _columns(rows.drop(columns=list(keys)))
        for key, rows in table.groupby(list(keys), sort=False)
    ]


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    return {str(name): [short(value) for value in table[name]] for name in table.columns}
