"""A network and the wide sparse MLP that is written of it are the same, whatever is asked of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.torch import save_file
from scipy.sparse import csr_array
from scipy.special import erf

import mixanalysis as mx
from cases import NETWORKS, checkpoint_of, images_of, module_of, network_of
from checkpoints.rewriting import description_of, rewrite
from families.naive_mixers import PROJECTS, SIZES
from mixanalysis.checkpoints import open_checkpoint, save_checkpoint
from mixanalysis.datasets import open_dataset
from mixanalysis.families.convert import convert
from mixanalysis.families.loading import load
from mixanalysis.families.wide_sparse_mlp.network import WideSparseConfig
from mixanalysis.network import Network, to_dict
from wide import vec

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.fixture(name="pair", params=NETWORKS, scope="module")
def _pair(request, tmp_path_factory) -> tuple[Network, Network]:
    """A network of every kind, and its expansion."""
    folder = tmp_path_factory.mktemp(request.param)
    network = network_of(NETWORKS[request.param], folder / "net.safetensors")
    mx.expand(network, folder / "wide.safetensors")
    return network, load(folder / "wide.safetensors")


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_it_returns_the_logits(name, dtype, tmp_path):
    config = NETWORKS[name]
    network = network_of(config, tmp_path / "net.safetensors", dtype=dtype)
    found = mx.expand(network, tmp_path / "wide.safetensors")
    wide = load(tmp_path / "wide.safetensors")
    assert isinstance(wide.config, WideSparseConfig)
    images = images_of(config, dtype=dtype)
    expected = network.module()(images)
    assert expected.std() > 1e-2
    assert wide.module()(images).dtype == dtype
    torch.testing.assert_close(wide.module()(images), expected, rtol=0, atol=TOLERANCE[dtype])
    assert found.difference <= TOLERANCE[dtype]
    size = (tmp_path / "wide.safetensors").stat().st_size
    assert found.bytes < size < found.bytes + 20_000
    sparse = [part.weight.numel() for part in wide.module().modules() if hasattr(part, "starts")]
    assert found.connections == sum(sparse)


def test_its_layers_are_the_effective_layers(pair):
    network, wide = pair
    for name in ("width", "density", "omega", "expansion"):
        assert getattr(wide, name) == getattr(network, name)
    assert wide.expansions() == network.expansions()
    assert [tap.name for tap in wide.taps] == [tap.name for tap in network.taps]
    assert len(wide.layers) == len(network.layers)
    for layer, original in zip(wide.layers, network.layers, strict=True):
        for name in ("block", "role", "stage", "shape", "connections", "expansion", "density"):
            assert getattr(layer, name) == getattr(original, name)
        assert layer.operator.nnz == layer.connections
        torch.testing.assert_close(layer.operator.dense(), original.operator.dense(), rtol=1e-6, atol=1e-6)
        assert (layer.bias is None) == (original.bias is None)
        if layer.bias is not None:
            assert torch.equal(layer.bias, original.bias)
        assert layer.declared_variance is None, "its connections aren't independent"
    assert wide.parameters >= sum(layer.connections for layer in wide.layers)


@pytest.mark.parametrize("position", ["before-skip", "after-skip"])
def test_cka_with_the_original_is_one(pair, position):
    network, wide = pair
    data = open_dataset("noise", shape=network.config.input_shape).first(32)
    result = mx.cka(network, replace(wide, label="wide"), data=data, position=position, batch_size=32)
    cells = result.cells[(result.cells["network_a"] == "net") & (result.cells["network_b"] == "wide")]
    diagonal = cells[cells["index_a"] == cells["index_b"]]["value"]
    assert len(diagonal) == len(network.taps)
    np.testing.assert_allclose(diagonal, 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["rp-mixer", "mixer-resized"])
@torch.no_grad()
def test_features_are_vec_of_the_originals(name, tmp_path):
    network = network_of(NETWORKS[name], tmp_path / "net.safetensors", dtype=torch.float64)
    mx.expand(network, tmp_path / "wide.safetensors")
    modules = network.module(), load(tmp_path / "wide.safetensors").module()
    images = images_of(network.config, dtype=torch.float64)
    x, v = modules[0].stem(images), modules[1].stem(images.flatten(1))
    torch.testing.assert_close(v, vec(x), rtol=0, atol=1e-12)
    blocks = [block for base in modules[0].blocks for block in (base.token, base.channel)]
    for block, wide in zip(blocks, modules[1].blocks, strict=True):
        x, v = block(x), wide(v)
        torch.testing.assert_close(v, vec(x), rtol=0, atol=1e-12)


def test_singular_values_are_the_originals(tmp_path):
    for name in ("rp-mixer", "monarch-mlp", "sw-mlp"):
        network = network_of(NETWORKS[name], tmp_path / f"{name}.safetensors", dtype=torch.float64)
        mx.expand(network, tmp_path / "wide.safetensors")
        wide = load(tmp_path / "wide.safetensors")
        for layer, original in zip(wide.layers, network.layers, strict=True):
            found, expected = layer.operator.spectrum(), original.operator.spectrum()
            np.testing.assert_allclose(
                np.sort(found.repeated()), np.sort(expected.repeated()), rtol=0, atol=1e-12 * expected.values[0]
            )
        assert len(mx.spectrum(wide).summary) == len(wide.layers)


def _by_hand(path, images):
    """Logits from the file alone: a sparse matrix and a bias for each layer, GELU, norms of every S-th entry, skips."""
    with safe_open(path, framework="np") as file:
        config = json.loads(file.metadata()["mixanalysis"])["config"]
    state = load_file(path)

    def linear(name, v):
        parts = (state[f"{name}.weight.{part}"] for part in ("values", "columns", "starts"))
        matrix = csr_array(tuple(parts), shape=tuple(state[f"{name}.weight.shape"]))
        return (matrix @ v.T).T + state.get(f"{name}.bias", 0)

    def norm(name, v):
        weight = state[f"{name}.weight"]
        x = v.reshape(len(v), len(weight), -1)
        x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + config["norm_eps"])
        return (x * weight[:, None] + state[f"{name}.bias"][:, None]).reshape(v.shape)

    def gelu(v):
        return v * (1 + erf(v / 2**0.5)) / 2

    v = linear("stem.proj", images.reshape(len(images), -1))
    for index, block in enumerate(config["blocks"]):
        path = f"blocks.{index}"
        h = linear(f"{path}.mlp.fc2", gelu(linear(f"{path}.mlp.fc1", norm(f"{path}.norm", v))))
        if block["output_activation"]:
            h = gelu(h)
        if block["skip"] == "resized":
            v = norm(f"{path}.carry.norm", linear(f"{path}.carry.proj", v))
        v = v + h
    v = norm("norm", v) if config["final_norm"] else v
    pooled = v.reshape(len(v), -1, config["tokens"]).mean(axis=2) if config["pooling"] == "mean" else v
    return pooled @ state["head.weight"].T + state["head.bias"]


@pytest.mark.parametrize("name", ["mixer", "rp-mixer-resized", "sw-mlp-resized"])
@torch.no_grad()
def test_the_file_alone_is_a_wide_sparse_mlp(name, tmp_path):
    network = network_of(NETWORKS[name], tmp_path / "net.safetensors", dtype=torch.float64)
    mx.expand(network, tmp_path / "wide.safetensors")
    images = images_of(network.config, dtype=torch.float64)
    logits = _by_hand(tmp_path / "wide.safetensors", images.numpy())
    np.testing.assert_allclose(logits, network.module()(images), rtol=0, atol=1e-12)


def test_it_says_where_it_came_from(tmp_path):
    path = checkpoint_of(NETWORKS["rp-mixer"], tmp_path / "net.safetensors")
    rewrite(path, lambda description, _: description["training"].update(key="abc", epochs_done=3))
    mx.expand(load(path), tmp_path / "wide.safetensors")
    training = description_of(tmp_path / "wide.safetensors")["training"]
    assert training.pop("expanded_from") == {
        "file": "net.safetensors",
        "sha256": open_checkpoint(path).sha256,
        "layout": "mixanalysis",
        "family": "rp-mixer",
        "config": to_dict(NETWORKS["rp-mixer"]),
    }
    assert training == {"seed": 0, "epochs": 1, "epochs_done": 3}, "what names the run isn't taken over"
    assert load(tmp_path / "wide.safetensors").trained is True


def test_the_same_network_gives_the_same_file(tmp_path):
    network = network_of(NETWORKS["pk-mixer"], tmp_path / "net.safetensors")
    for name in ("a", "b"):
        mx.expand(network, tmp_path / name)
    convert(load(tmp_path / "a"), tmp_path / "c", "own")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


@torch.no_grad()
def test_reduced_precision_becomes_float32(tmp_path):
    network = network_of(NETWORKS["kronecker-mlp"], tmp_path / "net.safetensors", dtype=torch.bfloat16)
    assert mx.expand(network, tmp_path / "wide.safetensors").difference < 1e-5
    wide = load(tmp_path / "wide.safetensors")
    assert wide.layers[0].operator.torch_dtype == torch.float32
    images = images_of(network.config)
    torch.testing.assert_close(wide.module()(images), network.module().float()(images), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_pruned_mixer_keeps_its_connections(tmp_path):
    config = NETWORKS["mixer"]
    state = module_of(config).state_dict()
    mask = torch.ones(9, 6, dtype=torch.bool)
    mask[:4, 2:] = False
    weight = state["blocks.0.token.mlp.fc1.weight"] * mask
    weight[8, 5] = 0
    pruned = {"blocks.0.token.mlp.fc1.weight": weight, "blocks.0.token.mlp.fc1.mask": mask}
    save_checkpoint(tmp_path / "net.safetensors", config, state | pruned)
    network = load(tmp_path / "net.safetensors")
    mx.expand(network, tmp_path / "wide.safetensors")
    layer = load(tmp_path / "wide.safetensors").layers[0]
    assert layer.connections == network.layers[0].connections == 5 * (54 - 16)
    assert torch.count_nonzero(layer.operator.values) == layer.connections - 5


@pytest.mark.parametrize("project", ["timm", "lucidrains 0.3"])
@torch.no_grad()
def test_mixers_of_other_projects(project, tmp_path):
    size, project = SIZES["unequal"], PROJECTS[project]
    state = project.state(size)
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "theirs.safetensors")
    network = load(tmp_path / "theirs.safetensors")
    assert mx.expand(network, tmp_path / "wide.safetensors").difference <= 1e-10
    images = project.images(size).double()
    logits = load(tmp_path / "wide.safetensors").module()(images)
    torch.testing.assert_close(logits, project.logits(state, size, images), rtol=0, atol=1e-10)


def test_a_weight_without_mask_has_all_connections(tmp_path):
    network = network_of(NETWORKS["mlp"], tmp_path / "net.safetensors")
    mx.expand(network, tmp_path / "wide.safetensors")

    def dense(_, tensors):
        for part in ("values", "columns", "starts", "shape"):
            tensors.pop(f"blocks.0.mlp.fc1.weight.{part}")
        tensors["blocks.0.mlp.fc1.weight"] = network.layers[0].operator.dense()

    wide = load(rewrite(tmp_path / "wide.safetensors", dense))
    images = images_of(network.config)
    torch.testing.assert_close(wide.module()(images), network.module()(images), rtol=0, atol=1e-5)
