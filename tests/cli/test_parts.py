"""`--key`, `--prefix` and `--zeros-are-masked` reach every command that reads checkpoints."""

from __future__ import annotations

import json

import pytest
import torch

from families.test_timm_mixer import SIZES, timm_state


@pytest.fixture(name="both")
def _both(tmp_path):
    """Two Mixers in one table under an unknown key, the second of twice the scale and half of its weights zero."""
    state = timm_state(**SIZES["unequal"])
    halved = {name: 2 * value for name, value in state.items()}
    for value in halved.values():
        if value.ndim == 2:
            value.view(-1)[::2] = 0
    tables = {"student": state, "teacher": halved}
    path = tmp_path / "both.pt"
    torch.save(
        {"mine": {f"{one}.{name}": value for one, table in tables.items() for name, value in table.items()}}, path
    )
    return path


PART = ("--key", "mine", "--prefix", "teacher")


def test_inspect_takes_the_part_that_is_named(run, both):
    answer = run("inspect", both)
    assert answer.code == 3
    assert "choose one of its tables by key: mine (60 tensors)" in answer.error
    (dense,) = json.loads(run("inspect", both, "--json", *PART).stdout)
    assert dense["layout"] == "timm-mixer"
    assert dense["wrapper"] == "mine > teacher."
    (pruned,) = json.loads(run("inspect", both, "--json", *PART, "--zeros-are-masked").stdout)
    assert pruned["density"] == pytest.approx(dense["density"] / 2, rel=0.05)


def test_the_spectrum_is_that_of_the_part(run, both):
    sigmas = {}
    for one in ("student", "teacher"):
        answer = run("spectrum", both, "--json", "--key", "mine", "--prefix", one, "-o", one)
        sigmas[one] = [row["s_max"] for row in json.loads(answer.stdout)["spectrum"]]
    assert sigmas["student"] != sigmas["teacher"]


@pytest.mark.parametrize("command", ["inspect", "cka", "spectrum", "width", "report", "features"])
def test_every_command_takes_the_options(run, both, command):
    for options, code, error in (
        ((), 3, "holds no table of named tensors"),
        (("--key", "yours"), 2, "there is no table under the key 'yours'"),
        (("--key", "mine", "--prefix", "pupil"), 2, "no tensor's name begins with pupil."),
    ):
        answer = run(command, both, *options)
        assert answer.code == code
        assert error in answer.error


def test_a_user_s_own_network_takes_the_part_too(run, both, tmp_path):
    (tmp_path / "part_nets.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(3, 2)\n")
    torch.save({"mine": {"a.weight": torch.ones(2, 3), "a.bias": torch.ones(2), "b": torch.ones(2)}}, tmp_path / "c.pt")
    answer = run("cka", "c.pt", "--model", "part_nets:net", "--key", "mine", "--prefix", "a", "--dry-run")
    assert answer.code == 0, answer.error
    answer = run("cka", "c.pt", "--model", "part_nets:net", "--key", "mine", "--dry-run")
    assert "its tensors aren't those of part_nets:net" in answer.error
