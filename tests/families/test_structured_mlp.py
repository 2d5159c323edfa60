"""MLPs with Monarch and Kronecker weights: the layers cell by cell, and the networks written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import mixanalysis as mx
from cases import PATCHES, SQUARE, images_of, network_of
from mixanalysis.errors import UsageError
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.families.structured_mlp.linear import KroneckerLinear, MonarchLinear, monarch_shapes
from mixanalysis.families.structured_mlp.network import StructuredMLPConfig
from mixanalysis.network import Patches
from mixanalysis.training import plan

SHAPES = [(12, 12, 3), (12, 24, 3), (24, 12, 3), (20, 15, 5), (6, 6, 6), (7, 5, 1)]


def monarch_by_hand(first, second):
    """The map path by path: input c of block i reaches feature f = i q + j; block f mod k gives f // k to its rows."""
    k, q, p = first.shape
    s = second.shape[1]
    matrix = np.zeros((k * s, k * p))
    for i in range(k):
        for c in range(p):
            for j in range(q):
                f = i * q + j
                block, place = f % k, f // k
                for row in range(s):
                    # output `row` of that block is written `row`-th, block after block
                    matrix[row * k + block, i * p + c] += float(second[block, row, place] * first[i, j, c])
    return matrix


@pytest.mark.parametrize(("fan_in", "fan_out", "blocks"), SHAPES)
def test_monarch_layer_is_the_sum_over_paths(fan_in, fan_out, blocks):
    torch.manual_seed(0)
    layer = MonarchLinear(fan_in, fan_out, blocks).double()
    with torch.no_grad():
        layer.bias.normal_()
    x = torch.randn(5, fan_in, dtype=torch.float64)
    matrix = torch.from_numpy(monarch_by_hand(layer.first.detach(), layer.second.detach()))
    torch.testing.assert_close(layer(x), x @ matrix.T + layer.bias)
    first, second = monarch_shapes(fan_in, fan_out, blocks)
    assert (tuple(layer.first.shape), tuple(layer.second.shape)) == (first, second)
    assert first[1] == second[2] == min(fan_in, fan_out) // blocks


@pytest.mark.parametrize(("fan_in", "fan_out", "blocks"), SHAPES)
def test_kronecker_layer_is_the_kronecker_product(fan_in, fan_out, blocks):
    torch.manual_seed(0)
    layer = KroneckerLinear(fan_in, fan_out, blocks).double()
    with torch.no_grad():
        layer.bias.normal_()
    x = torch.randn(5, fan_in, dtype=torch.float64)
    torch.testing.assert_close(layer(x), x @ torch.kron(layer.left, layer.right).T + layer.bias)
    assert layer.left.shape == (blocks, blocks)


@pytest.mark.parametrize("kind", [MonarchLinear, KroneckerLinear])
def test_cells_have_variance_one_over_fan_in(kind):
    torch.manual_seed(0)
    layer = kind(400, 800, 20, bias=False)
    matrix = layer(torch.eye(400)).T.detach()
    assert float(matrix.square().mean()) == pytest.approx(1 / 400, rel=0.1)


def test_the_network_of_figure_2d(tmp_path):
    """x -> Bc B2 relu(B1 x) (HK Fig. 2d), from the weights in the checkpoint alone."""
    for structure in ("monarch", "kronecker"):
        config = StructuredMLPConfig.of(SQUARE, 3, structure, expansion=2.0)
        network = network_of(config, tmp_path / f"{structure}.safetensors", dtype=torch.float64)
        state = network.module().state_dict()

        def matrix(name, state=state, structure=structure):
            if structure == "kronecker":
                return torch.kron(state[f"{name}.left"], state[f"{name}.right"])
            return torch.from_numpy(monarch_by_hand(state[f"{name}.first"], state[f"{name}.second"]))

        images = images_of(config, dtype=torch.float64)
        x = images.flatten(1)
        x = F.relu(x @ matrix("blocks.0.mlp.fc1").T + state["blocks.0.mlp.fc1.bias"])
        x = x @ matrix("blocks.0.mlp.fc2").T + state["blocks.0.mlp.fc2.bias"]
        torch.testing.assert_close(network.module()(images), x @ state["head.weight"].T + state["head.bias"])
        assert (config.inputs, config.hidden, config.size, config.family) == (64, 128, 64, f"{structure}-mlp")


def test_stored_weights_are_far_fewer_than_cells(tmp_path):
    config = StructuredMLPConfig.of(Patches(28, 28, 1, 4), 10, "monarch")
    network = network_of(config, tmp_path / "net.safetensors")
    assert config.blocks == 28
    stored = 2 * 2 * 28**3  # two layers of two factors with 28 blocks of 28 x 28
    assert network.parameters == stored + 2 * 784 + 10 * 784 + 10
    assert (network.width, network.density, network.omega) == (784, 1.0, 784**2)


@pytest.mark.parametrize("name", ["monarch-mlp", "kronecker-mlp"])
def test_it_trains_and_the_analyses_take_it(name, tmp_path):
    config, data = plan(name, Sizes(depth=2), limit=300)
    network = mx.load(mx.train(config, data, tmp_path / "a.safetensors", mx.training.TrainingConfig(epochs=4, lr=1e-2)))
    assert network.provenance.training["test_accuracy"] > 0.6
    matrix = mx.cka(network, data=data[1].first(64)).matrix
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-9)
    assert 0 < matrix.iloc[0, 1] < 1
    summary = mx.spectrum(network).summary
    assert (summary["density"] == 1).all()
    for layer, s_max in zip(network.layers, summary["s_max"], strict=True):
        assert s_max == pytest.approx(np.linalg.norm(layer.operator.dense().double().numpy(), 2), rel=1e-6)
    before = mx.load(mx.train(config, data, tmp_path / "b.safetensors", mx.training.TrainingConfig(epochs=0)))
    added = mx.spectrum(network, initial=before).summary
    assert (added["s_max"] > 0).all()


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        (Sizes(), (0, 16, 256, 256, 1)),
        (Sizes(width=64), (0, 8, 64, 64, 1)),
        (Sizes(channels=8, expansion=2.0, depth=4), (8, 8, 256, 128, 4)),
        (Sizes(blocks=4), (0, 4, 256, 256, 1)),
        (Sizes(width=27), (0, 1, 27, 27, 1)),
    ],
)
def test_sizes(sizes, expected):
    config = configure("monarch-mlp", Patches(16, 16, 1, 4), 10, sizes)
    assert (config.features, config.blocks, config.hidden, config.size, config.depth) == expected
    assert math.gcd(config.inputs, config.hidden, config.size) % config.blocks == 0


REFUSED = {
    "inputs": (Sizes(blocks=5, width=60, expansion=1.0), r"5 blocks don't divide 192 inputs; choose other --blocks"),
    "hidden": (Sizes(blocks=4, expansion=0.99), r"4 blocks don't divide 190 hidden units; choose other --blocks"),
    "features": (Sizes(blocks=4, width=30, expansion=2.0), r"4 blocks don't divide 30 features|60 hidden"),
    "none": (Sizes(blocks=0), r"blocks must be at least 1, got 0"),
    "depth": (Sizes(depth=0), r"depth must be at least 1, got 0"),
    "channels": (Sizes(channels=-1, width=192), r"features must be at least 0, got -1"),
    "density": (Sizes(density=0.5), r"--density doesn't apply to the family kronecker-mlp"),
}


@pytest.mark.parametrize(("sizes", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(sizes, message):
    with pytest.raises(UsageError, match=message):
        configure("kronecker-mlp", PATCHES, 3, sizes)
