"""`convert` and `--assume` on the command line."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from families.naive_mixers import PROJECTS, SIZES
from mixanalysis.families.loading import load

PATCHER = PROJECTS["jaketae"]


@pytest.fixture(name="foreign")
def _foreign(tmp_path):
    """A timm Mixer on images that are not square, float32."""
    state = {name: value.float() for name, value in PROJECTS["timm"].state(SIZES["not square"]).items()}
    save_file(state, tmp_path / "timm.safetensors")
    return tmp_path / "timm.safetensors"


def test_convert_writes_a_checked_file(run, foreign):
    answer = run("convert", foreign, "--to", "own", "-o", "out/own.safetensors", "--assume", "image=4x6")
    assert answer.code == 0, answer.stderr
    assert answer.stdout.splitlines() == [
        "file      out/own.safetensors",
        "layout    mixanalysis",
        "checked   read again, it has the same configuration, tensors and logits",
        "not told  nothing: it loads as it is",
    ]
    own = load("out/own.safetensors")
    assert torch.equal(own.module().head.weight, load(foreign, assume={"image": "4x6"}).module().head.weight)
    answer = run("convert", "out/own.safetensors", "--to", "timm", "-o", "out/timm.pt", "--json")
    assert json.loads(answer.stdout) == {"path": "out/timm.pt", "layout": "timm-mixer", "untold": {"image": "4x6"}}
    answer = run("convert", "out/own.safetensors", "--to", "timm", "-o", "out/timm.pt", "--force")
    assert answer.stdout.splitlines()[-1] == "not told  --assume image=4x6 (needed on loading)"


def test_convert_replaces_a_file_only_by_force(run, foreign):
    (run.folder / "own").write_text("mine")
    arguments = ("convert", foreign, "--to", "own", "-o", "own", "--assume", "image=4x6")
    answer = run(*arguments)
    assert (answer.code, answer.error) == (2, "own: is there already; --force replaces it")
    assert (run.folder / "own").read_text() == "mine"
    assert run(*arguments, "--force").code == 0
    assert load(run.folder / "own").family == "mixer"


def test_convert_says_what_it_would_do(run, foreign):
    answer = run("convert", foreign, "--to", "timm", "-o", "b.pt", "--dry-run", "--assume", "image=4x6")
    assert answer.stdout == f"b.pt: the mixer of {foreign} as timm\n"
    assert run.files() == ["timm.safetensors"]


def test_convert_refuses_what_it_can_not_write(run):
    save_file(PATCHER.state(SIZES["unequal"]), run.folder / "a.safetensors")
    answer = run("convert", "a.safetensors", "--to", "timm", "-o", "b.safetensors")
    assert answer.code == 2
    assert answer.error == "a.safetensors: timm can't express a network without final LayerNorm"


def test_inspect_tells_what_was_assumed(run, foreign):
    answer = run("inspect", foreign, "--assume", "image=4x6", "--assume", "gelu=tanh")
    (line,) = [line for line in answer.stdout.splitlines() if line.startswith("assumed")]
    assert line.split(maxsplit=1)[1] == (
        "gelu tanh, image 4 x 6 (as you say); norm_eps 1e-06, pooling mean (as this layout is)"
    )
    (found,) = json.loads(run("inspect", foreign, "--assume", "image=4x6", "--json").stdout)
    assert found["assumed"]["image"] == {"value": [4, 6], "source": "user"}
    assert found["assumed"]["gelu"] == {"value": "erf", "source": "layout"}


WRONG = {
    "no value": (["--assume", "gelu"], "--assume must be NAME=VALUE, such as gelu=tanh, got 'gelu'"),
    "twice": (["--assume", "gelu=erf", "--assume", "gelu=tanh"], "--assume gelu is given twice"),
    "unknown": (["--assume", "eps=1"], "unknown assumption 'eps'; known are gelu (erf or tanh or identity); norm_eps"),
    "impossible": (["--assume", "gelu=relu"], "assumed gelu must be erf or tanh or identity, got 'relu'"),
}
"""Options, and how the error begins."""


@pytest.mark.parametrize("command", ["inspect", "cka", "spectrum", "width", "report"])
def test_every_command_reads_assumptions(run, foreign, command):
    for arguments, message in WRONG.values():
        answer = run(command, foreign, *arguments)
        assert answer.code == 2
        assert answer.error.startswith(message)
    dry = [] if command == "inspect" else ["--dry-run"]
    answer = run(command, foreign, "--assume", "image=4x6", *dry)
    assert answer.code == 0, answer.stderr
    answer = run(command, foreign, "--assume", "image=5x5", *dry)
    assert "patches of 2 pixels don't divide an image of 5 x 5" in answer.error
