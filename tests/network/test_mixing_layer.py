"""A mixing layer at one example."""

from __future__ import annotations

from functools import partial

import torch

from cases import NETWORKS, network_of
from mixanalysis.network import MixingLayer
from mixanalysis.operators import Dense, Scaled


def experts(weights, router, example):
    """The map that a router chooses at an example, times its share: sum_e g_e(x) W_e with the largest g_e alone."""
    shares = torch.softmax(router @ example.flatten(), 0)
    best = int(shares.argmax())
    return Scaled(Dense(weights[best]), rows=shares[best].expand(weights.shape[1]))


def routed(weights, router):
    return MixingLayer(
        name="experts",
        block=0,
        role="expert",
        stage="in",
        shape=tuple(weights.shape[1:]),
        connections=weights[0].numel(),
        declared_variance=None,
        build=lambda: Dense(weights.mean(0)),
        build_bias=lambda: None,
        build_at=partial(experts, weights, router),
    )


def test_a_routed_layer_is_another_matrix_at_another_example():
    torch.manual_seed(0)
    weights, router = torch.randn(3, 5, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    layer = routed(weights, router)
    chosen = set()
    for example in torch.randn(20, 4, dtype=torch.float64):
        shares = (router @ example).exp() / (router @ example).exp().sum()
        expert = int(shares.argmax())
        chosen.add(expert)
        expected = shares[expert] * (weights[expert] @ example)
        torch.testing.assert_close(layer.at(example).apply(example), expected)
    assert len(chosen) > 1
    torch.testing.assert_close(layer.operator.dense(), weights.mean(0))


def test_a_static_layer_is_the_same_at_every_example(tmp_path):
    network = network_of(NETWORKS["mixer"], tmp_path / "a.safetensors")
    example = torch.randn(network.config.input_shape)
    for layer in network.layers:
        torch.testing.assert_close(layer.at(example).dense(), layer.operator.dense(), rtol=0, atol=0)
