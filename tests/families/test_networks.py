from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from cases import NETWORKS, PATCHES, images_of, module_of, network_of
from mixanalysis.errors import UsageError
from mixanalysis.families import FAMILIES
from mixanalysis.families.mixer.network import MixerConfig
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.families.sw_mlp.network import SWMLPConfig
from mixanalysis.network import Patches, from_dict, to_dict
from mixanalysis.network.blocks import MaskedLinear, SharedLinear, draw_mask
from mixanalysis.network.structured import Structure


@pytest.mark.parametrize("name", NETWORKS)
def test_configuration_survives_json(name):
    config = NETWORKS[name]
    assert from_dict(type(config), to_dict(config)) == config
    assert config.family in FAMILIES


@pytest.mark.parametrize("name", NETWORKS)
def test_taps_name_modules_before_and_after_the_skip(name):
    config = NETWORKS[name]
    module, images = module_of(config), images_of(config)
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    handles = [
        module.get_submodule(path).register_forward_hook(
            lambda _module, inputs, output, path=path: seen.update({path: (inputs[0], output)})
        )
        for tap in FAMILIES[config.family].taps(config)
        for path in (tap.before, tap.after)
    ]
    module(images)
    for handle in handles:
        handle.remove()
    for tap in FAMILIES[config.family].taps(config):
        inputs, after = seen[tap.after]
        carried = module.get_submodule(tap.after).carry(inputs)
        torch.testing.assert_close(after, carried + seen[tap.before][1])


@pytest.mark.parametrize("name", NETWORKS)
def test_network_numbers_come_from_its_dense_layers(name, tmp_path):
    network = network_of(NETWORKS[name], tmp_path / "net.safetensors")
    for layer in network.layers:
        dense = layer.operator.dense()
        assert dense.shape == layer.shape
        assert torch.count_nonzero(dense) == layer.connections == layer.operator.nnz
        assert layer.density == layer.operator.density
        out, into = layer.shape
        assert layer.expansion == pytest.approx(out / into if layer.name.endswith(("fc1", "proj")) else into / out)
    mixing = [layer for layer in network.layers if layer.role != "skip"]
    assert network.omega == pytest.approx(sum(layer.connections for layer in mixing) / len(mixing))
    assert network.omega == pytest.approx(network.density * network.expansion * network.width**2)


def test_mixer_density_and_connections_are_the_papers(tmp_path):
    config = MixerConfig.of(PATCHES, 3, channels=5, depth=2, expansion=(1.5, 3.0))
    network = network_of(config, tmp_path / "net.safetensors")
    tokens, channels = 6, 5
    assert network.width == tokens * channels
    assert network.density == pytest.approx((1 / tokens + 1 / channels) / 2, abs=1e-15)
    assert network.omega == (1.5 * channels * tokens**2 + 3.0 * channels**2 * tokens) / 2
    assert network.expansions() == {"token": 1.5, "channel": 3.0}


def test_parameters_count_connections_only(tmp_path):
    dense = network_of(NETWORKS["mlp"], tmp_path / "dense.safetensors")
    sparse = network_of(NETWORKS["sw-mlp"], tmp_path / "sparse.safetensors")
    cells = sum(layer.shape[0] * layer.shape[1] for layer in sparse.layers)
    kept = sum(layer.connections for layer in sparse.layers)
    assert dense.parameters - sparse.parameters == cells - kept > 0


def test_permutations_are_independent_frozen_buffers():
    torch.manual_seed(0)
    layer = SharedLinear((6, 9), 5, "token", "random")
    assert not {"perm_in", "perm_out"} & {name for name, _ in layer.named_parameters()}
    assert sorted(layer.perm_in.tolist()) == list(range(30))
    assert sorted(layer.perm_out.tolist()) == list(range(45))
    other = SharedLinear((6, 9), 5, "token", "random")
    assert not torch.equal(layer.perm_in, other.perm_in)
    assert set(NETWORKS["rp-mixer"].__dict__) == set(NETWORKS["mixer"].__dict__)


@pytest.mark.parametrize("root_scaling", [True, False])
@pytest.mark.parametrize("exact", [True, False])
def test_masked_linear_has_variance_one_over_fan_in(exact, root_scaling):
    torch.manual_seed(0)
    layer = MaskedLinear(400, 600, 0.1, exact=exact, root_scaling=root_scaling)
    effective = layer.weight.detach() * layer.scale
    assert float(effective.square().mean()) == pytest.approx(1 / 400, rel=0.03)
    assert torch.equal(effective != 0, layer.mask)
    assert layer.scale == (1 / math.sqrt(0.1) if root_scaling else 1.0)
    x = torch.randn(5, 400)
    torch.testing.assert_close(layer(x), x @ effective.T, rtol=1e-5, atol=1e-5)


def test_masks_have_the_density_asked_for():
    torch.manual_seed(0)
    assert int(draw_mask(100, 70, 0.3, exact=True).sum()) == 2100
    count = int(draw_mask(1000, 700, 0.3, exact=False).sum())
    assert abs(count - 210_000) < 5 * math.sqrt(700_000 * 0.3 * 0.7)


def test_masked_gradients_stay_on_the_mask():
    torch.manual_seed(0)
    layer = MaskedLinear(20, 30, 0.2, exact=False, root_scaling=True)
    layer(torch.randn(8, 20)).square().sum().backward()
    assert layer.weight.grad is not None
    assert torch.count_nonzero(layer.weight.grad[~layer.mask]) == 0
    assert torch.count_nonzero(layer.weight.grad[layer.mask]) == layer.mask.sum()


def test_loading_zeroes_weights_off_the_mask():
    torch.manual_seed(0)
    layer = MaskedLinear(20, 30, 0.2, exact=False, root_scaling=True)
    state = layer.state_dict() | {"weight": torch.ones(30, 20)}
    layer.load_state_dict(state)
    assert torch.equal(layer.weight.detach(), layer.mask.float())


def test_dense_mlp_is_the_sparse_one_at_density_one():
    module = module_of(NETWORKS["mlp"])
    assert not [name for name in module.state_dict() if name.endswith("mask")]
    assert NETWORKS["mlp"].family == "mlp"
    assert dataclasses.replace(NETWORKS["mlp"], density=0.5).family == "sw-mlp"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Patches(8, 9, 1, 4), r"patches of 4 pixels don't divide an image of 8 x 9"),
        (lambda: Patches(8, 8, 0, 4), r"channels must be at least 1, got 0"),
        (lambda: MixerConfig.of(PATCHES, 3, channels=5, depth=0), r"depth must be at least 1, got 0"),
        (
            lambda: MixerConfig.of(PATCHES, 3, channels=5, depth=1, expansion=(0.01, 2.0)),
            r"expansion of 0.01 of 6 features leaves no hidden unit",
        ),
        (
            lambda: SWMLPConfig.of(PATCHES, 3, size=30, depth=1, density=1.5),
            r"density must be in \(0, 1\], got 1.5",
        ),
        (lambda: from_dict(Patches, {"height": 8, "size": 4, "depth": 1}), r"unknown depth; missing channels, width"),
        (
            lambda: from_dict(Patches, {"height": 8, "width": "8", "size": 4, "channels": 1}),
            r"config.width must be int, got '8'",
        ),
        (
            lambda: from_dict(Patches, {"height": True, "width": 8, "size": 4, "channels": 1}),
            r"config.height must be int, got True",
        ),
        (lambda: from_dict(Patches, [1]), r"config must be a table of names and values, got list"),
        (
            lambda: from_dict(MixerConfig, to_dict(NETWORKS["mixer"]) | {"gelu": "relu"}),
            r"config.gelu must be one of 'erf', 'tanh', 'identity', got 'relu'",
        ),
        (
            lambda: dataclasses.replace(NETWORKS["mixer"], pooling="class-token"),
            r"pooling by the class token needs one",
        ),
        (
            lambda: dataclasses.replace(NETWORKS["mixer-structured"], permutation="random"),
            r"structured mixing layers go neither with permutations nor with another number of tokens",
        ),
        (
            lambda: dataclasses.replace(NETWORKS["mixer-structured"], tokens=5),
            r"structured mixing layers go neither with permutations nor with another number of tokens",
        ),
        (lambda: Structure("monarch", 0), r"blocks must be at least 1, got 0"),
        (
            lambda: from_dict(MixerConfig, to_dict(NETWORKS["mixer"]) | {"structures": {"token_fc1": {"kind": "low"}}}),
            r"config.structures.token_fc1.kind must be one of 'dense', 'block-diagonal', 'monarch', got 'low'",
        ),
    ],
)
def test_bad_configurations_say_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("family", "sizes", "message"),
    [
        ("perceptron", Sizes(), r"unknown family 'perceptron'; known are mixer, rp-mixer"),
        ("mixer", Sizes(density=0.5), r"--density doesn't apply to the family mixer"),
        ("mlp", Sizes(mask="exact"), r"--mask doesn't apply to the family mlp"),
        ("s-mixer", Sizes(expansion_token=2.0), r"--expansion-token doesn't apply to the family s-mixer"),
        ("sw-mlp", Sizes(density=1.0), r"density must be below 1, got 1.0"),
        ("sw-mlp", Sizes(density=0.0), r"density must be in \(0, 1\], got 0.0"),
    ],
)
def test_configure_refuses(family, sizes, message):
    with pytest.raises(UsageError, match=message):
        configure(family, PATCHES, 3, sizes)


def test_configure_gives_comparable_networks():
    mixer, sparse, dense = (configure(family, PATCHES, 3, Sizes(channels=5)) for family in ("mixer", "sw-mlp", "mlp"))
    assert mixer.width == sparse.width == dense.width == 30
    assert sparse.density == (1 / 6 + 1 / 5) / 2
    assert len(FAMILIES["mixer"].taps(mixer)) == len(FAMILIES["sw-mlp"].taps(sparse)) == 6
