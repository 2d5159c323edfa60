"""What our own format promises is checked: every tensor there, none too many, each of its shape and kind."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from cases import NETWORKS, checkpoint_of
from checkpoints.rewriting import KEY, rewrite
from mixanalysis.errors import CheckpointError
from mixanalysis.families.loading import load


def without(*names):
    return lambda _, tensors: [tensors.pop(name) for name in names]


def tensor(name, change):
    return lambda _, tensors: tensors.update({name: change(tensors.get(name))})


def config(**values):
    return lambda description, _: description["config"].update(values)


def said(**values):
    return lambda description, _: description.update(values)


def dense_instead_of_masked(_, tensors):
    for part in ("values", "columns", "starts", "shape"):
        tensors.pop(f"blocks.0.mlp.fc1.weight.{part}")
    tensors["blocks.0.mlp.fc1.weight"] = torch.ones(60, 30)


HOLDS = "doesn't hold the {} that its mixanalysis layout describes: "

TENSORS = {
    "missing": (
        "mixer",
        without("blocks.1.channel.mlp.fc2.bias"),
        HOLDS + r"blocks\.1\.channel\.mlp\.fc2\.bias is missing$",
    ),
    "many missing": (
        "mixer",
        without("norm.weight", "norm.bias", "head.weight", "head.bias", "stem.proj.bias"),
        HOLDS + r"stem\.proj\.bias is missing; norm\.weight is missing; norm\.bias is missing, and 2 more$",
    ),
    "permutation missing": (
        "rp-mixer",
        without("blocks.0.token.mlp.fc1.perm_out"),
        HOLDS + r"blocks\.0\.token\.mlp\.fc1\.perm_out is missing$",
    ),
    "masked weight missing": (
        "sw-mlp",
        without(*(f"blocks.0.mlp.fc1.weight.{part}" for part in ("values", "columns", "starts", "shape"))),
        HOLDS + r"blocks\.0\.mlp\.fc1\.weight is missing$",
    ),
    "part of a masked weight missing": (
        "sw-mlp",
        without("blocks.0.mlp.fc1.weight.starts"),
        "holds tensors that its {} doesn't have: blocks.0.mlp.fc1.weight.columns, .*shape, .*values$",
    ),
    "extra": (
        "mixer",
        tensor("criterion.weight", lambda _: torch.ones(3)),
        r"holds tensors that its {} doesn't have: criterion\.weight$",
    ),
    "many extra": (
        "mixer",
        lambda _, tensors: tensors.update({f"extra.{letter}": torch.ones(1) for letter in "abcde"}),
        r"holds tensors that its {} doesn't have: extra\.a, extra\.b, extra\.c, and 2 more$",
    ),
    "misshaped": (
        "mixer",
        tensor("head.weight", lambda weight: weight[:, :4].clone()),
        HOLDS + r"head\.weight has shape 3 x 4, expected 3 x 5$",
    ),
    "transposed": (
        "s-mixer",
        tensor("stem.proj.weight", lambda weight: weight.transpose(0, 1).contiguous()),
        HOLDS + r"stem\.proj\.weight has shape 2 x 5 x 4 x 4, expected 5 x 2 x 4 x 4$",
    ),
    "scalar": (
        "mixer",
        tensor("head.bias", lambda _: torch.tensor(1.0)),
        HOLDS + r"head\.bias has shape scalar, expected 3$",
    ),
    "misshaped mask": (
        "sw-mlp",
        tensor("blocks.1.mlp.fc1.weight.shape", lambda _: torch.tensor([30, 60])),
        HOLDS + r"blocks\.1\.mlp\.fc1\.weight has shape 30 x 60, expected 60 x 30$",
    ),
    "integers for weights": (
        "mixer",
        tensor("head.weight", torch.Tensor.long),
        HOLDS + r"head\.weight holds int64, expected floating-point numbers$",
    ),
    "numbers for a permutation": (
        "rp-mixer",
        tensor("blocks.0.token.mlp.fc1.perm_in", torch.Tensor.float),
        HOLDS + r"blocks\.0\.token\.mlp\.fc1\.perm_in holds float32, expected integers$",
    ),
    "no permutation": (
        "rp-s-mixer",
        tensor("blocks.1.channel.mlp.fc1.perm_out", torch.zeros_like),
        HOLDS + r"blocks\.1\.channel\.mlp\.fc1\.perm_out is not a permutation$",
    ),
    "mask missing": (
        "sw-mlp",
        dense_instead_of_masked,
        r"holds without their masks weights of its {}: blocks\.0\.mlp\.fc1\.weight$",
    ),
}
"""A network, damage to its tensors, and what is said."""


@pytest.mark.parametrize(("name", "damage", "match"), TENSORS.values(), ids=TENSORS)
def test_tensors_that_do_not_fit_are_refused(tmp_path, name, damage, match):
    path = rewrite(checkpoint_of(NETWORKS[name], tmp_path / "a.safetensors"), damage)
    with pytest.raises(CheckpointError, match=rf"a\.safetensors: {match.format(name)}"):
        load(path)


TOO_LARGE = "its config has sizes that no {} can have$"

DESCRIPTIONS = {
    "unknown family": (
        "mixer",
        said(family="transformer"),
        "unknown family 'transformer'; known are mixer, rp-mixer, s-mixer, rp-s-mixer, sw-mlp, mlp, ",
    ),
    "no family": ("mixer", said(family=None), "unknown family None; known are mixer, "),
    "family of a strange kind": ("mixer", said(family=["mixer"]), r"unknown family \['mixer'\]; known are mixer, "),
    "another family": (
        "mixer",
        said(family="rp-mixer"),
        "says that it is a rp-mixer, but its config is that of a mixer$",
    ),
    "later version": ("mixer", said(format=2), "has version 2 of the format, not 1; update mixanalysis$"),
    "no version": ("mixer", said(format=None), "has version None of the format, not 1; update mixanalysis$"),
    "no training record": ("mixer", said(training=None), "damaged metadata: its metadata are not a table$"),
    "config not a table": ("mixer", said(config=[1]), "config must be a table of names and values, got list$"),
    "unknown key": ("mixer", config(dropout=0.1), "config of MixerConfig: unknown dropout$"),
    "missing key": (
        "s-mixer",
        lambda description, _: description["config"].pop("tokens"),
        "config of SMixerConfig: missing tokens$",
    ),
    "wrong type": ("mixer", config(channels="5"), "config.channels must be int, got '5'$"),
    "a number too exact": ("mixer", config(channels=5.0), r"config.channels must be int, got 5\.0$"),
    "a truth for a number": ("mixer", config(depth=True), "config.depth must be int, got True$"),
    "unknown choice": (
        "mixer",
        config(gelu="relu"),
        "config.gelu must be one of 'erf', 'tanh', 'identity', got 'relu'$",
    ),
    "nested": ("mixer", config(patches={"height": 8}), "config.patches of Patches: missing channels, size, width$"),
    "patches": (
        "mixer",
        config(patches={"height": 8, "width": 12, "channels": 2, "size": 5}),
        "patches of 5 pixels don't divide an image of 8 x 12$",
    ),
    "out of range": ("sw-mlp", config(density=1.5), r"density must be in \(0, 1\], got 1\.5$"),
    "tiny": ("sw-mlp", config(density=1e-320), TOO_LARGE),
    "depth zero": ("mixer", config(depth=0), "depth must be at least 1, got 0$"),
    "absurd depth": ("mixer", config(depth=1000), "its config has more blocks than the file has tensors$"),
    "absurd width": (
        "mixer",
        config(channels=10**6),
        HOLDS + r"stem.proj.weight has shape 5 x 2 x 4 x 4, expected 1000000 x 2",
    ),
    "impossible width": ("sw-mlp-fc-exact", config(size=10**12), "its config has sizes that no sw-mlp can have$"),
    "width beyond integers": ("rp-mixer", config(channels=10**30), TOO_LARGE),
    "negative classes": ("mixer", config(classes=-3), TOO_LARGE),
    "not a number": ("mixer", config(norm_eps=float("nan")), "damaged metadata: NaN is not a JSON number$"),
}
"""A network, a change of its description, and what is said."""


@pytest.mark.parametrize(("name", "damage", "match"), DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_descriptions_that_make_no_sense_are_refused(tmp_path, name, damage, match):
    path = rewrite(checkpoint_of(NETWORKS[name], tmp_path / "a.safetensors"), damage)
    with pytest.raises(CheckpointError, match=rf"a\.safetensors: {match.format(name)}"):
        load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '"mixer"', "{}"])
def test_metadata_that_are_no_table_are_refused(tmp_path, text):
    path = checkpoint_of(NETWORKS["mixer"], tmp_path / "a.safetensors")
    save_file(load_file(path), path, metadata={KEY: text})
    with pytest.raises(CheckpointError, match=r"a\.safetensors: damaged metadata: "):
        load(path)


def test_numbers_that_are_whole_may_stand_for_exact_ones(tmp_path):
    path = checkpoint_of(NETWORKS["mlp"], tmp_path / "a.safetensors")
    assert json.dumps(1.0) != json.dumps(1)
    rewrite(path, config(density=1))
    assert load(path).config == NETWORKS["mlp"]
