"""What a table of results is: named columns with units and meanings, and its rows as data."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

INTERVAL = "95% delete-one-group jackknife over batches"
SEED_INTERVAL = "95% Student t over seeds"


@dataclass(frozen=True)
class Column:
    """One column: its name, its unit ("" for a count, a ratio or text), and what it means."""

    name: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class Schema:
    """The columns of a table, in order.

    Attributes:
        name: of the table, which is also its file's.
        columns: in order.
        keys: names of the columns that say which row it is; rows of equal keys, or of none, are told apart by their
            order.
    """

    name: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, *columns: tuple[str, str, str], keys: tuple[str, ...] = ()) -> Schema:
        """A schema of columns given as (name, unit, meaning)."""
        return cls(name, tuple(Column(*column) for column in columns), keys)

    def frame(self, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """A frame with exactly these columns.

        Returns:
            A frame with the schema's columns in their order.

        Raises:
            ValueError: a row lacks a column or has one that the schema doesn't know.
        """
        names = [column.name for column in self.columns]
        rows = list(rows)
        for row in rows:
            if set(row) != set(names):
                msg = f"table {self.name}: columns differ from the schema: {sorted(set(row) ^ set(names))}"
                raise ValueError(msg)
        return pd.DataFrame(rows, columns=names)


NETWORK = ("network", "", "label of the network, from its file's name")
"""The column that most tables begin with."""


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A frame's rows as JSON-ready data: plain numbers, and None for what is undefined."""
    return [
        {str(name): plain(value) for name, value in row.items()}
        for row in frame.astype(object).to_dict(orient="records")
    ]


def plain(value: Any) -> Any:
    """A numpy scalar as Python's, NaN and infinities as None."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def to_json(data: Any) -> str:
    """JSON text of JSON-ready data, keys in the order given.

    Returns:
        Indented text without a line break at its end.

    Raises:
        ValueError: the data hold NaN or an infinity.
    """
    return json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False)
