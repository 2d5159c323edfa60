"""Conversion there and back is bit-equal; what a layout can't express is refused, what tensors don't tell is said."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cases import NETWORKS, checkpoint_of
from families.naive_mixers import PROJECTS, SIZES
from mixanalysis.checkpoints import save_checkpoint
from mixanalysis.errors import CheckFailedError, CheckpointError, UsageError
from mixanalysis.families import convert as convert_module
from mixanalysis.families.convert import convert
from mixanalysis.families.loading import load
from mixanalysis.families.mixer.network import MixerConfig
from mixanalysis.families.mixer.targets import TARGETS
from mixanalysis.network import Patches

PLAIN = {name: project for name, project in PROJECTS.items() if project.norm and project.stem_bias}
"""Projects whose Mixer is the one that timm and Flax have."""

SUFFIX = {"timm": ".safetensors", "flax": ".npz", "own": ".safetensors"}


def stored(path, state):
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


def bits(network):
    """The state, in which floats are compared bit by bit."""
    return {name: (value.dtype, value.numpy().tobytes()) for name, value in network.module().state_dict().items()}


@pytest.mark.parametrize("size", ["all equal", "not square"])
@pytest.mark.parametrize("project", PLAIN.values(), ids=PLAIN)
def test_there_and_back_is_bit_equal(tmp_path, project, size):
    size = SIZES[size]
    state = {name: value.float() for name, value in project.state(size).items()}
    assume = {} if size.rows == size.columns else {"image": size.image}
    network = first = load(stored(tmp_path / "0.safetensors", state), assume=assume)
    files = []
    for number, to in enumerate(["own", "timm", "own", "flax", "own", "timm", "own"]):
        path = tmp_path / f"{number + 1}{SUFFIX[to]}"
        written = convert(network, path, to)
        network = load(path, assume=written.untold)
        assert network.provenance.layout == written.layout
        assert network.config == first.config
        assert bits(network) == bits(first)
        files.append((to, path.read_bytes()))
    for to in SUFFIX:
        assert len({content for layout, content in files if layout == to}) <= 1
    images = project.images(size).float()
    expected = project.logits({name: value.double() for name, value in state.items()}, size, images.double())
    torch.testing.assert_close(network.module()(images).double(), expected, rtol=0, atol=1e-5)


def test_timm_names_and_shapes_are_those_of_timm(tmp_path):
    project, size = PROJECTS["lucidrains 0.3"], SIZES["unequal"]
    timm = PROJECTS["timm"].state(size)
    network = load(stored(tmp_path / "a.safetensors", project.state(size)))
    for ending, read in ((".safetensors", load_file), (".pth", torch.load)):
        convert(network, tmp_path / f"b{ending}", "timm")
        written = read(tmp_path / f"b{ending}")
        assert {name: value.shape for name, value in written.items()} == {
            name: value.shape for name, value in timm.items()
        }


@pytest.mark.parametrize("name", NETWORKS)
def test_our_own_format_holds_every_family(tmp_path, name):
    network = load(checkpoint_of(NETWORKS[name], tmp_path / "a.safetensors"))
    written = convert(network, tmp_path / "b.safetensors", "own")
    assert written.untold == {}
    again = load(tmp_path / "b.safetensors")
    assert again.config == network.config
    assert bits(again) == bits(network)
    assert again.provenance.training == network.provenance.training
    assert (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()


def test_weights_of_others_have_no_variance_of_ours(tmp_path):
    network = load(stored(tmp_path / "a.safetensors", PROJECTS["timm"].state(SIZES["unequal"])))
    convert(network, tmp_path / "b.safetensors", "own")
    again = load(tmp_path / "b.safetensors")
    assert {layer.declared_variance for layer in again.layers} == {None}
    assert again.trained is None


def test_masks_stay_masks_in_our_own_format(tmp_path):
    state = PROJECTS["flax"].state(SIZES["unequal"])
    masks, names = {}, ("MixerBlock_0/token_mixing/Dense_0/kernel", "head/kernel")
    for name in names:
        masks[name] = (torch.rand(state[name].shape, generator=torch.Generator().manual_seed(0)) < 0.5).double()
        state |= {f"{name}_orig": state.pop(name), f"{name}_mask": masks[name]}
    network = load(stored(tmp_path / "a.safetensors", state))
    convert(network, tmp_path / "b.safetensors", "own")
    again = load(tmp_path / "b.safetensors")
    assert bits(again) == bits(network)
    assert again.parameters == network.parameters
    for layer in (network.layers[0], again.layers[0]):
        assert layer.connections == layer.operator.nnz == int(masks[names[0]].sum()) * 6
    with pytest.raises(UsageError, match=r"timm can't express the mask of blocks\.0\.token\.mlp\.fc1\.weight$"):
        convert(network, tmp_path / "c.safetensors", "timm")


def test_a_mask_that_our_own_format_does_not_have_is_refused(tmp_path):
    state = PROJECTS["timm"].state(SIZES["unequal"])
    mask = torch.ones_like(state["stem.proj.weight"])
    mask[0] = 0
    state |= {"stem.proj.weight_orig": state.pop("stem.proj.weight"), "stem.proj.weight_mask": mask}
    network = load(stored(tmp_path / "a.safetensors", state))
    with pytest.raises(UsageError, match=r"can't express the mask of stem\.proj\.weight, which is no matrix$"):
        convert(network, tmp_path / "b.safetensors", "own")
    assert not (tmp_path / "b.safetensors").exists()


PATCHES = Patches(4, 6, 3, 2)
PLAIN_MIXER = MixerConfig(PATCHES, 3, 6, 5, 4, 7, 2)

UNTOLD = {
    "nothing": (replace(PLAIN_MIXER, patches=Patches(4, 4, 3, 2), tokens=4), {}),
    "image": (PLAIN_MIXER, {"image": "4x6"}),
    "activation": (replace(PLAIN_MIXER, gelu="tanh"), {"gelu": "tanh", "image": "4x6"}),
    "linear": (replace(PLAIN_MIXER, gelu="identity"), {"gelu": "identity", "image": "4x6"}),
    "epsilon": (replace(PLAIN_MIXER, norm_eps=1e-5), {"norm_eps": "1e-05", "image": "4x6"}),
    "pooling": (replace(PLAIN_MIXER, pooling="flatten"), {"image": "4x6", "pooling": "flatten"}),
    "norm of the stem": (replace(PLAIN_MIXER, stem_norm=True, classes=0), {"image": "4x6"}),
}
"""A configuration, and what timm's tensors don't tell of it."""


@pytest.mark.parametrize(("config", "untold"), UNTOLD.values(), ids=UNTOLD)
def test_what_tensors_do_not_tell_is_said(tmp_path, config, untold):
    network = load(checkpoint_of(config, tmp_path / "a.safetensors"))
    assert convert(network, tmp_path / "b.safetensors", "timm").untold == untold
    assert load(tmp_path / "b.safetensors", assume=untold).config == config


CANNOT = {
    "permutations": ("rp-mixer", "timm", "a rp-mixer: it holds plain Mixers alone$"),
    "no Mixer": ("sw-mlp", "flax", "a sw-mlp: it holds plain Mixers alone$"),
    "resized": ("mixer-resized", "timm", "4 tokens from 6 patches$"),
    "class token": ("mixer-class-token", "timm", "a class token; a patch embedding without bias$"),
    "structures": ("mixer-structured", "timm", "mixing layers without biases; matrices made of blocks$"),
    "no final norm": ("mixer-bare", "timm", "a network without final LayerNorm$"),
    "norm of the stem": (
        "mixer-bare",
        "flax",
        "a network without final LayerNorm; a LayerNorm after the patch embedding$",
    ),
}
"""A network, a layout, and what it can't express."""


@pytest.mark.parametrize(("name", "to", "match"), CANNOT.values(), ids=CANNOT)
def test_what_can_not_be_expressed_is_refused(tmp_path, name, to, match):
    network = load(checkpoint_of(NETWORKS[name], tmp_path / "a.safetensors"))
    with pytest.raises(UsageError, match=rf"a\.safetensors: {to} can't express {match}"):
        convert(network, tmp_path / "b", to)
    assert not (tmp_path / "b").exists()


def test_npz_has_no_bfloat16(tmp_path):
    network = load(checkpoint_of(NETWORKS["mixer"], tmp_path / "a.safetensors", dtype=torch.bfloat16))
    with pytest.raises(UsageError, match=r"flax can't express bfloat16, which npz files don't have$"):
        convert(network, tmp_path / "b.npz", "flax")


def test_flax_names_and_arrays_are_those_of_flax(tmp_path):
    project, size = PROJECTS["flax"], SIZES["unequal"]
    state = project.state(size)
    network = load(stored(tmp_path / "a.safetensors", state))
    assert convert(network, tmp_path / "b.npz", "flax").untold == {}
    with np.load(tmp_path / "b.npz") as arrays:
        assert set(arrays) == set(state)
        assert all(np.array_equal(arrays[name], value.numpy()) for name, value in state.items())


def test_an_unknown_layout_is_a_usage_error(tmp_path):
    network = load(checkpoint_of(NETWORKS["mixer"], tmp_path / "a.safetensors"))
    with pytest.raises(UsageError, match=r"can't write the layout 'keras'; known are own, timm, flax$"):
        convert(network, tmp_path / "b", "keras")


def test_an_unknown_architecture_is_refused(tmp_path):
    network = load(stored(tmp_path / "a.safetensors", {"a.weight": torch.ones(3, 2)}), weights_only=True)
    with pytest.raises(CheckpointError, match=r"no known layout .*; only its weights can be analysed"):
        convert(network, tmp_path / "b", "own")


def test_a_file_that_is_not_the_same_network_is_not_left(tmp_path, monkeypatch):
    network = load(checkpoint_of(NETWORKS["mixer-square"], tmp_path / "a.safetensors"))
    (tmp_path / "b.safetensors").write_text("old")

    def damaged(temporary, path, state):
        state["head.bias"] = state["head.bias"] + 1
        save_file(state, temporary)

    monkeypatch.setitem(TARGETS, "timm", replace(TARGETS["timm"], save=damaged))
    with pytest.raises(CheckFailedError, match=r"a\.safetensors: what was written and read again differs in tensors"):
        convert(network, tmp_path / "b.safetensors", "timm")
    assert (tmp_path / "b.safetensors").read_text() == "old"

    def forgetful(path, config, state, training=None):
        save_checkpoint(path, replace(config, norm_eps=1e-3), state, training)

    monkeypatch.setattr(convert_module, "save_checkpoint", forgetful)
    with pytest.raises(CheckFailedError, match=r"differs in configuration, logits$"):
        convert(network, tmp_path / "b.safetensors", "own")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.safetensors", "b.safetensors"]


def test_metadata_of_own_files_name_the_family(tmp_path):
    network = load(stored(tmp_path / "a.safetensors", PROJECTS["omihub777"].state(SIZES["square"], class_token=True)))
    convert(network, tmp_path / "b.safetensors", "own")
    again = load(tmp_path / "b.safetensors")
    assert json.loads(json.dumps(again.config.class_token)) is True
    assert bits(again) == bits(network)
