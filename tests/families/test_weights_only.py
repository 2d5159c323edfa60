"""Checkpoints of unknown architectures: every matrix, and the reason for what isn't one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.utils import prune

import mixanalysis as mx
from mixanalysis.errors import CheckpointError
from mixanalysis.families.loading import load, load_all


def tensors():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    return {
        "fc.weight": normal(12, 8),
        "fc.bias": normal(12),
        "point.weight": normal(6, 5, 1, 1),
        "line.weight": normal(7, 5, 1),
        "conv.weight": normal(6, 5, 3, 3),
        "blocks.weight": normal(3, 6, 4),
        "attn.qkv.weight": normal(30, 10),
        "other.weight": normal(30, 10),
        "half.weight": normal(9, 8).half(),
        "pos_embed": normal(1, 10, 8),
        "head.weight": normal(1, 8),
        "steps": torch.tensor(3),
        "index": torch.arange(6).view(2, 3),
    }


@pytest.fixture(name="path")
def _path(tmp_path):
    save_file(tensors(), tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_every_matrix_is_analysed_and_the_rest_listed(path):
    network = load(path, weights_only=True)
    stored = tensors()
    qkv = stored["attn.qkv.weight"]
    wanted = {
        "fc": stored["fc.weight"],
        "point": stored["point.weight"][:, :, 0, 0],
        "line": stored["line.weight"][:, :, 0],
        **{f"blocks[{i}]": stored["blocks.weight"][i] for i in range(3)},
        **{f"attn.qkv.{letter}": qkv[10 * i : 10 * i + 10] for i, letter in enumerate("qkv")},
        "other": stored["other.weight"],
        "half": stored["half.weight"].float(),
    }
    found = {layer.name: layer.operator.dense() for layer in network.layers}
    assert set(found) == set(wanted)
    for name, matrix in wanted.items():
        torch.testing.assert_close(found[name], matrix)
    reasons = dict(entry[:-1].split(" (", 1) for entry in network.provenance.unused)
    assert reasons == {
        "fc.bias": "a vector",
        "conv.weight": "a convolution of kernel 3 x 3",
        "pos_embed": "a position, class token or statistic by its name",
        "head.weight": "a single row or column",
        "steps": "int64, not a weight",
        "index": "int64, not a weight",
    }
    assert (network.family, network.taps) == ("unknown", ())
    summary = mx.spectrum(network).summary.set_index("layer")
    for name, matrix in wanted.items():
        assert summary.loc[name, "s_max"] == pytest.approx(np.linalg.norm(matrix.double().numpy(), 2), rel=1e-12)


def test_pruned_weights_keep_their_masks(tmp_path):
    layer = torch.nn.Linear(8, 6)
    prune.random_unstructured(layer, "weight", amount=20)
    torch.save({"model": {f"fc.{name}": value for name, value in layer.state_dict().items()}}, tmp_path / "net.pt")
    network = load(tmp_path / "net.pt", weights_only=True)
    (fc,) = network.layers
    assert (fc.name, fc.connections) == ("fc", 28)
    torch.testing.assert_close(fc.operator.dense(), layer.weight.detach())
    assert mx.spectrum(network).summary.loc[0, "null"].startswith("mask")


def test_it_can_t_be_run(path):
    network = load(path, weights_only=True)
    with pytest.raises(CheckpointError, match=r"no known layout has these tensors .* only its weights can be analysed"):
        network.module()


def test_only_on_request_and_only_where_no_layout_fits(path):
    with pytest.raises(CheckpointError, match="no known layout has these tensors"):
        load(path)
    assert [network.family for network in load_all([path, path], weights_only=True)] == ["unknown", "unknown"]


def test_no_matrix_at_all(tmp_path):
    save_file({"bias": torch.ones(3)}, tmp_path / "net.safetensors")
    message = r"no known layout has these tensors \(bias\).*; nor does it hold a matrix \(bias \(a vector\)\)"
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "net.safetensors", weights_only=True)
