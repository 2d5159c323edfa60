"""Schemas hold their tables to their columns, and JSON is what JSON allows."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from mixanalysis.results import SCHEMAS, plain, records, to_json

schemas = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)


def row_of(schema):
    return {column.name: index for index, column in enumerate(schema.columns)}


@schemas
def test_columns_come_in_the_order_of_the_schema(schema):
    row = row_of(schema)
    frame = schema.frame([dict(reversed(row.items())), row])
    assert list(frame.columns) == [column.name for column in schema.columns]
    assert frame.to_numpy().tolist() == [list(range(len(row)))] * 2


@schemas
def test_no_rows(schema):
    frame = schema.frame([])
    assert list(frame.columns) == [column.name for column in schema.columns]
    assert len(frame) == 0


@schemas
def test_a_missing_column(schema):
    row = row_of(schema)
    name, _ = row.popitem()
    with pytest.raises(ValueError, match=rf"^table {schema.name}: columns differ from the schema: \['{name}'\]$"):
        schema.frame([row_of(schema), row])


@schemas
def test_an_extra_column(schema):
    row = row_of(schema) | {"surprise": 1}
    with pytest.raises(ValueError, match=rf"^table {schema.name}: columns differ from the schema: \['surprise'\]$"):
        schema.frame([row])


@schemas
def test_every_column_says_what_it_means(schema):
    names = [column.name for column in schema.columns]
    assert len(set(names)) == len(names)
    assert all(column.meaning for column in schema.columns)
    assert schema.keys
    assert set(schema.keys) <= set(names)


def test_tables_are_found_by_their_names():
    assert all(schema.name == name for name, schema in SCHEMAS.items())


def test_records_are_plain():
    frame = pd.DataFrame(
        {
            "text": ["a", "b"],
            "whole": np.array([1, 2], dtype=np.int64),
            "real": np.array([0.1, math.nan]),
            "ends": [math.inf, -math.inf],
            "flag": np.array([True, False]),
            "gap": [None, pd.NA],
        }
    )
    rows = records(frame)
    assert rows == [
        {"text": "a", "whole": 1, "real": 0.1, "ends": None, "flag": True, "gap": None},
        {"text": "b", "whole": 2, "real": None, "ends": None, "flag": False, "gap": None},
    ]
    assert [type(value) for value in rows[0].values()] == [str, int, float, type(None), bool, type(None)]
    assert json.loads(to_json(rows)) == rows


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.25), 0.25),
        (np.float32("nan"), None),
        (np.int32(3), 3),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (-math.inf, None),
        (0, 0),
    ],
)
def test_plain(value, expected):
    result = plain(value)
    assert result == expected
    assert type(result) is type(expected)


def test_numbers_go_round_exactly():
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    assert json.loads(to_json(records(pd.DataFrame({"x": values})))) == [{"x": value} for value in values]


def test_keys_stay_in_order_and_letters_stay_readable():
    assert to_json({"b": "γ", "a": 1}) == '{\n  "b": "γ",\n  "a": 1\n}'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_has_no_nan(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"deep": [{"x": value}]})
