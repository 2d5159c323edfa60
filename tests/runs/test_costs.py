"""What an analysis will cost follows from shapes, grows as it should, and knows what it can't know."""

from __future__ import annotations

import pytest
from torch import nn

import mixanalysis as mx
from cases import NETWORKS, network_of
from mixanalysis.families.sizes import Sizes
from mixanalysis.runs import costs
from mixanalysis.selection import matching
from mixanalysis.similarity import FeatureExtractor
from mixanalysis.spectra import targets
from mixanalysis.spectra.nulls import independent_factor
from mixanalysis.training import plan

networks = pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)


def layers_of(cost):
    return cost.rows[cost.rows["network"] != ""]


@networks
def test_features_are_those_that_the_blocks_give(config, tmp_path):
    network = network_of(config, tmp_path / "net.safetensors")
    found = mx.cka(network, data="noise", limit=8, batch_size=8).layers
    rows = layers_of(costs.of_cka([network], 8, 8))
    assert list(rows["layer"]) == list(found["layer"])
    assert list(rows["size"]) == [f"{size} features" for size in found["size"]]


@networks
def test_matrices_are_those_that_are_decomposed(config, tmp_path):
    network = network_of(config, tmp_path / "net.safetensors")
    rows = layers_of(costs.of_spectra(targets.chosen([network], matching())))
    shapes = [independent_factor(layer.operator).shape for layer in network.layers]
    assert list(rows["size"]) == [f"{a} x {b}" for a, b in shapes]
    assert list(rows["layer"]) == [layer.name for layer in network.layers]


def test_cka_grows_with_images_batches_and_pairs(tmp_path):
    mixer, mlp = (network_of(NETWORKS[name], tmp_path / f"{name}.safetensors") for name in ("mixer", "mlp"))
    once = costs.of_cka([mixer], 64, 16)
    assert costs.of_cka([mixer], 640, 16).operations == pytest.approx(10 * once.operations)
    assert costs.of_cka([mixer], 8192, 8192).memory > 1e8 >= once.memory
    fewer = costs.of_cka([mixer], 64, 16, matching(["*.token"]))
    assert once.operations / 2 < fewer.operations < once.operations, "all blocks run, but fewer are compared"
    both, alone = costs.of_cka([mixer, mlp], 64, 16), costs.of_cka([mlp], 64, 16)
    assert both.operations > once.operations + alone.operations


def test_a_module_of_the_user_is_unknown(tmp_path):
    mixer = network_of(NETWORKS["mixer"], tmp_path / "a.safetensors")
    subject = FeatureExtractor.module_of("mine", nn.Sequential(nn.Flatten(), nn.Linear(4, 4)))
    cost = costs.of_cka([mixer, subject], 64, 16)
    assert cost.unknown == ("mine",)
    assert cost.to_json(1e9)["unknown"] == ["mine"]
    assert set(cost.rows["network"]) == {"a", ""}


def test_shuffles_are_decompositions_more(tmp_path):
    network = network_of(NETWORKS["mixer"], tmp_path / "a.safetensors")
    wanted = targets.chosen([network], matching())
    assert costs.of_spectra(wanted, 9).operations == pytest.approx(10 * costs.of_spectra(wanted).operations)


def test_products_are_their_factors(tmp_path):
    network = network_of(NETWORKS["mixer-square"], tmp_path / "a.safetensors")
    cost = costs.of_spectra(targets.chosen([network], matching(), products=True))
    layers = costs.of_spectra(targets.chosen([network], matching()))
    assert list(layers_of(cost)["size"]) == ["16 x 16", "16 x 16"]
    assert cost.operations == layers.operations


def test_training_is_three_passes_over_each_weight():
    """Of a dense MLP: forward, and backward for inputs and weights; two operations for each weight and image."""
    config, (images, _) = plan("mlp", Sizes(width=512))
    cost = costs.of_training("mlp", config, len(images), 3, 64)
    (row,) = cost.rows.to_dict("records")
    weights = int(row["size"].split()[0])
    steps = -(-len(images) // 64)
    assert row["operations"] == pytest.approx(3 * 2 * weights * 64 * steps * 3, rel=0.05)
    assert row["memory"] > 16 * weights
    assert costs.of_training("mlp", config, len(images), 0, 64).seconds(1.0) == 0


@pytest.mark.parametrize("family", ["mixer", "rp-s-mixer", "pk-mixer", "sw-mlp", "monarch-mlp", "kronecker-mlp"])
def test_every_family_can_be_told(family):
    config, (images, _) = plan(family, Sizes())
    assert costs.of_training(family, config, len(images), 1, 64).operations > 1e6


def test_a_report_is_its_parts(tmp_path):
    pair = [network_of(NETWORKS[name], tmp_path / f"{name}.safetensors") for name in ("mixer", "mlp")]
    report, similarity = costs.of_report(pair, 64, 16), costs.of_cka(pair, 64, 16)
    spectra = costs.of_spectra(targets.chosen(pair, matching()))
    assert report.operations == similarity.operations + spectra.operations
    assert report.memory == max(similarity.memory, spectra.memory)
    assert report.seconds(1e9) > similarity.seconds(1e9) + spectra.seconds(1e9)


def test_a_sweep_is_as_long_as_its_widths():
    one, three = costs.of_sweep(1e5, 2.0, [512], 5), costs.of_sweep(1e5, 2.0, [512, 1024, 2048], 5)
    assert three.operations == 3 * one.operations
    assert list(three.rows["size"]) == ["1024 x 512", "2048 x 1024", "4096 x 2048"]


def test_time_is_operations_over_speed_and_what_each_call_takes():
    cost = costs.of_sweep(1e5, 2.0, [512], 5)
    assert cost.seconds(1e9) - cost.seconds(2e9) == pytest.approx(cost.operations / 2e9)
    assert cost.seconds(1e30) == pytest.approx(cost.calls * costs.SMALL_CALL)


def test_the_speed_of_this_machine():
    assert 1e7 < costs.measured_speed(size=64) < 1e16
