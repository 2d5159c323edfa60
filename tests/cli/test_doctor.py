"""`doctor`: what is installed, and whether it computes what it should."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from mixanalysis.runs import selfcheck


def test_for_reading(run):
    answer = run("doctor")
    assert (answer.code, answer.stderr) == (0, "")
    lines = answer.stdout.splitlines()
    assert f"torch        {torch.__version__}" in lines
    assert "output reports: can be written to" in lines
    assert sum(line.endswith("True ") for line in lines) == len(selfcheck.CHECKED)
    assert list(run.folder.iterdir()) == []


def test_as_json(run):
    answer = run("doctor", "--json")
    found = json.loads(answer.stdout)
    assert (answer.code, answer.stderr, found["ok"]) == (0, "", True)
    assert set(found) == {"versions", "machine", "extras", "output", "checks", "ok"}
    assert found["output"] == {"path": "reports", "problem": ""}


def test_a_check_that_fails(run, monkeypatch):
    monkeypatch.setattr("mixanalysis.runs.selfcheck.linear_cka", lambda _x, _y: 0.0)
    answer = run("doctor", "--json")
    assert (answer.code, json.loads(answer.stdout)["ok"]) == (5, False)
    assert answer.stderr == "mixanalysis: error: failed: CKA of features with themselves, turned and scaled\n"


def test_a_folder_that_can_not_be_written_to(run):
    Path("out").touch()
    answer = run("doctor", "-o", "out/x")
    assert answer.code == 5
    assert answer.stderr == "mixanalysis: error: failed: out/x can't be written to: out is a file\n"
