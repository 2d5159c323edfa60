"""The PK family: its layers by their definition, its members, and permutations of each block's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cases import PATCHES, SQUARE, images_of, module_of, network_of
from mixanalysis.errors import UsageError
from mixanalysis.families import FAMILIES
from mixanalysis.families.mixer.network import MixerConfig
from mixanalysis.families.pk.network import PKConfig
from mixanalysis.families.s_mixer.network import SMixerConfig
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.network.blocks import SharedLinear
from mixanalysis.operators import Lift, Permuted

RATES = (1.5, 3.0)

MEMBERS = {
    "mixer": (
        PKConfig.of(PATCHES, 3, channels=5, depth=2, expansion=RATES),
        MixerConfig.of(PATCHES, 3, channels=5, depth=2, expansion=RATES),
    ),
    "rp-mixer": (
        PKConfig.of(PATCHES, 3, channels=5, depth=2, expansion=RATES, permutations="random"),
        MixerConfig.of(PATCHES, 3, channels=5, depth=2, expansion=RATES, permutation="random"),
    ),
    "resized mixer": (
        PKConfig.of(PATCHES, 3, channels=5, depth=2, tokens=4, permutations="commutation/none"),
        MixerConfig.of(PATCHES, 3, channels=5, depth=2, tokens=4),
    ),
    "s-mixer": (
        PKConfig.of(PATCHES, 3, channels=5, depth=2, expansion=None),
        SMixerConfig(PATCHES, 3, 6, 5, 2),
    ),
    "rp-s-mixer": (
        PKConfig.of(PATCHES, 3, channels=5, depth=2, expansion=None, permutations="random,random/random"),
        SMixerConfig(PATCHES, 3, 6, 5, 2, "random"),
    ),
}


@pytest.mark.parametrize(("config", "member"), MEMBERS.values(), ids=MEMBERS)
def test_members_are_the_families_that_they_are(config, member, tmp_path):
    ours, theirs = (module_of(each, seed=3) for each in (config, member))
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], value) for name, value in expected.items())
    images = images_of(config)
    torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=0)
    found, wanted = (network_of(each, tmp_path / each.family, seed=3) for each in (config, member))
    assert [layer.name for layer in found.layers] == [layer.name for layer in wanted.layers]
    for layer, other in zip(found.layers, wanted.layers, strict=True):
        assert torch.equal(layer.operator.dense(), other.operator.dense())
        assert (layer.role, layer.stage, layer.connections) == (other.role, other.stage, other.connections)
    assert (found.density, found.omega, found.taps) == (wanted.density, wanted.omega, wanted.taps)


def commutation(rows, columns):
    """J with J vec_r(X) = vec(X) = vec_r(X^T) for X of shape rows x columns, as a matrix."""
    matrix = torch.zeros(rows * columns, rows * columns, dtype=torch.float64)
    for r in range(rows):
        for c in range(columns):
            matrix[c * rows + r, r * columns + c] = 1
    return matrix


@pytest.mark.parametrize("axis", ["token", "channel"])
@pytest.mark.parametrize("order", ["none", "swapped", "random"])
def test_layers_are_those_of_definition_5_1(order, axis):
    """J2 (I kron W) J1 with matrices, on row-major flattened features."""
    torch.manual_seed(0)
    size, out, copies = 4, 6, 3
    layer = SharedLinear((size, out), copies, axis, order, bias=False).double()
    into, outward = ((size, copies), (out, copies)) if axis == "token" else ((copies, size), (copies, out))
    eye = torch.eye(copies, dtype=torch.float64)
    if order == "random":
        first, second = (torch.eye(len(p), dtype=torch.float64)[p] for p in (layer.perm_in, layer.perm_out))
    elif (axis == "token") == (order == "none"):
        first, second = commutation(*into), commutation(*outward).T
    else:
        first, second = (torch.eye(rows * columns, dtype=torch.float64) for rows, columns in (into, outward))
    matrix = second @ torch.kron(eye, layer.weight.detach()) @ first
    x = torch.randn(5, *into, dtype=torch.float64)
    expected = (x.flatten(1) @ matrix.T).view(5, *outward)
    torch.testing.assert_close(layer(x), expected)


def test_only_the_blocks_asked_for_are_permuted(tmp_path):
    config = PKConfig.of(SQUARE, 3, channels=4, depth=3, permutations="random,normal,normal/random")
    network = network_of(config, tmp_path / "net.safetensors")
    assert [config.kind(block) for block in range(6)] == [
        "random",
        "random",
        "commutation",
        "none",
        "commutation",
        "random",
    ]
    permuted = {layer.block for layer in network.layers if isinstance(layer.operator, Permuted)}
    assert permuted == {0, 1, 5}
    buffers = [name for name in network.module().state_dict() if "perm" in name]
    assert len(buffers) == 3 * 4
    assert all(isinstance(layer.operator, Lift) for layer in network.layers if layer.block not in permuted)


@pytest.mark.parametrize(("given", "depth", "expected"), [("none", 3, "nnn"), ("normal,random", 5, "crcrc")])
def test_fewer_kinds_are_repeated_in_turn(given, depth, expected):
    config = PKConfig.of(PATCHES, 3, channels=5, depth=depth, permutations=given)
    assert "".join(config.kind(2 * index)[0] for index in range(depth)) == expected


def test_swapped_token_blocks_mix_runs_of_channels_in_square_features():
    """With S = C the two blocks of "none" are both channel mixing, those of "commutation" both token mixing."""
    config = PKConfig.of(SQUARE, 0, channels=4, depth=1, expansion=None, permutations="none")
    module = module_of(config)
    x = torch.randn(2, 4, 4)
    layer = module.blocks[0].token.mlp.fc1
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


def test_families_by_name():
    config = configure("pk-mixer", PATCHES, 3, Sizes(channels=5, expansion=3.0, permutations="random/none"))
    assert config == PKConfig.of(PATCHES, 3, channels=5, depth=3, expansion=(3.0, 3.0), permutations="random/none")
    single = configure("pk-s-mixer", PATCHES, 3, Sizes(channels=5, tokens=4, depth=1))
    assert single == PKConfig.of(PATCHES, 3, channels=5, depth=1, tokens=4, expansion=None)
    assert (config.family, single.family, single.width) == ("pk-mixer", "pk-s-mixer", 20)
    assert np.prod(FAMILIES["pk-s-mixer"].module(single)(images_of(single)).shape) == 7 * 3


REFUSED = {
    "unknown": (
        "pk-mixer",
        Sizes(permutations="shuffled"),
        r"permutations must be normal, none, commutation, random or"
        r" two of them as KIND/KIND, for each base block and separated by commas, got 'shuffled'",
    ),
    "three": ("pk-mixer", Sizes(permutations="none/none/none"), r"got 'none/none/none'"),
    "empty": ("pk-mixer", Sizes(permutations="none,"), r"got ''"),
    "too many": (
        "pk-mixer",
        Sizes(depth=1, permutations="none,none"),
        r"permutations are given for 2 base blocks, but there are 1; see --depth",
    ),
    "expansion": ("pk-s-mixer", Sizes(expansion=2.0), r"--expansion doesn't apply to the family pk-s-mixer"),
    "of a mixer": ("mixer", Sizes(permutations="none"), r"--permutations doesn't apply to the family mixer"),
    "hidden": ("pk-mixer", Sizes(expansion=0.01), r"leaves no hidden unit"),
}


@pytest.mark.parametrize(("family", "sizes", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(family, sizes, message):
    with pytest.raises(UsageError, match=message):
        configure(family, PATCHES, 3, sizes)


@pytest.mark.parametrize("hidden", [(0, 4), (4, 0), (-1, -1)])
def test_hidden_sizes_come_together(hidden):
    message = r"token_hidden and channel_hidden must both be positive, or both 0 for blocks of one matrix, got"
    with pytest.raises(ValueError, match=message):
        PKConfig(PATCHES, 3, 6, 5, *hidden, 2)
