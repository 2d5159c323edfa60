"""Differences of two output folders: parameters, inputs, data, versions, files, and their tables row by row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mixanalysis import table_files
from mixanalysis.errors import ReportError
from mixanalysis.results import Schema, plain
from mixanalysis.runs.manifest import Manifest
from mixanalysis.schemas import ANALYSES

DIFFERENCES = Schema.of(
    "differences",
    ("part", "", "parameters, inputs, data, versions, files, or the table as its file is called"),
    ("kind", "", "changed, only in a, or only in b"),
    ("row", "", "which row, parameter, input, library or file"),
    ("column", "", "column of a table, or field of an input or of the data"),
    ("a", "", "what the first report has; empty where it has nothing"),
    ("b", "", "what the second has"),
    ("difference", "", "b - a of two numbers"),
    keys=("part", "kind", "row", "column"),
)

INDIFFERENT = frozenset({"output", "config", "json", "quiet", "verbose", "dry_run", "force"})
"""Parameters that no result depends on."""

ORDER = "row number"
"""Stands for the key of a table whose schema isn't known."""

Row = dict[str, Any]


def compare(a: Manifest, b: Manifest, tolerance: float = 0.0, *, tables_only: bool = False) -> pd.DataFrame:
    """Everything that two output folders differ in (`DIFFERENCES`); no rows where they are equal.

    Times, paths of inputs, and where and how a result was shown make no difference. Tables are compared by their key
    columns, other files by their SHA-256.

    Args:
        a: manifest of the first folder.
        b: manifest of the second.
        tolerance: numbers x and y of tables are equal where |x - y| <= tolerance max(1, |x|, |y|).
        tables_only: leave out everything but the tables.

    Returns:
        A row for each difference, those of tables last.

    Raises:
        ReportError: a table can't be read.
    """
    rows: list[Row] = []
    if not tables_only:
        rows += _facts(a, b)
    names = [name for name in a.outputs if name in b.outputs and _is_table(name)]
    for name in names:
        table = name.removeprefix("tables/").removesuffix(".csv")
        keys = ANALYSES[table].keys if table in ANALYSES else ()
        differing = compare_tables(read_table(a, name), read_table(b, name), keys, tolerance)
        rows += [{"part": table, **row} for row in differing]
    return DIFFERENCES.frame(rows)


def overview(differences: pd.DataFrame) -> pd.DataFrame:
    """How many differences of each kind every part has, by column, and the largest of them in size."""
    sizes = differences.assign(largest=pd.to_numeric(differences["difference"]).abs())
    groups = sizes.groupby(["part", "kind", "column"], sort=False)
    return groups.agg(count=("row", "size"), largest=("largest", "max")).reset_index()


def compare_tables(a: pd.DataFrame, b: pd.DataFrame, keys: Sequence[str] = (), tolerance: float = 0.0) -> Iterator[Row]:
    """Differences of two tables: a row for each column, row or cell, but for the name of the table.

    Args:
        a: cells as text, "" where undefined.
        b: the same of another.
        keys: columns that say which row it is, where both tables have them; rows of equal keys go by their order, and
            so do all rows without keys.
        tolerance: as in `compare`.

    Yields:
        Rows of `DIFFERENCES` without `part`.
    """
    for name in [*a.columns, *b.columns]:
        if (name in a.columns) != (name in b.columns):
            yield _only("a" if name in a.columns else "b", "", name)
    keys = [key for key in keys if key in a.columns and key in b.columns]
    first, second = _by_key(a, keys), _by_key(b, keys)
    for side, lost in (
        ("a", first.index.difference(second.index, sort=False)),
        ("b", second.index.difference(first.index, sort=False)),
    ):
        for key in lost:
            yield _only(side, _text(key, keys), "")
    both = first.index.intersection(second.index, sort=False)
    first, second = first.loc[both], second.loc[both]
    for name in [name for name in a.columns if name in b.columns and name not in keys]:
        x, y = first[name].to_numpy(dtype=object), second[name].to_numpy(dtype=object)
        for place in np.flatnonzero(x != y):
            if not _close(x[place], y[place], tolerance):
                old, new = _number(x[place]), _number(y[place])
                difference = None if old is None or new is None else plain(new - old)
                yield _changed(_text(both[place], keys), name, x[place], y[place]) | {"difference": difference}


def read_table(manifest: Manifest, name: str) -> pd.DataFrame:
    """A table of an output folder, its cells as text.

    Returns:
        Cells as text, "" where undefined.

    Raises:
        ReportError: it isn't there, not in the folder, or no table.
    """
    path = manifest.folder / name
    if not path.resolve().is_relative_to(manifest.folder.resolve()):
        raise ReportError(f"{path}: listed in the manifest, but outside of its folder")
    try:
        return table_files.read_table(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ReportError(f"{path}: listed in the manifest, but not a readable table: {error}") from None


def _facts(a: Manifest, b: Manifest) -> Iterator[Row]:
    """Parameters, inputs, data, versions, and files that aren't tables."""
    yield from _fields("parameters", _parameters(a), _parameters(b))
    yield from _inputs(a, b)
    data = [manifest.content.get("data") or {} for manifest in (a, b)]
    yield from _fields("data", *data)
    yield from _fields(
        "versions", *({"mixanalysis": each.content.get("mixanalysis")} | each.content["versions"] for each in (a, b))
    )
    for name in dict.fromkeys([*a.outputs, *b.outputs]):
        x, y = a.outputs.get(name), b.outputs.get(name)
        if x != y and not (_is_table(name) and x and y):
            yield {
                "part": "files",
                **(_only("b" if x is None else "a", name, "") if None in (x, y) else _changed(name, "", x, y)),
            }


def _parameters(manifest: Manifest) -> Mapping[str, Any]:
    """The command and its parameters; checkpoints are told apart by their content, among the inputs."""
    paths = {item["path"] for item in manifest.content["inputs"]}
    kept = {
        name: value
        for name, value in manifest.content["parameters"].items()
        if name not in INDIFFERENT and not _all_in(value, paths)
    }
    return {"command": manifest.content["command"], "device": manifest.content.get("device")} | kept


def _all_in(value: Any, paths: set[str]) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(isinstance(item, str) and item in paths for item in values)


def _inputs(a: Manifest, b: Manifest) -> Iterator[Row]:
    first, second = _by_label(a), _by_label(b)
    for label in dict.fromkeys([*first, *second]):
        if label not in first or label not in second:
            yield {"part": "inputs", **_only("a" if label in first else "b", label, "")}
            continue
        for name in dict.fromkeys([*first[label], *second[label]]):
            x, y = first[label].get(name), second[label].get(name)
            if name not in ("path", "label", "made") and x != y:
                yield {"part": "inputs", **_changed(label, name, x, y)}


def _by_label(manifest: Manifest) -> dict[str, Mapping[str, Any]]:
    """Inputs by their label, numbered where one is used twice, as for a network and its initialisation."""
    inputs: dict[str, Mapping[str, Any]] = {}
    for item in manifest.content["inputs"]:
        names = itertools.chain([item["label"]], (f"{item['label']} #{number}" for number in itertools.count(2)))
        inputs[next(name for name in names if name not in inputs)] = item
    return inputs


def _fields(part: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Row]:
    for name in dict.fromkeys([*a, *b]):
        if name not in a or name not in b:
            yield {"part": part, **_only("a" if name in a else "b", name, "")}
        elif a[name] != b[name]:
            yield {"part": part, **_changed(name, "", a[name], b[name])}


def _only(side: str, row: str, column: str) -> Row:
    return {"kind": f"only in {side}", "row": row, "column": column, "a": "", "b": "", "difference": None}


def _changed(row: str, column: str, a: Any, b: Any) -> Row:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b))
    difference = plain(b - a) if numbers else None
    return {"kind": "changed", "row": row, "column": column, "a": _cell(a), "b": _cell(b), "difference": difference}


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return "" if value is None else str(value)


def _close(a: str, b: str, tolerance: float) -> bool:
    x, y = _number(a), _number(b)
    if x is None or y is None:
        return False
    # an infinity is close to nothing else
    return x == y or (math.isfinite(x - y) and abs(x - y) <= tolerance * max(1.0, abs(x), abs(y)))


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _by_key(frame: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The rows under their key, and their number among those of the same key."""
    number = frame.groupby(list(keys), sort=False).cumcount() if keys else pd.Series(range(len(frame)))
    arrays = [*(frame[key].map(_spelled).to_numpy() for key in keys), number.to_numpy()]
    return frame.set_axis(pd.MultiIndex.from_arrays(arrays, names=[*keys, ORDER]))


def _spelled(key: str) -> str:
    """A number in one spelling: a whole one is a float where its column has gaps."""
    number = _number(key)
    return key if number is None else repr(number).removesuffix(".0")


def _text(key: tuple[Any, ...], keys: Sequence[str]) -> str:
    """A row's key; its number among rows of that key, from 1, where it isn't the first, or there is no key."""
    *values, number = key
    words = [str(value) for value in values]
    if number or not keys:
        words.append(f"#{number + 1}")
    return " ".join(words)


def _is_table(name: str) -> bool:
    return name.startswith("tables/") and name.endswith(".csv")
