"""The relatives of MLP-Mixer: recognised, their logits, their effective layers, their taps and numbers."""

from __future__ import annotations

import argparse
import math
import pickle

import pytest
import torch

from hand_made import CASES
from hand_made.parts import matrix_of
from mixanalysis.checkpoints import open_checkpoint
from mixanalysis.families import FAMILIES, LAYOUTS
from mixanalysis.families.loading import load
from mixanalysis.network import from_dict, to_dict
from mixanalysis.operators import Dense, Masked


@pytest.fixture(params=CASES.values(), ids=CASES, scope="module")
def case(request):
    return request.param


@pytest.fixture(scope="module")
def path(case, tmp_path_factory):
    path = tmp_path_factory.mktemp("relatives") / "a.pt"
    torch.save(case.state, path)
    return path


@pytest.fixture(scope="module")
def network(case, path):
    return load(path, assume=case.assume)


def test_logits_are_those_of_the_original(case, network):
    images = case.images()
    logits = network.module()(images)
    assert logits.dtype == torch.float64
    torch.testing.assert_close(logits, case.logits(images), rtol=0, atol=1e-9)
    assert logits.std() > 0.01
    assert network.provenance.unused == ()


def test_exactly_one_layout_recognises_it(case, network, path):
    assert network.provenance.layout == case.layout
    checkpoint = open_checkpoint(path)
    assert [name for name, layout in LAYOUTS.items() if layout.recognise(checkpoint)] == [case.layout]


def test_layers_are_the_naive_matrices(case, network):
    assert len(network.layers) == len(case.layers)
    for layer, expected in zip(network.layers, case.layers, strict=True):
        matrix, shift = matrix_of(expected.apply, expected.into)
        operator = layer.operator
        torch.testing.assert_close(operator.dense(), matrix, rtol=0, atol=1e-12)
        bias = torch.zeros(layer.shape[0], dtype=torch.float64) if layer.bias is None else layer.bias
        torch.testing.assert_close(bias, shift, rtol=0, atol=1e-12)
        assert layer.shape == operator.shape == tuple(matrix.shape)
        assert layer.connections == operator.nnz == torch.count_nonzero(matrix)


def test_numbers(case, network):
    assert network.width == network.config.width == case.width
    for layer, expected in zip(network.layers, case.layers, strict=True):
        assert layer.role == expected.role
        assert layer.density == pytest.approx(expected.density, rel=1e-12)
        assert layer.expansion == pytest.approx(expected.expansion, rel=1e-12)
    count = len(case.layers)
    omega = sum(layer.connections for layer in network.layers) / count
    assert network.omega == omega
    assert network.density == pytest.approx(sum(layer.density for layer in case.layers) / count)
    assert network.expansion == pytest.approx(omega / network.density / case.width**2)
    assert math.isfinite(network.expansion)
    # no weight is zero unless a mask makes it so
    assert network.parameters == sum(int(value.count_nonzero()) for name, value in case.state.items() if trained(name))


def trained(name):
    return not name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def test_taps_stand_before_and_after_the_skip(case, network):
    assert tuple(tap.name for tap in network.taps) == case.taps
    module, seen = network.module(), {}
    handles = [
        module.get_submodule(path).register_forward_hook(
            lambda _module, inputs, output, path=path: seen.update({path: (inputs[0], output)})
        )
        for path in {path for tap in network.taps for path in (tap.before, tap.after)}
    ]
    module(case.images())
    for handle in handles:
        handle.remove()
    for tap in network.taps:
        skip, after = seen[tap.after]
        torch.testing.assert_close(after, skip + seen[tap.before][1] if case.skips else seen[tap.before][1])


def test_layers_know_their_mixing_block(case, network):
    for layer in network.layers:
        tap = network.taps[layer.block]
        # a network without skips has one block and its classifier
        assert layer.name.startswith((f"{tap.after}.", f"{tap.before}.")) or not case.skips


def test_configuration_survives_json(network):
    config = network.config
    assert from_dict(type(config), to_dict(config)) == config
    assert FAMILIES[config.family].config is type(config)


def test_layers_can_be_sent_to_another_process(network):
    for layer in pickle.loads(pickle.dumps(network.layers)):
        assert layer.operator.shape == layer.shape


def test_zeros_are_the_mask_of_a_wide_sparse_net(tmp_path):
    case = CASES["wide MLP"]
    # as the project saves it, with its arguments, and a bias of zero, which is no mask
    state = case.state | {"layers.fc.bias": case.state["layers.fc.bias"].clone()}
    state["layers.fc.bias"][0] = 0
    file = {"epoch": 3, "state_dict": state, "optimizer": {"state": {}}, "args": argparse.Namespace(width=20)}
    torch.save(file, tmp_path / "a.ckpt")
    network = load(tmp_path / "a.ckpt")
    said = "state_dict; zeros taken for the masks of layers.fc.weight, layers.cl.weight"
    assert network.provenance.wrapper == said
    assert network.provenance.unused == ("epoch", "optimizer", "args")
    for layer, name in zip(network.layers, ("layers.fc.weight", "layers.cl.weight"), strict=True):
        assert isinstance(layer.operator, Masked)
        assert layer.connections == int(state[name].count_nonzero()) < state[name].numel()
    bare = CASES["wide MLP, dense"].state
    torch.save(bare, tmp_path / "b.ckpt")
    dense = load(tmp_path / "b.ckpt")
    assert dense.provenance.wrapper == "none"
    assert all(isinstance(layer.operator, Dense) for layer in dense.layers)


def test_pruned_relatives_keep_their_masks(tmp_path):
    """A pruned ResMLP and gMixer: folded gains and halves of a masked matrix stay masked."""
    for name, pruned in (
        ("resmlp", "blocks.0.mlp_channels.fc1.weight"),
        ("gmixer", "blocks.0.mlp_tokens.fc1.weight"),
        ("symmixer", "blocks.0.mlp_tokens.fc2.weight"),
        ("dimension mixer, dense", "channel_change.weight"),
    ):
        state = dict(CASES[name].state)
        mask = (torch.rand(state[pruned].shape, generator=torch.Generator().manual_seed(0)) < 0.5).double()
        weight = state.pop(pruned)
        torch.save(state | {f"{pruned}_orig": weight, f"{pruned}_mask": mask}, tmp_path / "a.pt")
        network = load(tmp_path / "a.pt")
        torch.save(state | {pruned: weight * mask}, tmp_path / "b.pt")
        zeroed = load(tmp_path / "b.pt")
        images = CASES[name].images()
        torch.testing.assert_close(network.module()(images), zeroed.module()(images))
        for layer, other in zip(network.layers, zeroed.layers, strict=True):
            torch.testing.assert_close(layer.operator.dense(), other.operator.dense())
            assert layer.connections == layer.operator.nnz == int(other.operator.dense().count_nonzero())
        assert zeroed.parameters - network.parameters == int((mask == 0).sum())
