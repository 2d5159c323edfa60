"""Schemas hold their tables to their columns, and JSON is what JSON allows."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import mixanalysis as mx
from cases import NETWORKS, network_of
from mixanalysis.datasets import Dataset
from mixanalysis.results import plain, records, to_json
from mixanalysis.runs.schemas import SCHEMAS
from mixanalysis.schemas import ROOMS
from mixanalysis.similarity import FeatureExtractor
from mixanalysis.spectra import tracy_widom

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
    rooms = [schema for room in ROOMS for schema in room.SCHEMAS]
    assert len({schema.name for schema in rooms}) == len(rooms)


class TestMeanings:
    """Columns of one name in several tables are described by what computes each."""

    @staticmethod
    def meaning(table, name):
        return next(column.meaning for column in SCHEMAS[table].columns if column.name == name)

    def test_p_values_of_cka_are_shares_of_random_pairings(self):
        images = torch.randn(16, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        data = Dataset("made up", "test", images, None, classes=0)
        module = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).double()
        extractor = FeatureExtractor("a", module, {"first": "0", "last": "1"})
        shares = mx.cka(extractor, data=data, batch_size=8, permutations=19).cells["p_value"].to_numpy() * 20
        np.testing.assert_allclose(shares, np.round(shares))
        assert 1 <= shares.min() <= shares.max() <= 20
        assert self.meaning("cka", "p_value").startswith("share of random pairings of examples")
        assert mx.cka(extractor, data=data, batch_size=8).cells["p_value"].isna().all()
        assert self.meaning("cka", "p_value").endswith("empty without any")

    def test_p_values_of_spectra_are_tracy_widom_s(self, tmp_path):
        row = mx.spectrum(network_of(NETWORKS["mlp"], tmp_path / "mlp.safetensors")).summary.iloc[0]
        assert row["p_value"] == tracy_widom.sf(row["z"])
        assert self.meaning("spectrum", "p_value").startswith("Tracy-Widom probability of a larger s_max")

    def test_no_table_borrows_the_other_s_words(self):
        assert "Tracy-Widom" not in "".join(column.meaning for column in SCHEMAS["cka"].columns)
        assert "pairings" not in "".join(column.meaning for column in SCHEMAS["spectrum"].columns)


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
