"""Every project's Mixer: its logits, its configuration, its layers, and what tensors don't tell."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from families.naive_mixers import PROJECTS, SIZES
from mixanalysis.checkpoints import open_checkpoint
from mixanalysis.errors import CheckpointError, UsageError
from mixanalysis.families import LAYOUTS
from mixanalysis.families.loading import load, load_all
from mixanalysis.families.mixer.network import MixerConfig
from mixanalysis.network import Assumed, Patches

EACH = pytest.mark.parametrize("project", PROJECTS.values(), ids=PROJECTS)


def assumed_of(size):
    """The image that has to be assumed, where it isn't a square."""
    return {} if size.rows == size.columns else {"image": size.image}


def saved(path, state):
    """The path of a safetensors file of that state."""
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


def close(actual, expected):
    assert actual.dtype == torch.float64
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-9)
    assert expected.std() > 0.01


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@EACH
def test_logits_are_those_of_the_project(tmp_path, project, size):
    state = project.state(size)
    network = load(saved(tmp_path / "a.safetensors", state), assume=assumed_of(size))
    assert network.provenance.layout == project.layout
    assert network.provenance.unused == ()
    images = project.images(size)
    close(network.module()(images), project.logits(state, size, images))
    assert network.parameters == sum(tensor.numel() for tensor in state.values())


@EACH
def test_configuration_is_read_from_shapes(tmp_path, project):
    size = SIZES["not square"]
    network = load(saved(tmp_path / "a.safetensors", project.state(size)), assume=assumed_of(size))
    assert network.config == MixerConfig(
        patches=Patches(4, 6, 3, 2),
        classes=5,
        tokens=6,
        channels=6,
        token_hidden=4,
        channel_hidden=5,
        depth=2,
        norm_eps=project.eps,
        gelu=project.gelu,
        final_norm=bool(project.norm),
        stem_bias=project.stem_bias,
    )


@EACH
def test_layers_are_the_naive_kronecker_products(tmp_path, project):
    for size in (SIZES["unequal"], SIZES["all equal"]):
        state = project.state(size)
        layers = load(saved(tmp_path / "a.safetensors", state)).layers
        for layer, matrix in zip(layers, project.matrices(state, size), strict=True):
            assert torch.equal(torch.as_tensor(layer.operator.dense()), matrix)
            assert layer.connections == int((matrix != 0).sum())
        assert [layer.role for layer in layers] == ["token", "token", "channel", "channel"] * 2


@EACH
def test_exactly_one_layout_recognises_it(tmp_path, project):
    for size in (SIZES["square"], SIZES["one token"]):
        checkpoint = open_checkpoint(saved(tmp_path / "a.safetensors", project.state(size)))
        assert [name for name, layout in LAYOUTS.items() if layout.recognise(checkpoint)] == [project.layout]


@EACH
def test_without_a_head_the_pooled_features_remain(tmp_path, project):
    size = replace(SIZES["unequal"], classes=0)
    state, images = project.state(size), project.images(size)
    network = load(saved(tmp_path / "a.safetensors", state))
    assert network.config.classes == 0
    close(network.module()(images), project.logits(state, size, images))


@pytest.mark.parametrize("gelu", ["erf", "tanh", "identity"])
@EACH
def test_activation_and_epsilon_can_be_assumed(tmp_path, project, gelu):
    size = SIZES["unequal"]
    state, images = project.state(size), project.images(size)
    network = load(saved(tmp_path / "a.safetensors", state), assume={"gelu": gelu, "norm_eps": "1e-2"})
    expected = project.logits(state, size, images, eps=1e-2, gelu=gelu)
    close(network.module()(images), expected)
    assert network.provenance.assumed["gelu"] == Assumed(gelu, "user")
    assert network.provenance.assumed["norm_eps"] == Assumed(1e-2, "user")
    assert network.provenance.assumed["image"] == Assumed("square", "layout")
    # each trap shows in the logits, so that a wrong default couldn't pass above
    others = {"erf": "tanh", "tanh": "erf", "identity": "erf"}
    for other in ({"gelu": others[project.gelu]}, {"eps": 1.1e-5 - project.eps}):
        difference = project.logits(state, size, images) - project.logits(state, size, images, **other)
        assert difference.abs().max() > 1e-7


def test_a_class_token_stands_first_and_is_what_the_head_reads(tmp_path):
    project = PROJECTS["omihub777"]
    for size in (SIZES["unequal"], SIZES["not square"]):
        state, images = project.state(size, class_token=True), project.images(size)
        network = load(saved(tmp_path / "a.safetensors", state), assume=assumed_of(size))
        assert (network.config.tokens, network.config.pooling) == (size.patches + 1, "class-token")
        close(network.module()(images), project.logits(state, size, images))
        for layer, matrix in zip(network.layers, project.matrices(state, size, class_token=True), strict=True):
            assert torch.equal(torch.as_tensor(layer.operator.dense()), matrix)


def test_omihub_without_activation_is_a_linear_mixer(tmp_path):
    project, size = PROJECTS["omihub777"], SIZES["square"]
    state, images = project.state(size), project.images(size)
    network = load(saved(tmp_path / "a.safetensors", state), assume={"gelu": "identity"})
    close(network.module()(images), project.logits(state, size, images, gelu="identity"))


def test_a_flatten_head_can_be_assumed(tmp_path):
    project, size = PROJECTS["timm"], SIZES["unequal"]
    state, images = project.state(size), project.images(size)
    state["head.weight"] = torch.randn(5, size.patches * size.channels, dtype=torch.float64)
    path = saved(tmp_path / "a.safetensors", state)
    with pytest.raises(CheckpointError, match=r"head\.weight has shape 5 x 24, expected 5 x 6$"):
        load(path)
    features = replace(size, classes=0)
    headless = {name: value for name, value in state.items() if not name.startswith("head")}
    tokens = load(saved(tmp_path / "b.safetensors", headless))
    assert torch.allclose(tokens.module()(images), project.logits(headless, features, images))
    x = tokens.module().norm(tokens.module().blocks(tokens.module().stem(images)))
    expected = torch.einsum("bsc,ksc->bk", x, state["head.weight"].reshape(5, size.patches, -1)) + state["head.bias"]
    close(load(path, assume={"pooling": "flatten"}).module()(images), expected)


def test_mixing_layers_may_have_no_biases(tmp_path):
    project, size = PROJECTS["timm"], SIZES["unequal"]
    state, images = project.state(size), project.images(size)
    biases = [name for name in state if ".fc" in name and name.endswith("bias")]
    without = {name: value for name, value in state.items() if name not in biases}
    network = load(saved(tmp_path / "a.safetensors", without))
    assert network.config.mixing_bias is False
    zeros = state | {name: torch.zeros_like(state[name]) for name in biases}
    close(network.module()(images), project.logits(zeros, size, images))
    assert all(layer.bias is None for layer in network.layers)


def test_auto_mixer_classifier_of_its_own_is_listed_as_unused(tmp_path):
    project, size = PROJECTS["auto-mixer"], replace(SIZES["unequal"], classes=0)
    state = project.state(size) | {"classifier.fc1.weight": torch.ones(2, 6), "classifier.fc1.bias": torch.ones(2)}
    provenance = load(saved(tmp_path / "a.safetensors", state)).provenance
    assert provenance.unused == ("classifier.fc1.bias", "classifier.fc1.weight")


@pytest.mark.parametrize("name", ["flax", "flax, opt", "old flax, singletons"])
def test_npz_files_of_flax(tmp_path, name):
    project, size = PROJECTS[name], SIZES["unequal"]
    state, images = project.state(size), project.images(size)
    with (tmp_path / "a.npz").open("wb") as file:
        np.savez(file, **{key: value.numpy() for key, value in state.items()})
    close(load(tmp_path / "a.npz").module()(images), project.logits(state, size, images))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_the_dtype_of_the_file_is_kept(tmp_path, dtype):
    for name in ("flax", "lucidrains 0.3"):
        state = {key: value.to(dtype) for key, value in PROJECTS[name].state(SIZES["unequal"]).items()}
        module = load(saved(tmp_path / "a.safetensors", state)).module()
        assert {value.dtype for value in module.state_dict().values()} == {dtype}


def test_pruned_matrices_keep_their_masks_when_they_are_transposed(tmp_path):
    project, size = PROJECTS["flax"], SIZES["unequal"]
    state, images = project.state(size), project.images(size)
    name = "MixerBlock_1/channel_mixing/Dense_0/kernel"
    mask = (torch.rand(state[name].shape, generator=torch.Generator().manual_seed(0)) < 0.4).double()
    stored = {key: value for key, value in state.items() if key != name}
    stored |= {f"{name}_orig": state[name], f"{name}_mask": mask}
    network = load(saved(tmp_path / "a.safetensors", stored))
    state[name] = state[name] * mask
    close(network.module()(images), project.logits(state, size, images))
    layer = network.layers[6]
    assert layer.connections == int(mask.sum()) * size.patches == layer.operator.nnz


LUCIDRAINS_COLOURS = {
    "three": (3, {}, 3),
    "one": (1, {}, 1),
    "said": (3, {"colours": 3}, 3),
    "four, said": (4, {"colours": "4"}, 4),
    "twelve, said": (12, {"colours": 12}, 12),
}
"""Colours of a flat patch embedding, what is assumed, and what is read; 4 x 2 x 2 could be 1 x 4 x 4."""


@pytest.mark.parametrize(("colours", "assume", "read"), LUCIDRAINS_COLOURS.values(), ids=LUCIDRAINS_COLOURS)
def test_colours_of_a_flat_patch_embedding(tmp_path, colours, assume, read):
    project, size = PROJECTS["lucidrains 0.3"], replace(SIZES["unequal"], colours=colours)
    state, images = project.state(size), project.images(size)
    network = load(saved(tmp_path / "a.safetensors", state), assume=assume)
    assert network.config.patches.channels == read
    close(network.module()(images), project.logits(state, size, images))


def test_colours_that_are_none_are_refused(tmp_path):
    path = saved(tmp_path / "a.safetensors", PROJECTS["lucidrains 0.3"].state(replace(SIZES["unequal"], colours=2)))
    said = r"1\.weight takes 18 numbers, which are no square patch of {} colours; assume another number \(colours=N\)$"
    with pytest.raises(CheckpointError, match=said.format("3 or 1")):
        load(path)
    with pytest.raises(CheckpointError, match=said.format("4")):
        load(path, assume={"colours": 4})
    assert load(path, assume={"colours": 2}).config.patches == Patches(6, 6, 2, 3)


IMAGES = {
    "another number of patches": ("6x9", r"an image of 6 x 9 has 6 patches of 3 pixels, but the network mixes 4$"),
    "not divided": ("7x6", r"patches of 3 pixels don't divide an image of 7 x 6$"),
}


@pytest.mark.parametrize(("image", "match"), IMAGES.values(), ids=IMAGES)
def test_an_impossible_image_is_refused(tmp_path, image, match):
    path = saved(tmp_path / "a.safetensors", PROJECTS["timm"].state(SIZES["unequal"]))
    with pytest.raises(CheckpointError, match=f"not a network of the timm-mixer layout: {match}"):
        load(path, assume={"image": image})


ASSUMED = {
    "unknown": ({"gelo": "erf"}, r"unknown assumption 'gelo'; known are gelu \(erf or tanh or identity\); norm_eps \("),
    "activation": ({"gelu": "relu"}, r"assumed gelu must be erf or tanh or identity, got 'relu'$"),
    "epsilon": ({"norm_eps": "small"}, r"assumed norm_eps must be a positive number such as 1e-5, got 'small'$"),
    "negative": ({"norm_eps": -1}, r"assumed norm_eps must be a positive number such as 1e-5, got -1$"),
    "not a number": ({"norm_eps": "nan"}, r"assumed norm_eps must be a positive number such as 1e-5, got 'nan'$"),
    "image": ({"image": "224"}, r"assumed image must be HEIGHTxWIDTH in pixels such as 224x160, or square, got '224'$"),
    "no pixels": ({"image": "0x8"}, r"assumed image must be HEIGHTxWIDTH .*, got '0x8'$"),
    "pooling": ({"pooling": "max"}, r"assumed pooling must be mean or flatten or class-token, got 'max'$"),
    "colours": ({"colours": "0"}, r"assumed colours must be a positive integer, got '0'$"),
    "shuffle": ({"shuffle": "maybe"}, r"assumed shuffle must be yes or no, got 'maybe'$"),
    "not this layout's": (
        {"colours": 3},
        r"a\.safetensors: colours can't be assumed: the timm-mixer layout takes only gelu, norm_eps, image, pooling$",
    ),
}
"""What is assumed of a timm Mixer, and what is said."""


@pytest.mark.parametrize(("assume", "match"), ASSUMED.values(), ids=ASSUMED)
def test_what_can_not_be_assumed_is_a_usage_error(tmp_path, assume, match):
    path = saved(tmp_path / "a.safetensors", PROJECTS["timm"].state(SIZES["unequal"]))
    with pytest.raises(UsageError, match=match):
        load(path, assume=assume)


def test_an_image_may_be_given_as_two_numbers(tmp_path):
    path = saved(tmp_path / "a.safetensors", PROJECTS["timm"].state(SIZES["not square"]))
    assert load(path, assume={"image": (4, 6)}).config.patches == Patches(4, 6, 3, 2)
    assert load(path, assume={"image": "6x4"}).config.patches == Patches(6, 4, 3, 2)


def test_several_networks_take_what_their_layouts_leave_open(tmp_path):
    size = SIZES["one colour"]
    timm = saved(tmp_path / "timm.safetensors", PROJECTS["timm"].state(size))
    flat = saved(tmp_path / "flat.safetensors", PROJECTS["lucidrains 0.3"].state(size))
    a, b = load_all([timm, flat], assume={"colours": 1, "norm_eps": 1e-4})
    assert a.config.norm_eps == b.config.norm_eps == 1e-4
    assert "colours" not in a.provenance.assumed
    assert b.provenance.assumed["colours"] == Assumed(1, "user")
    with pytest.raises(UsageError, match=r"no checkpoint's layout leaves shuffle open: there is nothing to assume$"):
        load_all([timm, flat], assume={"shuffle": "yes"})


def test_nothing_can_be_assumed_of_an_unknown_architecture(tmp_path):
    path = saved(tmp_path / "a.safetensors", {"a.weight": torch.ones(3, 2)})
    with pytest.raises(UsageError, match=r"nothing can be assumed of an unknown architecture; .*a\.weight"):
        load(path, assume={"gelu": "erf"}, weights_only=True)


def test_a_class_token_can_not_be_assumed(tmp_path):
    path = saved(tmp_path / "a.safetensors", PROJECTS["timm"].state(SIZES["unequal"]))
    with pytest.raises(CheckpointError, match=r"timm-mixer layout: pooling by the class token needs one$"):
        load(path, assume={"pooling": "class-token"})


def test_a_classifier_without_rows_is_refused(tmp_path):
    state = PROJECTS["timm"].state(SIZES["unequal"])
    for shape in ((), (0, 6)):
        damaged = state | {"head.weight": torch.ones(shape, dtype=torch.float64)}
        path = saved(tmp_path / "a.safetensors", damaged)
        with pytest.raises(CheckpointError, match=rf"head\.weight of shape {re.escape(str(shape))} is no classifier$"):
            load(path)


SHAPES = ((), (0,), (3,), (0, 0), (2, 3), (1, 1, 1), (2, 2, 2, 2), (1, 1, 1, 1, 1))


@EACH
def test_tensors_of_any_other_shape_are_a_checkpoint_error(tmp_path, project):
    size = replace(SIZES["unequal"], depth=1)
    state = project.state(size)
    for index, name in enumerate(state):
        shape = SHAPES[index % len(SHAPES)]
        path = saved(tmp_path / "a.safetensors", state | {name: torch.ones(shape, dtype=torch.float64)})
        with pytest.raises(CheckpointError):
            load(path)
