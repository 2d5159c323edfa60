"""Tables as CSV files that a spreadsheet shows and doesn't run."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pandas as pd

FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How a cell begins that a spreadsheet would take for a formula, or that stands for one here."""


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as UTF-8; numbers round-trip exactly, undefined values are empty.

    A text that a spreadsheet would run as a formula has an apostrophe before it, and so has one that begins with
    apostrophes and a formula; `read_table` takes it away.

    Args:
        path: the file.
        table: its rows.
    """
    texts = {name: quoted for name in table.columns if (quoted := _quoted(table[name])) is not None}
    # a carriage return would end the row of a cell without quotation marks
    returns = any(_has_returns(table[name]) for name in table.columns)
    quoting = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    table.assign(**texts).to_csv(path, index=False, lineterminator="\n", quoting=quoting)


def read_table(path: Path, **options: Any) -> pd.DataFrame:
    """A table as it was before `write_table`, its texts as they were.

    Args:
        path: the file.
        options: of `pandas.read_csv`.

    Returns:
        The rows, their cells as text where `dtype=str` is among the options.

    Raises:
        OSError: it can't be read.
        ValueError: it is no table.
    """
    table = pd.read_csv(path, **options)
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].map(_unquoted)
    return table


def _texts(column: pd.Series) -> list[str]:
    """The different texts of a column."""
    if pd.api.types.is_numeric_dtype(column):
        return []
    return [text for text in column.unique() if isinstance(text, str)]


def _has_returns(column: pd.Series) -> bool:
    return any("\r" in text for text in _texts(column))


def _quoted(column: pd.Series) -> pd.Series | None:
    """A column of texts with apostrophes before formulas; None where there are none."""
    quoted = {text: f"'{text}" for text in _texts(column) if _is_formula(text)}
    return column.map(lambda cell: quoted.get(cell, cell) if isinstance(cell, str) else cell) if quoted else None


def _is_formula(text: str) -> bool:
    return FORMULA.match(text) is not None and not _is_number(text)


def _unquoted(cell: Any) -> Any:
    quoted = isinstance(cell, str) and cell.startswith("'") and FORMULA.match(cell)
    return cell[1:] if quoted else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
