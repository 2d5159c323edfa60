"""Noise in blocks on a diagonal, and in copies of one matrix that have gains."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import mixanalysis as mx
from cases import NETWORKS, network_of
from mixanalysis.operators import BlockDiagonal, Butterfly, Dense, Kronecker, Lift, Masked, Permuted, Scaled
from mixanalysis.spectra import nulls
from mixanalysis.spectra.nulls.gains import gains


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def null_of(operator, source="measured"):
    factor = nulls.independent_factor(operator)
    return nulls.factor_null(factor, factor.spectrum().values, source, None, 0.01)


def diagonal(values):
    places = torch.arange(len(values))
    return Masked(places, places, values, (len(values), len(values)))


def test_blocks_reach_the_edge_of_one_block():
    blocks = 0.3 * noise(40, 60, 30)
    operator = Lift(Permuted(BlockDiagonal(blocks), rows=torch.randperm(2400)), 3, "right")
    null = null_of(operator)
    edge = 0.3 * (math.sqrt(60) + math.sqrt(30))
    assert null.bulk_edge == pytest.approx(edge, rel=0.02)
    # the largest of forty blocks
    assert null.expected <= float(BlockDiagonal(blocks).spectrum().values[0]) <= null.threshold
    assert 0.02 < null.p_value(float(BlockDiagonal(blocks).spectrum().values[0])) < 0.98
    assert null.name.startswith("mask: graph edge and hubs")


def test_a_spike_in_one_block_shows():
    blocks = noise(10, 20, 20)
    blocks[3] += torch.outer(torch.ones(20), torch.ones(20)).double()
    operator = BlockDiagonal(blocks)
    null, s_max = null_of(operator), float(operator.spectrum().values[0])
    assert null.p_value(s_max) < 1e-6
    assert s_max > null.threshold


def test_equal_to_the_mask_that_it_is():
    blocks = noise(4, 3, 5)
    dense = BlockDiagonal(blocks).dense()
    mask = torch.block_diag(*torch.ones(4, 3, 5))
    assert null_of(BlockDiagonal(blocks)) == null_of(Masked.from_dense(dense, mask))


@pytest.mark.parametrize("source", ["measured", "fitted"])
def test_copies_with_gains_reach_as_far_as_the_largest(source):
    weight, each = noise(60, 60), torch.tensor([0.5, -2.0, 1.0, 0.1], dtype=torch.float64)
    operator = Kronecker(diagonal(each), Dense(weight))
    found, own = null_of(operator, source), null_of(Dense(weight), source)
    s_max = float(operator.spectrum().values[0])
    assert s_max == pytest.approx(2 * float(torch.linalg.matrix_norm(weight, 2)))
    for name in ("bulk_edge", "expected", "threshold"):
        assert getattr(found, name) == pytest.approx(2 * getattr(own, name))
    assert found.p_value(s_max) == pytest.approx(own.p_value(s_max / 2))
    assert math.isnan(found.variance)
    assert found.name == "Marchenko-Pastur, times the largest gain"
    assert found.ks == own.ks or math.isnan(own.ks)


def test_gains_of_a_pruned_matrix():
    weight = noise(30, 30)
    mask = (noise(30, 30, seed=1) > 0.5).double()
    masked = Masked.from_dense(weight, mask)
    found, own = null_of(Kronecker(diagonal(torch.tensor([3.0]).double()), masked)), null_of(masked)
    assert found.threshold == pytest.approx(3 * own.threshold)


def test_gains_or_weights_of_zero_have_no_null():
    assert null_of(Kronecker(diagonal(torch.zeros(2).double()), Dense(noise(4, 4)))) is None
    assert null_of(Kronecker(diagonal(torch.ones(2).double()), Dense(torch.zeros(4, 4).double()))) is None


@pytest.mark.parametrize("operator", [Kronecker(Dense(noise(3, 3)), Dense(noise(4, 4))), Dense(noise(3, 3))])
def test_what_has_no_gains(operator):
    assert gains(operator) is None


@pytest.mark.parametrize("side", ["rows", "columns"])
def test_scaled_noise_has_no_outliers(side):
    """Uneven scales widen the bulk far beyond the Marchenko-Pastur edge of the mean variance."""
    scales = torch.linspace(0.2, 2.5, 120, dtype=torch.float64)
    weight = 0.4 * noise(120, 80) if side == "rows" else 0.4 * noise(80, 120)
    operator = Scaled(Dense(weight), **{side: scales})
    null, s_max = null_of(operator, "fitted"), float(operator.spectrum().values[0])
    plain = 0.4 * float(scales.square().mean().sqrt()) * (math.sqrt(120) + math.sqrt(80))
    assert s_max > 1.1 * plain
    assert null.expected == pytest.approx(s_max, rel=0.03)
    assert null.threshold > s_max
    assert 0.01 < null.p_value(s_max) < 0.99
    assert null.variance == pytest.approx(0.16 * float(scales.square().mean()), rel=0.05)
    spiked = Scaled(Dense(weight + 0.5), **{side: scales})
    assert null_of(spiked).p_value(float(spiked.spectrum().values[0])) < 1e-6


def test_scales_of_a_pruned_matrix_are_multiplied_in():
    weight, mask = noise(30, 20), (noise(30, 20, seed=1) > 0).double()
    scales = 1 + noise(20) ** 2
    scaled = Scaled(Masked.from_dense(weight, mask), columns=scales)
    assert null_of(scaled) == null_of(Masked.from_dense(weight * scales, mask))


def test_scales_without_a_null():
    assert null_of(Scaled(Dense(noise(3, 3)), rows=torch.zeros(3).double())) is None
    assert null_of(Scaled(BlockDiagonal(noise(2, 2, 2)), rows=torch.ones(4).double())) is None


def test_what_has_no_law():
    operator = Butterfly(noise(1, 1, 2, 2, 2, 2))
    assert nulls.factor_null(operator, np.empty(0), "measured", None, 0.01) is None
    assert nulls.no_null(operator) == "none: no law is known for a Butterfly"
    assert nulls.entry_variance(operator, np.empty(0), 0.01) is None
    for known in (Dense(noise(2, 2)), BlockDiagonal(noise(2, 2, 2)), Kronecker(diagonal(noise(2)), Dense(noise(2, 2)))):
        assert nulls.no_null(known) == "none: all weights are zero"


def test_layers_of_a_structured_mixer(tmp_path):
    network = network_of(NETWORKS["mixer-structured"], tmp_path / "net.safetensors")
    found = mx.spectrum(network).summary.set_index("layer")["null"]
    assert found["blocks.0.token.mlp.fc1"] == "mask: graph edge and hubs, p-value from random signs"
    assert found["blocks.0.token.mlp.fc2"] == "free product"
    assert found["blocks.0.channel.mlp.fc1"] == "Marchenko-Pastur"
