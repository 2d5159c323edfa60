"""What a file's record tells beside its tensors, and a line for what nothing tells."""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from families.naive_mixers import PROJECTS, SIZES
from hand_made import CASES
from mixanalysis.checkpoints import open_checkpoint
from mixanalysis.errors import AssumptionWarning
from mixanalysis.families.loading import load
from mixanalysis.network import Assumed
from mixanalysis_cli.app import app


def quietly(*args, **kwargs):
    """The network, where nothing is in doubt."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", AssumptionWarning)
        return load(*args, **kwargs)


def args(**values):
    return {"args": argparse.Namespace(**values)}


RECORDS = {
    "a name": ("asymmixer", {"arch": "asymmixer_s16"}),
    "arguments": ("asymmixer", args(model="asymmixer_s16", lr=0.1)),
    "a class and arguments": ("asymmixer", {"arch": "mlpmixer"} | args(model="asymmixer_s16")),
    "twice": ("asymmixer, all equal, twice", {"arch": "asymmixer_s16_ni2"}),
    "twice by an argument": (
        "paramixer, all equal, twice",
        {"arch": "paramixer_s16"} | args(model_kwargs={"n_iter": 2}),
    ),
    "three times": ("vanillamixer, three times", args(model="vanillamixer_s16_ni3_224")),
    "once": ("paramixer", args(model="paramixer_s16")),
    "symmetric": ("symmixer", {"arch": "symmixer_s16"}),
}


@pytest.mark.parametrize(("name", "beside"), RECORDS.values(), ids=RECORDS)
def test_a_recorded_model_is_that_model(name, beside, tmp_path):
    case = CASES[name]
    torch.save({"epoch": 3, "state_dict": case.state} | beside, tmp_path / "a.pt")
    network = quietly(tmp_path / "a.pt")
    torch.testing.assert_close(network.module()(case.images()), case.logits(case.images()), rtol=0, atol=1e-9)
    assert network.provenance.assumed["iterations"].source == "file"


def test_a_folder_s_architecture_is_read(tmp_path):
    case = CASES["asymmixer"]
    save_file({name: value.contiguous() for name, value in case.state.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "asymmixer_s16", "num_classes": 4}))
    network = quietly(tmp_path)
    torch.testing.assert_close(network.module()(case.images()), case.logits(case.images()), rtol=0, atol=1e-9)


def test_the_user_s_word_counts_more(tmp_path):
    torch.save({"state_dict": CASES["paramixer"].state, "arch": "asymmixer_s16_ni2"}, tmp_path / "a.pt")
    network = quietly(tmp_path / "a.pt", assume={"mlp": "plain", "iterations": 1})
    assert network.provenance.assumed["mlp"] == Assumed("plain", "user")
    images = CASES["paramixer"].images()
    torch.testing.assert_close(network.module()(images), CASES["paramixer"].logits(images), rtol=0, atol=1e-9)


UNTOLD = {
    "paramixer": ("paramixer", "paramixer layout assumes mlp plain, iterations 1;"),
    "symmixer": ("symmixer", "paramixer layout assumes iterations 1;"),
    "vanillamixer": ("vanillamixer", "vanillamixer layout assumes iterations 1;"),
    "permutator": ("permutator, segments of 8", "lucidrains-permutator layout assumes segments 8;"),
    "wide MLP": ("wide MLP", "wide-sparse-nets layout assumes activation relu, parametrisation standard;"),
    "MLP": ("MLP, Sequential", "mlp-chain layout assumes activation relu, and one layer behind another without skips;"),
    "MLP, norms told": (
        "MLP, batch norm last",
        "mlp-chain layout assumes activation relu, and one layer behind another",
    ),
    "MLP, norms untold": (
        "MLP, batch norm by name",
        "mlp-chain layout assumes activation relu, norms before-activation, unless numbers of modules tell, and",
    ),
}


@pytest.mark.parametrize(("name", "words"), UNTOLD.values(), ids=UNTOLD)
def test_what_nothing_tells_is_said(name, words, tmp_path):
    torch.save(CASES[name].state, tmp_path / "a.pt")
    with pytest.warns(AssumptionWarning, match=f"^a: its {words}.* outputs depend on it"):
        load(tmp_path / "a.pt", assume={name: value for name, value in CASES[name].assume.items() if name == "image"})


@pytest.mark.parametrize("project", ["timm", "rishikksh20"])
def test_a_project_whose_networks_are_all_alike_leaves_no_doubt(project, tmp_path):
    project = PROJECTS[project]
    torch.save(project.state(SIZES["unequal"]), tmp_path / "a.pt")
    quietly(tmp_path / "a.pt", assume={"image": SIZES["unequal"].image})


@pytest.mark.parametrize("image", [{}, {"image": "4x4"}])
def test_a_mixer_without_a_head_says_so(image, tmp_path):
    """Its outputs are features, and its image a square only because the number of patches is one."""
    square = replace(SIZES["unequal"], rows=2, columns=2, classes=0)
    torch.save(PROJECTS["auto-mixer"].state(square), tmp_path / "a.pt")
    height = 2 * square.patch
    assume = {"image": f"{height}x{height}"} if image else {}
    with pytest.warns(AssumptionWarning, match="has no classifier, so that its outputs are pooled features") as said:
        load(tmp_path / "a.pt", assume=assume)
    guessed = f"images of {height} x {height} pixels are assumed, as if they were square"
    assert (guessed in str(said[0].message)) == (not image)


def test_the_shell_says_it_once(tmp_path):
    torch.save(CASES["asymmixer"].state, tmp_path / "a.pt")
    path = str(tmp_path / "a.pt")
    result = CliRunner().invoke(app, ["inspect", path, path])
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("mixanalysis: a: its paramixer layout assumes mlp plain, iterations 1;")
    assert CliRunner().invoke(app, ["inspect", path, "--quiet"]).stderr == ""
    said = CliRunner().invoke(app, ["inspect", path, "--assume", "mlp=asymmetric", "--assume", "iterations=1"])
    assert said.stderr == ""


def test_the_record_holds_plain_values_once(tmp_path):
    inner = {"lr": 0.1, "state": {"deep": {"deeper": {"deepest": 1}}}}
    inner["self"] = inner
    torch.save({"state_dict": {"w": torch.ones(2, 2)}, "epoch": 3, "best": True, "args": inner}, tmp_path / "a.pt")
    assert open_checkpoint(tmp_path / "a.pt").record == {"epoch": 3, "best": True, "args.lr": 0.1}
