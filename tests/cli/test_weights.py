"""`--weights` reaches every command that reads checkpoints."""

from __future__ import annotations

import json

import pytest
import torch

from cases import NETWORKS, module_of
from mixanalysis.checkpoints import open_checkpoint

NAMES = {
    ".token.norm.": ".norm1.",
    ".token.mlp.": ".mlp_tokens.",
    ".channel.norm.": ".norm2.",
    ".channel.mlp.": ".mlp_channels.",
}


@pytest.fixture(name="both", scope="module")
def _both(tmp_path_factory):
    """A training checkpoint of a Mixer in timm's names, with raw weights of a larger scale than the averaged ones."""
    state = {}
    for name, value in module_of(NETWORKS["mixer-square"]).state_dict().items():
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)  # noqa: PLW2901
        state[name] = value
    path = tmp_path_factory.mktemp("both") / "a.pth.tar"
    torch.save({"state_dict": {k: 3 * v for k, v in state.items()}, "state_dict_ema": state}, path)
    torch.save({"state_dict": state}, path.with_name("raw.pt"))
    return path


def test_inspect_says_which_weights_were_read(run, both):
    for weights, said in (
        ([], "state_dict_ema (averaged weights; the raw ones are in state_dict)"),
        (["--weights", "raw"], "state_dict (raw weights; the averaged ones are in state_dict_ema)"),
    ):
        assert json.loads(run("inspect", both, "--json", *weights).stdout)[0]["wrapper"] == said
        assert said in run("inspect", both, *weights).stdout


def test_the_spectrum_is_that_of_the_weights(run, both):
    sigmas = {}
    for weights in ("raw", "ema"):
        answer = run("spectrum", both, "--json", "--weights", weights, "-o", weights)
        sigmas[weights] = [row["s_max"] for row in json.loads(answer.stdout)["spectrum"]]
    assert sigmas["raw"] == pytest.approx([3 * sigma for sigma in sigmas["ema"]], rel=1e-5)


@pytest.mark.parametrize("command", ["inspect", "cka", "spectrum", "width", "report"])
def test_every_command_takes_the_option(run, both, command):
    answer = run(command, both.with_name("raw.pt"), "--weights", "ema")
    assert answer.code == 3
    assert "raw.pt: holds no averaged weights" in answer.error


def test_the_initialisation_is_read_with_the_same_weights(run, both):
    answer = run("spectrum", both, "--init", both.with_name("raw.pt"), "--weights", "ema")
    assert answer.code == 3
    assert "raw.pt: holds no averaged weights" in answer.error


def test_the_weights_that_are_asked_for_are_converted(run, both):
    for weights, factor in (("raw", 3), ("ema", 1)):
        assert run("convert", both, "-o", f"{weights}.safetensors", "--to", "own", "--weights", weights).code == 0
        written = open_checkpoint(run.folder / f"{weights}.safetensors").tensor("head.bias")
        assert torch.equal(written, factor * torch.load(both.with_name("raw.pt"))["state_dict"]["head.bias"])


def test_other_weights_are_a_usage_error(run, both):
    assert run("inspect", both, "--weights", "both").code == 2
