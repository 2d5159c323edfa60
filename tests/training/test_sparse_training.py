"""Sparse training of masked layers: the same map, the same gradients, the same steps, the same checkpoint."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import mixanalysis as mx
from mixanalysis.families import FAMILIES
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.network import Patches
from mixanalysis.network.blocks import MaskedLinear
from mixanalysis.training import TrainingConfig, trainer
from mixanalysis.training import sparse_training as sparse
from mixanalysis.training.sparse_training import SparseLinear, family_state, sparsified


def masked(density=0.1, *, rows=30, columns=20, root_scaling=True, bias=True):
    torch.manual_seed(0)
    layer = MaskedLinear(columns, rows, density, exact=False, root_scaling=root_scaling, bias=bias).double()
    with torch.no_grad():
        if layer.sparse:  # a connection of value zero
            layer.weight[tuple(layer.mask.nonzero()[0])] = 0.0
        if bias:
            layer.bias.normal_()
    return layer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("root_scaling", [True, False])
@pytest.mark.parametrize(("rows", "columns"), [(30, 20), (20, 30), (1, 7)])
def test_map_and_gradients_are_those_of_the_masked_layer(rows, columns, root_scaling, bias):
    layer = masked(0.2, rows=rows, columns=columns, root_scaling=root_scaling, bias=bias)
    ours = SparseLinear(copy.deepcopy(layer))
    x = torch.randn(8, columns, dtype=torch.float64, requires_grad=True)
    same = x.detach().clone().requires_grad_()
    y, expected = ours(x), layer(same)
    torch.testing.assert_close(y, expected)
    assert y.is_contiguous()
    gradient = torch.randn_like(y)
    y.backward(gradient)
    expected.backward(gradient)
    torch.testing.assert_close(x.grad, same.grad)
    torch.testing.assert_close(ours.values.grad, layer.weight.grad[layer.mask])
    if bias:
        torch.testing.assert_close(ours.bias.grad, layer.bias.grad)


def test_an_input_that_needs_no_gradient():
    ours = SparseLinear(masked())
    ours(torch.randn(8, 20, dtype=torch.float64)).sum().backward()
    assert ours.values.grad is not None


def test_the_family_s_state_comes_back():
    layer = masked()
    module = nn.Sequential(copy.deepcopy(layer), nn.GELU(), nn.Linear(30, 2).double())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    after = family_state(sparsified(module))
    assert isinstance(module[0], SparseLinear)
    assert set(after) == set(before)
    for name, value in before.items():
        assert torch.equal(after[name], value)


@pytest.mark.parametrize(("density", "expected"), [(0.1, SparseLinear), (0.5, MaskedLinear), (1.0, MaskedLinear)])
def test_only_sparse_masks(density, expected):
    assert isinstance(sparsified(nn.Sequential(masked(density)))[0], expected)


def test_without_mkl_nothing_changes(monkeypatch):
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert isinstance(sparsified(nn.Sequential(masked()))[0], MaskedLinear)


@pytest.fixture(name="data", scope="module")
def _data():
    return mx.open_dataset("digits", "train").first(80), mx.open_dataset("digits", "test").first(40)


CONFIG = configure("sw-mlp", Patches(8, 8, 1, 4), 10, Sizes(width=24, depth=2, density=0.1))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_steps_are_those_of_the_masked_layers(optimizer, data, tmp_path, monkeypatch):
    settings = TrainingConfig(epochs=2, optimizer=optimizer, lr=3e-3, weight_decay=0.3, batch_size=32)
    ours = mx.load(mx.train(CONFIG, data, tmp_path / "sparse.st", settings))
    again = mx.train(CONFIG, data, tmp_path / "again.st", settings)
    assert again.read_bytes() == (tmp_path / "sparse.st").read_bytes()
    monkeypatch.setattr(trainer, "sparsified", lambda module: module)
    dense = mx.load(mx.train(CONFIG, data, tmp_path / "dense.st", settings))
    state, expected = ours.module().state_dict(), dense.module().state_dict()
    start = mx.load(mx.train(CONFIG, data, tmp_path / "0.st", TrainingConfig(epochs=0))).module().state_dict()
    assert set(state) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-4)
    name = "blocks.0.mlp.fc1.weight"
    assert float((state[name] - start[name]).abs().max()) > 1e-2
    assert ours.parameters == dense.parameters


def test_connections_decay_and_biases_do_not(monkeypatch):
    module = sparsified(FAMILIES["sw-mlp"].module(CONFIG))
    built = trainer._optimizer(module, TrainingConfig(weight_decay=0.1))
    decay = {id(p): group["weight_decay"] for group in built.param_groups for p in group["params"]}
    found = {name: decay[id(p)] for name, p in module.named_parameters()}
    assert found["blocks.0.mlp.fc1.values"] == 0.1
    assert found["blocks.0.mlp.fc1.bias"] == 0.0


def test_a_state_of_dense_layers_is_not_resumed_sparsely(data, tmp_path, monkeypatch):
    settings = TrainingConfig(epochs=3, batch_size=32)
    whole = mx.train(CONFIG, data, tmp_path / "whole", settings)
    steps = []

    def stop(done, _total):
        if done == 7:
            raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(sparse.torch.backends.mkl, "is_available", lambda: False)
        with pytest.raises(InterruptedError):
            mx.train(CONFIG, data, tmp_path / "a", settings, save_every=0, progress=stop)
    mx.train(CONFIG, data, tmp_path / "a", settings, progress=lambda done, _total: steps.append(done))
    assert steps[0] == 1
    assert (tmp_path / "a").read_bytes() == whole.read_bytes()
