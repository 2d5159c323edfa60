"""Tables are as wide as the terminal, whatever its width; every cell is there, in whole; and all is plain text."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from mixanalysis_cli.tables import show_matrix, show_table, text

WIDTHS = (60, 80, 200)

FRAME = pd.DataFrame(
    {
        "network": ["a-network-of-a-rather-long-name", "b"],
        "layer": ["blocks.10.token.mlp.fc1", "blocks.0.channel.mlp.fc2"],
        **{f"value{index}": np.array([1.2345678, -9.87654e-100]) * (index + 1) for index in range(14)},
        "status": ["ok", "undefined: the features of this layer are the same for every image of the batch"],
        "count": [1, 2],
    }
)


@pytest.mark.parametrize("columns", WIDTHS)
def test_every_cell_is_there_and_no_line_is_too_long(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    show_table(FRAME, {name: name for name in FRAME.columns}, "Title")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Title"
    assert max(map(len, lines)) <= columns
    said = "".join(lines)
    assert "…" not in said
    for name in FRAME.columns[2:-2]:
        assert said.count(name + " ") == 1
        for value in FRAME[name]:
            assert f"{value:.4g} " in said
    rules = sum(line.startswith(" ──") for line in lines)
    assert sum("network" in line for line in lines) >= rules
    assert (rules > 1) == (columns < 250)
    assert all(word in said for word in FRAME["status"][1].split())


def test_what_fits_is_one_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    show_table(FRAME[["layer", "count"]], {"layer": "layer", "count": "n"})
    assert [line.split() for line in capsys.readouterr().out.splitlines() if line.strip() and "─" not in line] == [
        ["layer", "n"],
        ["blocks.10.token.mlp.fc1", "1"],
        ["blocks.0.channel.mlp.fc2", "2"],
    ]


def test_text_that_is_too_wide_goes_on_below(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    name = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    show_table(pd.DataFrame({"name": [name], "value": [0.5]}), {"name": "name", "value": "value"})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert name in "".join(line.split()[0] for line in lines if line.strip())
    assert sum("0.5" in line for line in lines) == 1


@pytest.mark.parametrize("columns", ["", "0", "-5", "many"])
def test_without_a_width_it_is_wide(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    show_table(FRAME.iloc[:, :14], {name: name for name in FRAME.columns[:14]})
    assert sum("─" in line for line in capsys.readouterr().out.splitlines()) == 1


def matrix(size, names="block"):
    values = np.linspace(-0.04, 1, size**2).reshape(size, size)
    values[0, 1] = math.nan
    index = pd.Index([f"{place}.{names}" for place in range(size)], name="mixer")
    return pd.DataFrame(values, index, index.rename("mlp"))


FORMS = {
    (60, 4): "exact",
    (60, 8): "hundredths",
    (60, 24): "pointer",
    (80, 5): "exact",
    (80, 12): "hundredths",
    (80, 48): "pointer",
    (200, 16): "exact",
    (200, 24): "hundredths",
    (200, 64): "pointer",
}


@pytest.mark.parametrize(("columns", "size", "form"), [(*key, form) for key, form in FORMS.items()])
def test_a_matrix_takes_the_form_that_fits(capsys, monkeypatch, columns, size, form):
    monkeypatch.setenv("COLUMNS", str(columns))
    values = matrix(size)
    show_matrix(values, "CKA", "out/tables/cka.csv")
    title, *lines = capsys.readouterr().out.splitlines()
    if form == "pointer":
        assert title.startswith(
            f"CKA: {size} x {size} values are too wide for {columns} columns; they are in out/tables"
        )
        assert lines == []
        return
    assert max(map(len, lines)) <= columns
    rows = [line.split() for line in lines if "block" in line][-size:]
    if form == "exact":
        assert title == "CKA"
        assert [row[1:] for row in rows] == [[text(value) for value in row] for row in values.to_numpy()]
    else:
        assert title == "CKA, in hundredths; columns by their number, all digits in out/tables/cka.csv"
        assert lines[0].split() == [str(place) for place in range(1, size + 1)]
        found = [[math.nan if cell == "–" else float(cell) / 100 for cell in row[2:]] for row in rows]
        np.testing.assert_allclose(found, values, atol=0.005001)


def test_the_columns_of_another_network_are_listed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    values = matrix(8)
    show_matrix(values, "CKA", "x.csv")
    assert "columns: " not in capsys.readouterr().out
    show_matrix(values.set_axis([f"long.name.{place}" for place in range(8)], axis=1), "CKA", "x.csv")
    assert capsys.readouterr().out.splitlines()[-1].startswith("columns: 1 long.name.0, 2 long.name.1, ")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (9999, "9999"),
        (524288, "524,288"),
        (524288.0, "524,288"),
        (170997.6, "170,998"),
        (1e9, "1e+09"),
        (10**9, "1000000000"),
        (1234.56, "1235"),
        (-20000.0, "-20,000"),
        (math.inf, "inf"),
        (math.nan, "–"),
        (None, "–"),
        (True, "True"),
        (np.float64(65536), "65,536"),
    ],
)
def test_numbers(value, shown):
    assert text(value) == shown
