"""`expand` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cases import NETWORKS, checkpoint_of
from mixanalysis.checkpoints import open_checkpoint
from mixanalysis.families.loading import load
from mixanalysis.families.wide_sparse_mlp.expansion import Expansion

COMMANDS = {
    "inspect": (),
    "cka": ("--limit", 64, "--data", "noise"),
    "spectrum": (),
    "width": (),
    "report": ("--limit", 64, "--data", "noise", "--quiet"),
}


def test_it_writes_a_checked_file(run, networks):
    answer = run("expand", networks["rp-mixer"], "-o", "out/wide.safetensors")
    assert (answer.code, answer.stderr) == (0, "")
    names, values = zip(*(line.split("  ", 1) for line in answer.stdout.splitlines()), strict=True)
    assert [name.strip() for name in names] == ["file", "connections", "checked"]
    assert [value.strip() for value in values[:2]] == ["out/wide.safetensors", "3,840, which take 34.9 KiB"]
    assert values[2].strip().startswith("logits differ by at most ")
    assert values[2].endswith(" on 8 random images")
    assert run.files() == ["out/wide.safetensors"]
    assert load("out/wide.safetensors").family == "wide-sparse-mlp"


def test_as_json(run, networks):
    found = json.loads(run("expand", networks["mixer"], "-o", "wide.safetensors", "--json", "--seed", 3).stdout)
    assert found.pop("difference") < 1e-5
    assert found == {"path": "wide.safetensors", "connections": 1280, "bytes": 12736, "images": 8}
    dry = json.loads(run("expand", networks["mixer"], "-o", "other.safetensors", "--json", "--dry-run").stdout)
    assert (dry["difference"], dry["bytes"]) == (None, 12736)
    assert run.files() == ["wide.safetensors"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_what_it_writes(run, networks, command):
    assert run("expand", networks["rp-mixer"], "-o", "wide.safetensors").code == 0
    originals = () if command == "report" else (networks["rp-mixer"],)
    answer = run(command, *originals, "wide.safetensors", *COMMANDS[command])
    assert (answer.code, answer.exception) == (0, None), answer.stderr
    assert answer.stdout


def test_inspect_says_where_it_came_from(run, networks):
    run("expand", networks["rp-mixer"], "-o", "wide.safetensors")
    answer = run("inspect", "wide.safetensors")
    lines = dict(line.split("  ", 1) for line in answer.stdout.splitlines() if line[:1].strip() and "  " in line)
    assert lines["family"].strip() == "wide-sparse-mlp"
    assert "blocks 4, embedding True" in lines["config"]
    assert lines["blocks"].strip() == "0.token, 0.channel, 1.token, 1.channel"
    assert lines["training"].strip() == "epochs 1, seed 0"
    assert "family rp-mixer, file rp-mixer.safetensors" in lines["expanded from"]
    assert open_checkpoint(networks["rp-mixer"]).sha256 in lines["expanded from"]
    (found,) = json.loads(run("inspect", "wide.safetensors", "--json").stdout)
    assert found["training"]["expanded_from"]["family"] == "rp-mixer"
    assert [block["hidden"] for block in found["config"]["blocks"]] == [45, 90, 45, 90]


def test_inspect_of_a_network_without_a_record(run):
    path = checkpoint_of(NETWORKS["mixer"], run.folder / "a.safetensors")
    run("convert", path, "--to", "timm", "-o", "b.safetensors")
    assert run("expand", "b.safetensors", "-o", "c.safetensors", "--assume", "image=8x12").code == 0
    answer = run("inspect", "c.safetensors")
    assert "\ntraining         no record\n" in answer.stdout
    assert "layout timm-mixer" in answer.stdout


def test_a_file_is_replaced_only_by_force(run, networks):
    Path("wide").write_text("mine")
    answer = run("expand", networks["mixer"], "-o", "wide")
    assert (answer.code, answer.error) == (2, "wide: is there already; --force replaces it")
    assert Path("wide").read_text() == "mine"
    assert run("expand", networks["mixer"], "-o", "wide", "--force").code == 0
    assert load("wide").family == "wide-sparse-mlp"


REFUSED = {
    "limit": (("--max-bytes", "2^10"), "connections, which take 12.4 KiB; the limit is 1.0 KiB, see --max-bytes"),
    "no number": (("--max-bytes", "much"), "--max-bytes must be a number such as 1e8 or 2^19, got 'much'"),
    "layout": (("--layout", "keras"), "unknown layout 'keras'"),
}


@pytest.mark.parametrize(("options", "said"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_done(run, networks, options, said):
    answer = run("expand", networks["mixer"], "-o", "wide", *options)
    assert answer.code == 2
    assert said in answer.error
    assert run.files() == []


def test_an_expansion_is_no_finished_training(run, networks):
    run("expand", networks["mlp"], "-o", "wide.safetensors")
    answer = run("train", "mlp", "--epochs", 1, "--limit", 64, "-o", "wide.safetensors")
    assert answer.code == 2
    assert answer.error.startswith("wide.safetensors: already holds another training run")
    answer = run("train", "wide-sparse-mlp")
    assert (answer.code, answer.error.split(";")[0]) == (2, "a wide-sparse-mlp is read from checkpoints, not made anew")


def test_bad_checkpoints(run, bad):
    for name in ("nope.pt", "truncated.safetensors", "unknown.pt", "nan.safetensors"):
        answer = run("expand", bad / name, "-o", "wide")
        assert answer.code == 3
        assert answer.error.startswith(f"{bad / name}: ")
    assert run.files() == []


def test_a_check_that_fails(run, networks, monkeypatch):
    state = Expansion.state
    monkeypatch.setattr(Expansion, "state", lambda self: {name: value * 2 for name, value in state(self).items()})
    answer = run("expand", networks["sw-mlp"], "-o", "wide")
    assert answer.code == 5
    assert "its wide sparse MLP gives logits that differ by up to " in answer.error
    assert run.files() == []
