"""Two output folders: what differs is found, where it is, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from mixanalysis.errors import ReportError
from mixanalysis.results import records
from mixanalysis.runs import Invocation, opened
from mixanalysis.runs.diff import compare, compare_tables, overview
from mixanalysis.runs.manifest import Manifest
from mixanalysis.width import WIDTH_POINTS


def table(**columns):
    return pd.DataFrame(columns, dtype=str)


BEFORE = table(network=["a", "a", "b"], layer=["0", "1", "0"], value=["0.5", "0.25", ""], note=["x", "y", "z"])

CASES = {
    "equal": (BEFORE, []),
    "rows in another order": (BEFORE.iloc[::-1], []),
    "columns in another order": (BEFORE[BEFORE.columns[::-1]], []),
    "another spelling of a number": (BEFORE.assign(value=["5e-1", "0.250", ""]), []),
    "another spelling of a key": (BEFORE.assign(layer=["0.0", "1.0", "0"]), []),
    "a number": (BEFORE.assign(value=["0.5", "0.5", ""]), [("changed", "a 1", "value", "0.25", "0.5", 0.25)]),
    "a number that was undefined": (
        BEFORE.assign(value=["0.5", "0.25", "0"]),
        [("changed", "b 0", "value", "", "0", None)],
    ),
    "text": (BEFORE.assign(note=["x", "Y", "z"]), [("changed", "a 1", "note", "y", "Y", None)]),
    "a row less": (BEFORE.iloc[:2], [("only in a", "b 0", "", "", "", None)]),
    "a row more": (
        pd.concat([BEFORE, table(network=["c"], layer=["0"], value=["1"], note=[""])]),
        [("only in b", "c 0", "", "", "", None)],
    ),
    "a row twice": (pd.concat([BEFORE, BEFORE.iloc[:1]]), [("only in b", "a 0 #2", "", "", "", None)]),
    "a column less": (BEFORE.drop(columns="note"), [("only in a", "", "note", "", "", None)]),
    "a column more": (BEFORE.assign(more="1"), [("only in b", "", "more", "", "", None)]),
    "no rows": (BEFORE.iloc[:0], [("only in a", key, "", "", "", None) for key in ("a 0", "a 1", "b 0")]),
}


@pytest.mark.parametrize(("after", "found"), CASES.values(), ids=CASES)
def test_what_two_tables_differ_in(after, found):
    assert [tuple(row.values()) for row in compare_tables(BEFORE, after, ["network", "layer"])] == found


def test_it_changes_sides_with_its_tables():
    after = CASES["a number"][0].iloc[1:].assign(more="1")
    there = list(compare_tables(BEFORE, after, ["network", "layer"]))
    back = list(compare_tables(after, BEFORE, ["network", "layer"]))
    swap = {"only in a": "only in b", "only in b": "only in a", "changed": "changed"}
    turned = [
        row
        | {"kind": swap[row["kind"]], "a": row["b"], "b": row["a"]}
        | {"difference": None if row["difference"] is None else -row["difference"]}
        for row in there
    ]
    assert sorted(map(str, turned)) == sorted(map(str, back))
    assert len(there) == 3


def test_rows_without_keys_go_by_their_order():
    (found,) = compare_tables(table(x=["1", "2"]), table(x=["1", "3"]))
    assert (found["row"], found["a"], found["b"]) == ("#2", "2", "3")


@pytest.mark.parametrize(
    ("x", "y", "tolerance", "equal"),
    [
        (1.0, 1.0 + 2**-52, 0.0, False),
        (1.0, 1.0 + 2**-52, 1e-15, True),
        (0.001, 0.002, 1e-3, True),
        (0.001, 0.0021, 1e-3, False),
        (1000.0, 1001.0, 1e-3, True),
        (1000.0, 1002.1, 1e-3, False),
        (-1.0, 1.0, 1.0, False),
        (np.inf, np.inf, 0.0, True),
        (np.inf, 1.0, 0.5, False),
        (np.inf, -np.inf, 0.5, False),
    ],
)
def test_tolerance_is_absolute_below_one_and_relative_above(x, y, tolerance, equal):
    found = list(compare_tables(table(x=[repr(x)]), table(x=[repr(y)]), [], tolerance))
    assert (not found) == equal


def folder(out, **changes):
    """An output folder with a table, a note, and whatever else is said."""
    parameters = {"limit": 5, "output": str(out), "json": False, "checkpoints": ["x.pt"]}
    with opened(out, Invocation("width", (), parameters | changes.get("parameters", {}))) as made:
        row = {"network": "net", "family": "mlp", "width": 3, "density": 1.0, "expansion": 2.0, "omega": 18.0}
        rows = [row | {"widest_mixer": changes.get("widest", 4.5)}]
        made.table("width_points", WIDTH_POINTS.frame(rows))
        if changes.get("more"):
            made.table("more", pd.DataFrame({"x": [1]}))
        made.path("notes.txt").write_text(changes.get("note", "hello"))
    path = out / "manifest.json"
    content = json.loads(path.read_text())
    content["inputs"] = [{"label": "net", "path": "x.pt", "sha256": "0" * 64} | changes.get("input", {})]
    content |= changes.get("content", {})
    path.write_text(json.dumps(content))
    return Manifest.read(out)


VERSIONS = {"python": "3.0", "numpy": "1.0"}

FOLDERS = {
    "nothing": ({}, []),
    "where a file lies": ({"input": {"path": "y.pt"}, "parameters": {"checkpoints": ["y.pt"]}}, []),
    "how it is shown": ({"parameters": {"json": True, "quiet": True}}, []),
    "a parameter": ({"parameters": {"limit": 6}}, [("parameters", "changed", "limit", "", "5", "6", 1)]),
    "a new parameter": ({"parameters": {"tol": 6}}, [("parameters", "only in b", "tol", "", "", "", None)]),
    "another command": (
        {"content": {"command": "cka"}},
        [("parameters", "changed", "command", "", "width", "cka", None)],
    ),
    "an input": (
        {"input": {"sha256": "1" * 64}},
        [("inputs", "changed", "net", "sha256", "0" * 64, "1" * 64, None)],
    ),
    "what was assumed": (
        {"input": {"assumed": {"gelu": {"value": "tanh", "source": "user"}}}},
        [("inputs", "changed", "net", "assumed", "", "gelu value tanh, source user", None)],
    ),
    "another label": (
        {"input": {"label": "mesh"}},
        [("inputs", "only in a", "net", "", "", "", None), ("inputs", "only in b", "mesh", "", "", "", None)],
    ),
    "data": (
        {"content": {"data": {"fingerprint": "f"}}},
        [("data", "only in b", "fingerprint", "", "", "", None)],
    ),
    "a version": ({"content": {"mixanalysis": "9"}}, [("versions", "changed", "mixanalysis", "", "0.1.0", "9", None)]),
    "another file": ({"note": "hi"}, [("files", "changed", "notes.txt", "", None, None, None)]),
    "another table": ({"more": True}, [("files", "only in b", "tables/more.csv", "", "", "", None)]),
    "a number": ({"widest": 5.0}, [("width_points", "changed", "net", "widest_mixer", "4.5", "5.0", 0.5)]),
}


@pytest.mark.parametrize(("changes", "found"), FOLDERS.values(), ids=FOLDERS)
def test_what_two_folders_differ_in(tmp_path, changes, found):
    a, b = folder(tmp_path / "a"), folder(tmp_path / "b", **changes)
    frame = compare(a, b)
    rows = [tuple(row.values()) for row in records(frame)]
    if found and found[0][0] == "files" and found[0][1] == "changed":
        digests = [manifest.outputs["notes.txt"] for manifest in (a, b)]
        found = [(*found[0][:4], *digests, None)]
    assert rows == found
    tables_only = compare(a, b, tables_only=True)
    assert list(tables_only["part"]) == [row[0] for row in found if row[0] == "width_points"]
    assert len(compare(a, b, 1.0, tables_only=True)) == 0


def test_two_inputs_of_one_label(tmp_path):
    twice = [{"label": "net", "path": name, "sha256": name * 32} for name in ("aa", "bb")]
    a = folder(tmp_path / "a", content={"inputs": twice})
    b = folder(tmp_path / "b", content={"inputs": [twice[0], twice[1] | {"sha256": "c" * 64}]})
    frame = compare(a, b)
    assert list(frame["row"]) == ["net #2"]


def test_an_overview_counts(tmp_path):
    frame = compare(folder(tmp_path / "a"), folder(tmp_path / "b", widest=5.0, parameters={"limit": 6, "seed": 1}))
    assert overview(frame).to_numpy().tolist()[:1] == [["parameters", "changed", "", 1, 1.0]]
    assert list(overview(frame)["count"]) == [1, 1, 1]
    assert overview(frame).iloc[-1]["largest"] == 0.5


def test_a_table_that_is_gone(tmp_path):
    a, b = folder(tmp_path / "a"), folder(tmp_path / "b")
    (b.folder / "tables" / "width_points.csv").unlink()
    with pytest.raises(ReportError, match=r"width_points\.csv: listed in the manifest, but not a readable table: "):
        compare(a, b)


def test_a_table_elsewhere(tmp_path):
    (tmp_path / "secret.csv").write_text("x\n1\n")
    outputs = {"tables/../../secret.csv": "0"}
    a, b = (folder(tmp_path / name, content={"outputs": outputs}) for name in "ab")
    with pytest.raises(ReportError, match=r"secret\.csv: listed in the manifest, but outside of its folder$"):
        compare(a, b)
