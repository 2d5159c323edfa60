"""What `--json` answers with is documented, for every command: its keys, and the columns of every table in it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from mixanalysis.papers import schemas
from mixanalysis.runs import opened
from mixanalysis.runs.schemas import SCHEMAS
from mixanalysis_cli.app import app
from mixanalysis_cli.schema import ANSWERS, DRY_RUN

RUNS = {
    "demo": ("demo",),
    "inspect": ("inspect", "mixer", "mlp"),
    "cka": ("cka", "mixer", "--limit", 64, "--measures", "procrustes"),
    "features": ("features", "mlp", "--limit", 64),
    "spectrum": ("spectrum", "mixer", "sw-mlp", "--shuffles", 1),
    "spectrum of unknown": ("spectrum", "unknown.pt"),
    "spectrum --sweep": ("spectrum", "--sweep", "--omega", "2^10", "--width", 64, "--seeds", 1),
    "width": ("width", "mixer", "--omega", "1e5"),
    "report": ("report", "mlp", "--limit", 64),
    "convert": ("convert", "mixer", "--to", "timm", "-o", "b.pt"),
    "expand": ("expand", "mixer", "-o", "wide.safetensors"),
    "reproduce": ("reproduce", "fig3"),
    "train": ("train", "s-mixer", "--epochs", 0, "--limit", 64),
    "rerun": ("rerun", "done"),
    "diff": ("diff", "done", "other"),
    "doctor": ("doctor",),
    "schema": ("schema",),
}
"""A command line for every command, and for every key that some choice brings."""

EVERY = SCHEMAS | schemas.tables()

FAILING = {"diff"}
"""Those that find a difference."""


@pytest.fixture(name="answer")
def _answer(run, networks, monkeypatch):
    """Run one of `RUNS` with more arguments, and read its JSON."""

    def demo(out, *, request, **_options):
        with opened(out, request):
            return out / "report.pdf"

    def strict(constant):
        raise AssertionError(f"{constant} in JSON")

    def answer(name, *more):
        import torch

        monkeypatch.setattr("mixanalysis.papers.hayase_2024.demo.run_demo", demo)
        torch.save({"a.weight": torch.randn(9, 7), "b.weight": torch.zeros(3, 3)}, "unknown.pt")
        if name in ("rerun", "diff"):
            assert run("width", networks["mixer"], "-o", "done").code == 0
            assert run("width", networks["mlp"], "-o", "other").code == 0
        arguments = [networks.get(str(word), word) if place else word for place, word in enumerate(RUNS[name])]
        result = run(*arguments, "--json", *more)
        assert result.code == (5 if name in FAILING else 0), result.stderr
        return json.loads(result.stdout, parse_constant=strict)

    return answer


def check(found, keys, name):
    """Keys are documented, and rows of a table are its schema's."""
    assert set(found) <= set(keys), f"{name}: undocumented"
    for key, value in found.items():
        named = re.match(r"rows of the table (\w+)", keys[key])
        for row in value if named else ():
            assert list(row) == [column.name for column in EVERY[named[1]].columns]


@pytest.mark.parametrize("name", RUNS)
def test_every_key_is_documented(answer, name):
    found = answer(name)
    keys = ANSWERS[RUNS[name][0]]
    for each in found if isinstance(found, list) else [found]:
        check(each, keys, name)
    rows = [value for each in (found if isinstance(found, list) else [found]) for value in each.values()]
    assert any(rows)


def test_every_documented_key_occurs(answer):
    """Of the commands whose answer is quick to have."""
    found = {**answer("spectrum"), **answer("spectrum --sweep")}
    assert set(found) == set(ANSWERS["spectrum"])
    for name in ("cka", "width", "convert", "reproduce", "expand", "doctor", "schema", "diff"):
        assert set(answer(name)) == set(ANSWERS[name]), name
        for path in ("b.pt", "wide.safetensors"):
            Path(path).unlink(missing_ok=True)
        for path in ("done", "other"):
            shutil.rmtree(path, ignore_errors=True)
    assert set(answer("inspect")[0]) == set(ANSWERS["inspect"])
    assert set(answer("report")) == set(ANSWERS["report"])


@pytest.mark.parametrize(
    "name", ["cka", "features", "spectrum", "spectrum --sweep", "width", "report", "train", "demo", "reproduce"]
)
def test_a_dry_run_is_documented(answer, name):
    found = answer(name, "--dry-run")
    check(found, DRY_RUN, name)
    assert set(found) == set(DRY_RUN)


def test_every_command_is_documented_and_has_json():
    names = {command.name for command in app.registered_commands}
    assert set(ANSWERS) == names == {arguments[0] for arguments in RUNS.values()}
    tables = {
        named
        for keys in [*ANSWERS.values(), DRY_RUN]
        for meaning in keys.values()
        for named in re.findall(r"rows of the table (\w+)", meaning)
    }
    assert tables <= set(EVERY)


class TestSchema:
    def test_all_names(self, run):
        answer = run("schema")
        assert (answer.code, answer.stderr) == (0, "")
        commands, tables = answer.stdout.splitlines()
        assert commands.split("  ")[1].split(", ") == list(ANSWERS)
        assert tables.split(maxsplit=1)[1].split(", ") == list(EVERY)

    def test_a_command_and_a_table_of_one_name(self, run):
        answer = run("schema", "cka")
        lines = answer.stdout.splitlines()
        assert lines[0] == "mixanalysis cka --json"
        assert "table cka, tables/cka.csv; a row is told by network_a, network_b, layer_a, layer_b" in lines
        told = [line.split()[0] for line in lines if line.startswith("  ")]
        assert told == [*ANSWERS["cka"], *(column.name for column in SCHEMAS["cka"].columns)]

    def test_units(self, run):
        lines = run("schema", "width_line").stdout.splitlines()
        assert lines[1].split(maxsplit=1) == ["omega", "fixed average connections of a layer, Omega [connections]"]

    def test_as_json(self, run):
        found = json.loads(run("schema", "width_line", "--json").stdout)
        assert found["answers"] == {}
        assert found["tables"]["width_line"]["keys"] == ["omega", "expansion", "width"]
        assert found["tables"]["width_line"]["columns"][0]["unit"] == "connections"

    def test_a_name_that_is_not_there(self, run):
        answer = run("schema", "widht")
        assert answer.code == 2
        assert answer.error.startswith("no command or table is called 'widht'; there are demo, ")
        assert answer.error.endswith(" (did you mean width?)")
