"""CSV files: what is read is what was written, and no cell begins as a formula does."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest

from mixanalysis.table_files import FORMULA, read_table, write_table

BEGINNINGS = ("=", "+", "-", "@", "\t", "\r", "'=", "''-", "'", "")
REST = ("", "1+1", "cmd|' /C calc'!A0", 'HYPERLINK("x")', "a,b", "two\nlines", "a\rb", 'say "x"', "模型", "-", "'")
TEXTS = [beginning + rest for beginning in BEGINNINGS for rest in REST]


def back(table, tmp_path):
    write_table(tmp_path / "table.csv", table)
    return read_table(tmp_path / "table.csv", dtype=str, keep_default_na=False)


def test_every_text_is_read_back_as_it_was(tmp_path):
    table = pd.DataFrame({"network": TEXTS, "number": range(len(TEXTS))})
    assert back(table, tmp_path)["network"].tolist() == TEXTS


def test_random_texts_are_read_back_as_they_were(tmp_path):
    generator = np.random.default_rng(0)
    texts = ["".join(generator.choice([*"=+-@'\t\r\n,\"a1 é$"], generator.integers(0, 7))) for _ in range(3000)]
    assert back(pd.DataFrame({"a": texts, "b": texts[::-1]}), tmp_path)["a"].tolist() == texts


def test_a_spreadsheet_sees_no_formula(tmp_path):
    write_table(tmp_path / "table.csv", pd.DataFrame({"network": TEXTS}))
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        cells = [row[0] if row else "" for row in csv.reader(file)][1:]
    assert len(cells) == len(TEXTS)
    for cell in cells:
        if cell[:1] in tuple("=+-@\t\r"):
            float(cell)


def test_numbers_are_left_alone(tmp_path):
    table = pd.DataFrame({"value": [-0.5, 1e-300, np.nan], "text": ["-0.5", "+3", "-inf"], "mixed": [-1, "-x", None]})
    write_table(tmp_path / "table.csv", table)
    assert (tmp_path / "table.csv").read_text() == "value,text,mixed\n-0.5,-0.5,-1\n1e-300,+3,'-x\n,-inf,\n"


def test_a_table_without_formulas_is_what_pandas_writes(tmp_path):
    table = pd.DataFrame({"network": ["a", "b"], "value": [0.1, np.nan]})
    write_table(tmp_path / "table.csv", table)
    assert (tmp_path / "table.csv").read_text() == table.to_csv(index=False, lineterminator="\n")


def test_the_frame_is_left_as_it_was(tmp_path):
    table = pd.DataFrame({"network": ["=1"]})
    write_table(tmp_path / "table.csv", table)
    assert table["network"].tolist() == ["=1"]


@pytest.mark.parametrize("cell", ["=1", "@a", "-x", "'=1"])
def test_beginnings(cell):
    assert FORMULA.match(cell)
