"""`mixanalysis reproduce` as a command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from papers.tiny import EXPERIMENTS, SPECS, TRAINING


@pytest.fixture(name="tiny")
def _tiny(monkeypatch):
    """The experiments at sizes that take no time."""
    for name, spec in SPECS.items():
        experiment = replace(EXPERIMENTS[name], presets=dict.fromkeys(("demo", "small", "paper"), spec))
        monkeypatch.setitem(EXPERIMENTS, name, experiment)


def test_a_figure_of_formulas(run):
    answer = run("reproduce", "fig3", "--omega", "2^19", "--omega", 1e6, "--gamma", "2", "-o", "out")
    assert (answer.code, answer.stderr) == (0, "")
    assert answer.stdout.splitlines()[-1] == "out/README.md"
    assert run.files("out") == [
        "README.md",
        "fig3/figures/fig3.png",
        "fig3/manifest.json",
        "fig3/settings.json",
        *(f"fig3/tables/{name}.csv" for name in ("paper_values", "width_channels", "width_line", "width_optima")),
    ]
    optima = pd.read_csv("out/fig3/tables/width_optima.csv")
    assert optima["width"].tolist() == pytest.approx([4096.0, 5e5 ** (2 / 3)])
    manifest = json.loads(Path("out/fig3/manifest.json").read_text(encoding="utf-8"))
    assert (manifest["command"], manifest["parameters"]["omega"]) == ("reproduce", ["2^19", "1000000.0"])


def test_unequal_expansions(run):
    answer = run("reproduce", "fig3", "--omega", 1000, "--gamma", "1, 4", "-o", "out", "--json")
    assert answer.code == 0
    assert json.loads(answer.stdout) == {"paper_claims": [], "paper_values": [], "failed": []}
    (row,) = pd.read_csv("out/fig3/tables/width_optima.csv").itertuples()
    assert row.tokens == pytest.approx(4 * row.channels)


def test_dry_run(run, tiny):
    answer = run("reproduce", "fig7", "figS4", "--dry-run", "--seeds", 1, "--limit", 64, "--jobs", 2)
    assert (answer.code, answer.stderr) == (0, "")
    lines = answer.stdout.splitlines()
    assert sum(" epochs, seed 0 " in line for line in lines) == 13
    assert any(line.strip().startswith("fig7: mixer S 4, C 4, depth 1, digits, 2 epochs, seed 0 ") for line in lines)
    assert lines[-2].startswith("estimate: about ")
    assert lines[-1] == (
        "reports/reproduce: README.md and the folders fig7, figS4; 0 runs are finished, 2 at once for others"
    )
    assert run.files() == []


def test_runs_are_kept_and_shared(run, tiny):
    first = run("reproduce", "fig5", "--limit", 64, "--seeds", 2, "-o", "a", "--runs", "runs")
    assert (first.code, first.stderr) == (0, "")
    assert "At fixed Ω a wider network is better, up to S = C" in first.stdout
    finished = run.files("runs")
    options = ("--limit", 64, "--seeds", 2, "--runs", "runs", "--dry-run", "--json")
    found = json.loads(run("reproduce", "fig6", "fig5", *options).stdout)
    assert f"; {len(finished)} runs are finished, " in found["outputs"]
    # of both families and seeds, those with C > S
    assert [row["network"].partition(":")[0] for row in found["plan"]] == ["fig6"] * 4 + [""]
    assert found["estimate"]["operations"] == sum(row["operations"] for row in found["plan"]) > 0


def test_failed_runs_are_said_at_the_end(run, tiny, monkeypatch):
    broken = replace(TRAINING, optimizer="sgd", lr=1e30, epochs=1)
    spec = replace(SPECS["fig2d"], training=broken, seeds=(0,))
    monkeypatch.setitem(EXPERIMENTS, "fig2d", replace(EXPERIMENTS["fig2d"], presets={"demo": spec}))
    answer = run("reproduce", "fig2d", "--limit", 64, "-o", "out")
    assert answer.code == 5
    (line,) = answer.stderr.splitlines()
    assert line.startswith(
        "mixanalysis: error: 2 runs failed, the others are done; the first is monarch-mlp m 256, digits, 1 epochs, "
        "seed 0: CheckFailedError: the loss is no longer finite in epoch 0"
    )
    runs = pd.read_csv("out/fig2d/tables/paper_runs.csv")
    assert runs["status"].tolist() == ["failed", "failed"]
    assert "Failed runs, left out of every mean:" in Path("out/README.md").read_text(encoding="utf-8")
    answer = run("reproduce", "fig2d", "--limit", 64, "-o", "out", "--json")
    assert answer.code == 5
    found = json.loads(answer.stdout)
    assert len(found["failed"]) == 2
    assert found["paper_claims"][0]["verdict"] == "can't be told"


WRONG = {
    "figure": (
        ("fig9",),
        "unknown 'fig9'; known are fig2, fig2d, fig3, fig4, fig5, fig6, fig7, figS1, figS4, ",
    ),
    "omega": (("fig3", "--omega", "many"), "--omega must be a number such as 1e8 or 2^19, got 'many'"),
    "gamma": (("fig3", "--omega", "9", "--gamma", "1,x"), "--gamma must be a number such as 1e8 or 2^19, got 'x'"),
    "negative gamma": (("fig3", "--omega", "9", "--gamma", "-1"), "an expansion must be a positive number"),
    "scale": (("fig3", "--scale", "large"), "Invalid value for '--scale': "),
    "data of the paper": (
        ("fig2", "--scale", "paper"),
        "--scale paper needs the paper's data: fig2 --data cifar10:DIR",
    ),
    "device": (("fig7", "--device", "cuda:99"), "--device cuda:99: not available here: "),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(run, arguments, said):
    answer = run("reproduce", *arguments, "-o", "out")
    assert answer.code == 2
    assert said in answer.error
    assert run.files() == []


def test_data_that_are_not_there(run):
    answer = run("reproduce", "fig2d", "--data", "mnist:nowhere", "-o", "out")
    assert answer.code == 3
    assert "nowhere" in answer.error
