"""Spectra of networks: every number of the summary against numpy on the dense effective matrix, and the nulls."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

import mixanalysis as mx
from cases import NETWORKS, PATCHES, module_of, network_of
from mixanalysis.checkpoints import save_checkpoint
from mixanalysis.errors import CheckpointError, NothingToAnalyseError
from mixanalysis.families import FAMILIES
from mixanalysis.families.loading import load
from mixanalysis.families.mixer.network import MixerConfig
from mixanalysis.families.s_mixer.network import SMixerConfig
from mixanalysis.families.structured_mlp.network import StructuredMLPConfig
from mixanalysis.families.sw_mlp.network import SWMLPConfig
from mixanalysis.network import Patches
from mixanalysis.operators import Dense, Lift, Masked, Permuted
from mixanalysis.results import to_json
from mixanalysis.selection import matching
from mixanalysis.spectra import tracy_widom
from mixanalysis.spectra.nulls import independent_factor
from mixanalysis.spectra.nulls.signs import random_signs
from mixanalysis.spectra.schemas import SINGULAR_VALUES, SPECTRUM
from spectra.spikes import spiked

# weights that are products of matrices have nulls of their own, see test_structures.py
SINGLE = {
    name: config
    for name, config in NETWORKS.items()
    if not isinstance(config, StructuredMLPConfig) and name != "mixer-structured"
}
networks = pytest.mark.parametrize("config", SINGLE.values(), ids=SINGLE)


def saved(config, module, path, epochs=0):
    save_checkpoint(path, config, module.state_dict(), {"epochs": epochs})
    return load(path)


def fresh(config, path, seed=0, change=lambda _state: None):
    """A network as the trainer initialises it, its weights changed in place."""
    torch.manual_seed(seed)
    module = FAMILIES[config.family].module(config)
    with torch.no_grad():
        change(dict(module.named_parameters()))
    return saved(config, module, path)


def scaled(factor):
    def change(parameters):
        for name, weight in parameters.items():
            if "mlp" in name and weight.ndim == 2:
                weight.mul_(factor)

    return change


class TestSummary:
    @networks
    def test_every_layer_against_its_dense_matrix(self, config, tmp_path):
        network = network_of(config, tmp_path / "net.safetensors", dtype=torch.float64)
        result = mx.spectrum(network, variance="measured")
        assert list(result.summary.columns) == [column.name for column in SPECTRUM.columns]
        assert result.summary["layer"].tolist() == [layer.name for layer in network.layers]
        for row, layer in zip(result.summary.itertuples(), network.layers, strict=True):
            dense = layer.operator.dense().numpy()
            expected = np.linalg.svd(dense, compute_uv=False)
            a, b = row.factor_rows, row.factor_columns
            assert (row.rows, row.columns) == dense.shape == (a * row.copies, b * row.copies)
            assert row.s_max == pytest.approx(expected[0], rel=1e-12)
            assert row.variance == pytest.approx((dense**2).sum() / (a * b * row.copies), rel=1e-12)
            if a == b == 1:
                continue
            assert row.edge == pytest.approx(math.sqrt(row.variance) * (math.sqrt(a) + math.sqrt(b)), rel=1e-13)
            assert row.c_gamma == pytest.approx(1 + math.sqrt(dense.shape[0] / dense.shape[1]), rel=1e-13)
            assert row.s_max_scaled == pytest.approx(row.s_max / math.sqrt(row.variance * b), rel=1e-13)
            assert row.s_max_scaled / row.c_gamma == pytest.approx(row.s_max / row.edge, rel=1e-12)
            assert (row.connections, row.density) == (layer.connections, layer.density)
            assert row.connections >= np.count_nonzero(dense)
            assert (row.variance_source, row.method, row.network) == ("measured", "exact", "net")
            assert (row.block, row.role, row.width) == (layer.block, layer.role, layer.width)
            own = result.values[result.values["layer"] == layer.name]
            repeated = np.repeat(own["singular_value"], own["multiplicity"]).to_numpy()
            np.testing.assert_allclose(np.append(repeated, np.zeros(row.zeros)), expected, atol=1e-12)
            assert row.beyond_bulk * row.copies == (expected > row.bulk_edge).sum()
            assert row.outliers * row.copies == (expected > row.threshold).sum()
            assert row.bulk_edge <= row.null_edge <= row.threshold
            assert row.zeros <= (expected < 1e-12).sum()

    @networks
    def test_copies_are_the_other_axis(self, config, tmp_path):
        network = network_of(config, tmp_path / "net.safetensors")
        summary = mx.spectrum(network).summary
        if config.family in ("sw-mlp", "mlp"):
            assert summary["copies"].unique().tolist() == [1]
        else:
            copies = {"token": config.channels, "skip": config.channels, "channel": config.tokens}
            assert summary["copies"].tolist() == [copies[role] for role in summary["role"]]

    @networks
    def test_the_null_is_that_of_the_structure(self, config, tmp_path):
        network = network_of(config, tmp_path / "net.safetensors")
        summary = mx.spectrum(network, variance="measured").summary
        masked = config.family == "sw-mlp"
        assert summary["null"].unique().tolist() == [
            "mask: graph edge and hubs, p-value from random signs" if masked else "Marchenko-Pastur"
        ]
        for row in summary.itertuples():
            assert row.p_value == pytest.approx(tracy_widom.sf(row.z), rel=1e-12)
            if not masked:
                sizes = (row.factor_rows, row.factor_columns, row.variance)
                assert row.z == pytest.approx(tracy_widom.statistic(row.s_max, *sizes), abs=1e-10)
                assert row.null_edge == row.edge

    def test_columns_of_values(self, tmp_path):
        network = network_of(NETWORKS["mixer"], tmp_path / "net.safetensors")
        values = mx.spectrum(network).values
        assert list(values.columns) == [column.name for column in SINGULAR_VALUES.columns]
        assert values["network"].unique().tolist() == ["net"]
        assert values.groupby("layer", sort=False)["singular_value"].is_monotonic_decreasing.all()

    def test_several_networks_in_order(self, tmp_path):
        found = [network_of(NETWORKS[name], tmp_path / f"{name}.safetensors") for name in ("sw-mlp", "mixer")]
        together = mx.spectrum(*found)
        assert together.summary["network"].unique().tolist() == ["sw-mlp", "mixer"]
        alone = mx.spectrum(found[1])
        mixer = together.summary[together.summary["network"] == "mixer"].reset_index(drop=True)
        # the discovery rate is over all layers of the table
        assert mixer.drop(columns="q_value").equals(alone.summary.drop(columns="q_value"))
        assert together.to_frame() is together.summary
        assert json.loads(to_json(together.to_json()))["spectrum"][0]["layer"] == "blocks.0.mlp.fc1"

    def test_permutations_change_nothing(self, tmp_path):
        module = module_of(NETWORKS["mixer"])
        state = module.state_dict()
        permuted = module_of(NETWORKS["rp-mixer"])
        permuted.load_state_dict(state, strict=False)
        plain = mx.spectrum(saved(NETWORKS["mixer"], module, tmp_path / "plain.safetensors")).summary
        random = mx.spectrum(saved(NETWORKS["rp-mixer"], permuted, tmp_path / "random.safetensors")).summary
        assert plain.drop(columns="network").equals(random.drop(columns="network"))

    def test_progress_counts_layers(self, tmp_path):
        calls = []
        network = network_of(NETWORKS["mlp"], tmp_path / "net.safetensors")
        mx.spectrum(network, progress=lambda *at: calls.append(at))
        assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_independent_factor_strips_copies_and_permutations():
    factor = Dense(torch.ones(2, 3))
    order = torch.tensor([1, 0, 3, 2])
    assert independent_factor(Permuted(Lift(factor, 2, "left"), order, None)) is factor
    assert independent_factor(factor) is factor


class TestSelection:
    def test_layers_are_chosen_by_name(self, tmp_path):
        network = network_of(NETWORKS["mixer"], tmp_path / "net.safetensors")
        summary = mx.spectrum(network, layers=matching(["*.token.*"], ["*.fc2"])).summary
        assert summary["layer"].tolist() == ["blocks.0.token.mlp.fc1", "blocks.1.token.mlp.fc1"]

    def test_nothing_is_left(self, tmp_path):
        network = network_of(NETWORKS["mixer"], tmp_path / "net.safetensors")
        message = (
            r"no layer left to analyse for head; layers are called blocks.0.token.mlp.fc1, blocks.0.token.mlp.fc2, "
        )
        with pytest.raises(NothingToAnalyseError, match=message):
            mx.spectrum(network, layers=matching(["head"]))


WIDE = MixerConfig.of(Patches(24, 32, 1, 4), 0, channels=40, depth=2)
"""Factors of 96 x 48 and 80 x 40, and their transposes."""


class TestNoise:
    @pytest.mark.parametrize("variance", ["fitted", "measured", "declared"])
    def test_shared_layers_of_noise_are_not_called_signal(self, variance, tmp_path):
        rows = [
            mx.spectrum(fresh(WIDE, tmp_path / f"{seed}.safetensors", seed), variance=variance).summary
            for seed in range(6)
        ]
        p = np.concatenate([summary["p_value"] for summary in rows])
        assert len(p) == 48
        assert p.min() > 1e-3
        assert 0.35 < p.mean() < 0.65
        beyond = np.concatenate([summary["s_max"] / summary["null_edge"] for summary in rows])
        assert 0.9 < beyond.min() < beyond.max() < 1.06

    @pytest.mark.parametrize("mask", ["bernoulli", "exact"])
    @pytest.mark.parametrize("row_length", [3, 10, 20])
    def test_masked_layers_of_noise_are_not_called_signal(self, row_length, mask, tmp_path):
        patches = Patches(20, 20, 1, 4)
        config = SWMLPConfig.of(patches, 0, size=300, depth=1, density=row_length / 300, mask=mask)
        rows = [mx.spectrum(fresh(config, tmp_path / f"{seed}.safetensors", seed)).summary for seed in range(4)]
        p = np.concatenate([summary["p_value"] for summary in rows])
        assert len(p) == 8
        assert p.min() > 5e-3
        assert 0.15 < np.median(p) < 0.85

    def test_the_mask_s_own_edge_is_beyond_that_of_a_dense_layer(self, tmp_path):
        config = SWMLPConfig.of(Patches(20, 20, 1, 4), 0, size=300, depth=1, density=10 / 300)
        summary = mx.spectrum(fresh(config, tmp_path / "a.safetensors")).summary
        assert (summary["null_edge"] > 1.05 * summary["edge"]).all()
        assert (summary["s_max"] > 1.05 * summary["edge"]).all()

    def test_share_of_false_alarms(self):
        generator = torch.Generator().manual_seed(0)
        runs, alarms = 150, 0
        for _ in range(runs):
            weight = torch.randn(24, 16, generator=generator, dtype=torch.float64)
            matrix = Masked.from_dense(weight, torch.rand(24, 16, generator=generator) < 0.3)
            centre, scale = random_signs(matrix)
            s_max = float(torch.linalg.matrix_norm(matrix.dense(), 2))
            alarms += tracy_widom.sf((s_max**2 - centre) / scale) < 0.1
        assert 0.04 * runs < alarms < 0.18 * runs


class TestSignal:
    def test_a_planted_spike_is_found(self, tmp_path):
        name = "blocks.1.token.mlp.fc1"
        theta = 2.5

        def plant(parameters):
            weight = parameters[f"{name}.weight"]
            u, v = torch.randn(weight.shape[0]), torch.randn(weight.shape[1])
            weight.add_(theta * torch.outer(u / u.norm(), v / v.norm()))

        for variance in ("fitted", "measured", "declared"):
            network = fresh(WIDE, tmp_path / "a.safetensors", 0, plant)
            summary = mx.spectrum(network, variance=variance).summary.set_index("layer")
            assert summary.loc[name, "p_value"] < 1e-6
            assert summary.loc[name, "outliers"] == 1
            assert summary.loc[name, "s_max"] == pytest.approx(spiked(theta, 96, 48, 1 / 48), rel=0.05)
            assert (summary.drop(name)["p_value"] > 1e-3).all()

    def test_a_spike_under_a_mask_is_found(self, tmp_path):
        config = SWMLPConfig.of(Patches(20, 20, 1, 4), 0, size=300, depth=1, density=15 / 300)

        def plant(parameters):
            weight = parameters["blocks.0.mlp.fc2.weight"]
            u, v = torch.randn(weight.shape[0]).sign(), torch.randn(weight.shape[1]).sign()
            # the part that the mask keeps of a rank-one matrix with cells as large as the noise
            weight.add_((weight != 0) * torch.outer(u, v) * weight[weight != 0].abs().mean())

        summary = mx.spectrum(fresh(config, tmp_path / "a.safetensors", 0, plant)).summary.set_index("layer")
        assert summary.loc["blocks.0.mlp.fc2", "p_value"] < 1e-6
        assert summary.loc["blocks.0.mlp.fc2", "outliers"] >= 1
        assert summary.loc["blocks.0.mlp.fc1", "p_value"] > 1e-3


class TestDeclaredVariance:
    @pytest.mark.parametrize("name", ["mixer", "rp-s-mixer", "sw-mlp", "sw-mlp-fc-exact", "mlp"])
    def test_it_is_one_over_the_factor_s_columns(self, name, tmp_path):
        network = network_of(NETWORKS[name], tmp_path / "a.safetensors")
        summary = mx.spectrum(network, variance="declared").summary
        np.testing.assert_allclose(summary["variance"], 1 / summary["factor_columns"], rtol=1e-14)
        assert summary["variance_source"].unique().tolist() == ["declared"]
        # then the edge is c_gamma
        np.testing.assert_allclose(summary["edge"], summary["c_gamma"], rtol=1e-13)
        np.testing.assert_allclose(summary["s_max_scaled"], summary["s_max"], rtol=1e-13)

    @pytest.mark.parametrize(
        "kind", [("bernoulli", "inverse-root"), ("exact", "inverse-root"), ("bernoulli", "one"), None]
    )
    def test_fresh_weights_have_it(self, kind, tmp_path):
        config = WIDE
        if kind is not None:
            mask, value = kind
            wide = {"size": 200, "depth": 1, "density": 0.1}
            config = SWMLPConfig.of(Patches(20, 20, 1, 4), 0, mask=mask, mask_value=value, **wide)
        network = fresh(config, tmp_path / "a.safetensors")
        measured = mx.spectrum(network, variance="measured").summary
        declared = mx.spectrum(network, variance="declared").summary
        np.testing.assert_allclose(measured["variance"], declared["variance"], rtol=0.06)
        np.testing.assert_allclose(measured["s_max"], declared["s_max"], rtol=0)

    @pytest.mark.parametrize("family", ["mixer", "sw-mlp"])
    def test_growth_shows_against_it_alone(self, family, tmp_path):
        config = WIDE if family == "mixer" else SWMLPConfig.of(PATCHES, 0, size=120, depth=1, density=0.2)
        network = fresh(config, tmp_path / "a.safetensors", 0, scaled(3.0))
        measured = mx.spectrum(network, variance="measured").summary
        declared = mx.spectrum(network, variance="declared").summary
        ratio = declared["s_max"] / declared["null_edge"]
        np.testing.assert_allclose(ratio, 3 * measured["s_max"] / measured["null_edge"], rtol=0.06)
        assert (declared["p_value"] < 1e-12).all()
        assert (measured["p_value"] > 1e-3).all()

    def test_an_unknown_initialisation(self, tmp_path):
        network = network_of(NETWORKS["mixer"], tmp_path / "a.safetensors")
        for layer in network.layers:
            object.__setattr__(layer, "declared_variance", None)
        message = r"blocks.0.token.mlp.fc1: its initialisation isn't known; use another --variance"
        with pytest.raises(NothingToAnalyseError, match=message):
            mx.spectrum(network, variance="declared")


class TestDegenerate:
    NULL_COLUMNS = ("edge", "null_edge", "s_max_scaled", "z", "p_value")

    @pytest.mark.parametrize("name", ["mixer", "rp-mixer", "sw-mlp", "mlp"])
    def test_zero_weights_have_no_null(self, name, tmp_path):
        summary = mx.spectrum(fresh(NETWORKS[name], tmp_path / "a.safetensors", 0, scaled(0.0))).summary
        assert summary[list(self.NULL_COLUMNS)].isna().all(axis=None)
        assert summary["s_max"].tolist() == [0.0] * len(summary)
        assert summary["null"].unique().tolist() == ["none: all weights are zero"]
        assert (summary["outliers"] == 0).all()
        rows = json.loads(to_json(mx.spectrum(fresh(NETWORKS[name], tmp_path / "a.safetensors")).to_json()))
        assert rows["spectrum"][0]["p_value"] is not None

    @pytest.mark.parametrize("name", ["mixer", "sw-mlp", "mlp"])
    def test_zero_weights_against_the_initialisation(self, name, tmp_path):
        network = fresh(NETWORKS[name], tmp_path / "a.safetensors", 0, scaled(0.0))
        summary = mx.spectrum(network, variance="declared").summary
        assert (summary["s_max"] == 0).all()
        if name == "sw-mlp":
            assert summary["p_value"].isna().all()
        else:
            assert (summary["variance"] > 0).all()
            assert (summary["p_value"] > 0.99).all()

    def test_a_mask_without_connections(self, tmp_path):
        config = SWMLPConfig.of(PATCHES, 3, size=6, depth=1, density=1e-12)
        result = mx.spectrum(network_of(config, tmp_path / "a.safetensors"))
        assert result.summary[list(self.NULL_COLUMNS)].isna().all(axis=None)
        assert result.summary["zeros"].tolist() == [6, 6]
        assert result.summary["connections"].tolist() == [0, 0]
        assert result.values.empty
        assert list(result.values.columns) == [column.name for column in SINGULAR_VALUES.columns]

    def test_one_number_has_no_edge(self, tmp_path):
        config = SMixerConfig(Patches(8, 8, 1, 8), 3, tokens=1, channels=5, depth=1)
        summary = mx.spectrum(network_of(config, tmp_path / "a.safetensors")).summary.set_index("role")
        assert (summary.loc["token", "factor_rows"], summary.loc["token", "factor_columns"]) == (1, 1)
        assert summary.loc["token", list(self.NULL_COLUMNS)].isna().all()
        assert summary.loc["channel", list(self.NULL_COLUMNS)].notna().all()

    @pytest.mark.parametrize("shape", [(5, 1), (1, 5), (4, 2), (6, 6)])
    def test_signs_that_change_nothing(self, shape):
        count = min(shape)
        matrix = Masked(torch.arange(count), torch.arange(count), torch.linspace(1, 2, count), shape)
        centre, scale = random_signs(matrix)
        # the value itself, up to a scale that is small beside it
        assert centre == pytest.approx(float(matrix.values.max()) ** 2, rel=1e-5)
        assert 0 < scale < 1e-5 * centre


class TestNotFinite:
    @staticmethod
    def saved(tmp_path, broken):
        generator = torch.Generator().manual_seed(0)
        tensors = {f"fc{index}.weight": torch.randn(48, 32, generator=generator) for index in range(3)}
        for index in broken:
            tensors[f"fc{index}.weight"][3, 4] = float("nan")
        torch.save(tensors, tmp_path / "net.pt")
        return tensors, mx.load(tmp_path / "net.pt", weights_only=True)

    @pytest.mark.parametrize("jobs", [1, 2])
    def test_a_layer_with_nan_leaves_the_others_their_values(self, tmp_path, jobs):
        tensors, network = self.saved(tmp_path, [1])
        result = mx.spectrum(network, jobs=jobs)
        assert result.summary["layer"].tolist() == ["fc0", "fc2"]
        for name, s_max in zip(("fc0", "fc2"), result.summary["s_max"], strict=True):
            expected = torch.linalg.svdvals(tensors[f"{name}.weight"].double())[0]
            assert s_max == pytest.approx(float(expected), rel=1e-6)
        (note,) = (note for note in result.notes if "skipped" in note)
        assert note.startswith("net fc1: skipped; ")
        assert "fc1.weight holds 1 NaN or infinite values of 1536" in note

    def test_no_layer_left(self, tmp_path):
        _, network = self.saved(tmp_path, range(3))
        with pytest.raises(CheckpointError, match=r"fc0\.weight holds 1 NaN or infinite values of 1536"):
            mx.spectrum(network)
