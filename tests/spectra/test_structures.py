"""Products of layers, W - W0, shuffles, outliers, sweeps: what goes past one layer against its edge."""

from __future__ import annotations

import dataclasses
import math

import joblib
import numpy as np
import pandas as pd
import pytest
import torch

import mixanalysis as mx
from cases import NETWORKS, module_of, network_of
from mixanalysis.checkpoints import save_checkpoint
from mixanalysis.errors import NothingToAnalyseError, UsageError
from mixanalysis.families import FAMILIES
from mixanalysis.families.loading import load
from mixanalysis.families.s_mixer.network import SMixerConfig
from mixanalysis.families.structured_mlp.network import StructuredMLPConfig
from mixanalysis.families.sw_mlp.network import SWMLPConfig
from mixanalysis.network import Patches
from mixanalysis.operators import BlockDiagonal, Dense, Kronecker, Lift, Masked, Monarch, Permuted, Product
from mixanalysis.spectra import nulls, outliers
from mixanalysis.spectra.difference import difference
from mixanalysis.spectra.free_products import Factor, free_edge
from mixanalysis.spectra.schemas import SPECTRUM_OUTLIERS, SPECTRUM_SWEEP
from mixanalysis.spectra.shuffle import shuffle_null, shuffled
from mixanalysis.spectra.sweep import density, masked_noise, sweep


def normal(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fresh(config, path, seed=0):
    torch.manual_seed(seed)
    save_checkpoint(path, config, FAMILIES[config.family].module(config).state_dict(), {"epochs": 0})
    return load(path)


class TestProducts:
    @pytest.mark.parametrize(
        "name",
        [
            "mixer",
            "mixer-resized",
            "rp-mixer",
            "s-mixer",
            "rp-s-mixer",
            "sw-mlp",
            "mlp",
            "pk-mixer-resized",
            "pk-s-mixer",
            "monarch-mlp-deep",
            "kronecker-mlp-skip",
        ],
    )
    def test_against_the_dense_product(self, name, tmp_path):
        network = network_of(NETWORKS[name], tmp_path / "net.safetensors", dtype=torch.float64)
        summary = mx.spectrum(network, products=True).summary
        mixing = [layer for layer in network.layers if layer.role != "skip"]
        size = len(mixing) // 2
        assert summary["layer"].tolist() == ["product.0", "product.1"]
        for row, members in zip(summary.itertuples(), (mixing[:size], mixing[size:]), strict=True):
            matrix = np.linalg.multi_dot([layer.operator.dense().numpy() for layer in members[::-1]])
            assert row.s_max == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-12)
            assert (row.rows, row.columns, row.method) == (*matrix.shape, "exact")
            assert 0 < row.p_value <= 1

    def test_a_mixer_s_product_is_a_kronecker_one_and_that_of_rp_is_free(self, tmp_path):
        """Square Gaussian factors: edge 4 for V kron W, sqrt(27/4) for the RP product (theory, section 2)."""
        patches = Patches(60, 40, 1, 4)
        found, values = {}, pd.DataFrame()
        for kind in ("none", "random"):
            config = SMixerConfig(patches, 0, 150, 150, 1, kind)
            network = fresh(config, tmp_path / f"{kind}.safetensors")
            result = mx.spectrum(network, products=True, variance="declared")
            found[kind], values = result.summary.iloc[0], result.values
        assert found["none"]["null"] == "classical product (Kronecker)"
        assert found["none"]["null_edge"] == pytest.approx(4, rel=0.03)
        assert found["none"]["s_max"] == pytest.approx(4, rel=0.06)
        assert found["random"]["null"] == "free product"
        assert found["random"]["null_edge"] == pytest.approx(math.sqrt(27 / 4), rel=0.03)
        # 22,500 wide, so that Lanczos iterations find the largest values
        assert found["random"]["method"] == "Lanczos"
        assert found["random"]["residual"] < 1e-4
        assert found["random"]["s_max"] == pytest.approx(math.sqrt(27 / 4), rel=0.03)
        # the largest are single ones; the rest is sampled: as many as there are, of the free product's moments 1 and 3
        assert values["singular_value"].is_monotonic_decreasing
        assert values["singular_value"].iloc[0] == found["random"]["s_max"]
        assert values["multiplicity"].head(8).tolist() == [1.0] * 8
        share = values["multiplicity"] / 150**2
        assert share.sum() == pytest.approx(1, rel=1e-9)
        assert (share * values["singular_value"] ** 2).sum() == pytest.approx(1, rel=0.05)
        assert (share * values["singular_value"] ** 4).sum() == pytest.approx(3, rel=0.1)

    @pytest.mark.parametrize(("structure", "edge"), [("monarch", math.sqrt(27 / 4)), ("kronecker", 4.0)])
    def test_monarch_weights_are_free_products_and_kronecker_ones_classical(self, structure, edge, tmp_path):
        """Square Gaussian factors: a Monarch matrix's edge is sqrt(27/4), with shared blocks it is 4 (HK Cor. 3.4)."""
        # 28 blocks of 28 x 28
        config = StructuredMLPConfig.of(Patches(28, 28, 1, 4), 0, structure)
        network = fresh(config, tmp_path / "net.safetensors")
        summary = mx.spectrum(network).summary
        assert (
            summary["null"].tolist()
            == [{"monarch": "free product", "kronecker": "classical product (Kronecker)"}[structure]] * 2
        )
        np.testing.assert_allclose(summary["null_edge"], edge, rtol=0.08)
        np.testing.assert_allclose(summary["s_max"], edge, rtol=0.12)
        # two layers: four free factors, or two of two each
        both = mx.spectrum(network, products=True).summary.iloc[0]
        assert both["null_edge"] == pytest.approx(math.sqrt(5**5 / 4**4) if structure == "monarch" else 27 / 4, rel=0.1)
        assert both["s_max"] == pytest.approx(both["null_edge"], rel=0.2)

    def test_blocks_of_one_layer_have_no_product(self, tmp_path):
        network = network_of(NETWORKS["sw-mlp-fc-exact"], tmp_path / "net.safetensors")
        with pytest.raises(NothingToAnalyseError, match="no layer left to analyse"):
            mx.spectrum(network, products=True)

    def test_parts_of_a_transposed_monarch_matrix(self):
        first = torch.stack([normal(2, 3), normal(2, 3, 1)])
        second = torch.stack([normal(5, 2), normal(5, 2, 1)])
        ((left, right),) = nulls.independent_parts(Monarch(first, second).T)
        torch.testing.assert_close(left.dense(), BlockDiagonal(first).dense().T)
        torch.testing.assert_close(right.dense(), BlockDiagonal(second).dense().T)
        assert nulls.entry_variance(left, np.empty(0), 0.01) == pytest.approx(float(first.square().mean()))

    def test_chain_of_the_null(self):
        factors = [Factor(40, 80, 1 / 80), Factor(80, 40, 1 / 40)]
        null = nulls.product_null(Dense(normal(2, 2)), [factors[:1], factors[1:]])
        assert null.expected == free_edge(factors)
        s = np.linspace(0.01, 6, 4000)
        curve = nulls.density(null, s, (40, 40))
        assert np.trapezoid(curve, s) == pytest.approx(1, abs=0.02)


class TestDifference:
    def test_of_every_structure(self):
        first, second = normal(4, 3), normal(4, 3, 1)
        mask = normal(4, 3, 2) > 0
        order = torch.tensor([1, 0, 3, 2, 5, 4])
        for make in (
            Dense,
            lambda weight: Masked.from_dense(weight, mask),
            lambda weight: Lift(Dense(weight), 2, "right"),
            lambda weight: Permuted(Lift(Dense(weight), 2, "left"), None, order),
        ):
            expected = make(first).dense() - make(second).dense()
            torch.testing.assert_close(difference(make(first), make(second)).dense(), expected)

    def test_of_structures_that_it_leaves(self):
        factors = [torch.stack([normal(2, 2, seed), normal(2, 2, seed + 1)]) for seed in (0, 2, 4, 6)]
        for first, second in (
            (Monarch(*factors[:2]), Monarch(*factors[2:])),
            (
                Kronecker(Dense(normal(2, 2)), Dense(normal(3, 3))),
                Kronecker(Dense(normal(2, 2, 1)), Dense(normal(3, 3))),
            ),
        ):
            torch.testing.assert_close(difference(first, second).dense(), first.dense() - second.dense())
            order = torch.randperm(first.shape[1], generator=torch.Generator().manual_seed(0))
            inside = [Permuted(each, None, order) for each in (first, second)]
            torch.testing.assert_close(difference(*inside).dense(), inside[0].dense() - inside[1].dense())

    @pytest.mark.parametrize(
        ("first", "second", "message"),
        [
            (Dense(normal(2, 3)), Dense(normal(3, 2)), r"2 x 3 \(Dense\) and 3 x 2 \(Dense\) have no difference"),
            (
                Masked.from_dense(normal(2, 2), torch.eye(2)),
                Masked.from_dense(normal(2, 2), torch.ones(2, 2)),
                r"the masks differ",
            ),
            (
                Permuted(Dense(normal(2, 2)), torch.tensor([0, 1])),
                Permuted(Dense(normal(2, 2)), torch.tensor([1, 0])),
                r"the permutations differ",
            ),
        ],
    )
    def test_of_other_structures(self, first, second, message):
        with pytest.raises(ValueError, match=message):
            difference(first, second)

    def test_w_minus_w0_shows_what_training_added(self, tmp_path):
        config = NETWORKS["mixer"]
        module = module_of(config, dtype=torch.float64)
        save_checkpoint(tmp_path / "init.safetensors", config, module.state_dict())
        with torch.no_grad():
            added = torch.outer(torch.arange(1.0, 10.0), torch.ones(6)).double()
            module.get_submodule("blocks.0.token.mlp.fc1").weight += added
        save_checkpoint(tmp_path / "net.safetensors", config, module.state_dict())
        network, initial = load(tmp_path / "net.safetensors"), load(tmp_path / "init.safetensors")
        summary = mx.spectrum(network, initial=initial).summary.set_index("layer")
        assert summary.loc["blocks.0.token.mlp.fc1", "s_max"] == pytest.approx(float(added.norm()), rel=1e-12)
        assert (summary.drop("blocks.0.token.mlp.fc1")["s_max"] == 0).all()

    def test_w0_of_another_architecture(self, tmp_path):
        network = network_of(NETWORKS["mixer"], tmp_path / "net.safetensors")
        with pytest.raises(UsageError, match=r"mlp has no layer blocks.0.token.mlp.fc1; W - W0 needs the same"):
            mx.spectrum(network, initial=network_of(NETWORKS["mlp"], tmp_path / "mlp.safetensors"))
        other = network_of(NETWORKS["mixer-square"], tmp_path / "square.safetensors")
        with pytest.raises(UsageError, match=r"net blocks.0.token.mlp.fc1: W - W0: .* have no difference"):
            mx.spectrum(network, initial=other)


class TestShuffles:
    def test_values_and_places_stay(self):
        mask = normal(30, 20, 1) > 0.5
        operator = Lift(Masked.from_dense(normal(30, 20), mask), 3, "left")
        other = shuffled(operator, torch.Generator().manual_seed(0))
        assert torch.equal(other.factor.rows, operator.factor.rows)
        assert sorted(other.factor.values.tolist()) == sorted(operator.factor.values.tolist())
        assert not torch.equal(other.factor.values, operator.factor.values)

    def test_rank_one_is_destroyed_and_noise_is_not(self):
        weight = normal(40, 30) + 0.5 * torch.ones(40, 30, dtype=torch.float64) * normal(40, 1, 3).sign()
        signal = shuffle_null(Dense(weight), float(torch.linalg.matrix_norm(weight, 2)), 19)
        assert signal.p_value == 1 / 20
        assert signal.mean < 0.9 * float(torch.linalg.matrix_norm(weight, 2))
        p = [
            shuffle_null(Dense(normal(20, 15, s)), float(torch.linalg.matrix_norm(normal(20, 15, s), 2)), 9).p_value
            for s in range(20)
        ]
        assert 0.3 < np.mean(p) < 0.75

    def test_seeded_and_tied(self):
        operator = Dense(normal(10, 8))
        first, second, other = (shuffle_null(operator, 1.0, 3, seed).s_max for seed in (0, 0, 1))
        assert np.array_equal(first, second)
        assert not np.array_equal(first, other)
        constant = Dense(torch.ones(5, 4, dtype=torch.float64))
        assert shuffle_null(constant, math.sqrt(20), 4).p_value == 1.0

    def test_at_least_one(self):
        with pytest.raises(ValueError, match="at least one shuffle, got 0"):
            shuffle_null(Dense(normal(3, 3)), 1.0, 0)
        with pytest.raises(UsageError, match="--shuffles must be at least 0, got -1"):
            mx.spectrum(shuffles=-1)

    def test_in_the_table(self, tmp_path):
        network = network_of(NETWORKS["s-mixer"], tmp_path / "net.safetensors")
        summary = mx.spectrum(network, shuffles=4).summary
        assert (summary["shuffles"] == 4).all()
        assert (summary["shuffle_p_value"] * 5).round(9).isin(range(1, 6)).all()


class TestOutliers:
    def test_a_spike_is_measured_and_spread(self, tmp_path):
        theta, (a, b) = 3.0, (96, 48)
        left, right = torch.ones(a, dtype=torch.float64), torch.ones(b, dtype=torch.float64)
        weight = normal(a, b) / math.sqrt(b) + theta * torch.outer(left / left.norm(), right / right.norm())
        (spike,) = outliers.describe(Dense(weight), 1, 1 / b)
        assert spike.theta == pytest.approx(theta, rel=0.1)
        assert spike.kind == "bulk"
        assert a / 3 < spike.left_participation <= a
        assert b / 3 < spike.right_participation <= b

    @pytest.mark.parametrize("shape", [(30, 20), (20, 30)])
    def test_against_a_decomposition(self, shape):
        weight = normal(*shape) + 3 * torch.outer(normal(shape[0], 1, 1)[:, 0], normal(shape[1], 1, 2)[:, 0])
        left, values, right = np.linalg.svd(weight.numpy())
        for index, found in enumerate(outliers.describe(Dense(weight), 3, 1.0)):
            assert found.singular_value == pytest.approx(values[index], rel=1e-12)
            assert found.left_participation == pytest.approx(1 / (left[:, index] ** 4).sum(), rel=1e-9)
            assert found.right_participation == pytest.approx(1 / (right[index] ** 4).sum(), rel=1e-9)

    def test_a_heavy_row_is_a_hub(self):
        matrix = masked_noise(400, 200, 0.05, 1 / 200, np.random.default_rng(0))
        values = matrix.values.clone()
        values[matrix.rows == 17] *= 6
        heavy = Masked(matrix.rows, matrix.columns, values, matrix.shape)
        (hub,) = outliers.describe(heavy, 1, 1 / 200)
        assert (hub.kind, hub.line, hub.degree) == ("hub", "row 17", int((matrix.rows == 17).sum()))
        (hub,) = outliers.describe(heavy.T, 1, 1 / 200)
        assert (hub.kind, hub.line) == ("hub", "column 17")

    def test_none(self):
        assert outliers.describe(Dense(normal(4, 4)), 0, 1.0) == []

    def test_rows_of_the_table(self, tmp_path):
        config = NETWORKS["mixer"]
        module = module_of(config)
        with torch.no_grad():
            weight = module.get_submodule("blocks.1.channel.mlp.fc2").weight
            # neither a mean nor neighbours that are alike
            planted = [torch.tensor([1.0, -1.0, -1.0, 1.0]).repeat(9)[:size] for size in weight.shape]
            weight += 5 * torch.outer(*planted)
        save_checkpoint(tmp_path / "net.safetensors", config, module.state_dict(), {"epochs": 0})
        result = mx.spectrum(load(tmp_path / "net.safetensors"), variance="declared")
        found = result.outliers[result.outliers["layer"] == "blocks.1.channel.mlp.fc2"]
        assert list(found.columns) == [column.name for column in SPECTRUM_OUTLIERS.columns]
        assert found["rank"].tolist() == [1]
        assert found["copies"].tolist() == [6]
        assert found["singular_value"].iloc[0] == pytest.approx(5 * math.sqrt(75), rel=0.1)


class TestMaskColumns:
    def test_loads_are_those_of_the_thresholds(self, tmp_path):
        network = network_of(NETWORKS["sw-mlp"], tmp_path / "net.safetensors", dtype=torch.float64)
        for row, layer in zip(mx.spectrum(network).summary.itertuples(), network.layers, strict=True):
            squares = layer.operator.dense().square()
            rows, columns, total = squares.sum(1), squares.sum(0), squares.sum()
            a, b = squares.shape
            gamma = a / b
            assert row.mean_degree == pytest.approx(layer.connections / a)
            assert row.row_load == pytest.approx(float(rows.max() / total) * a / (1 + math.sqrt(gamma)))
            unit = total / a
            assert row.column_load == pytest.approx(float(columns.max() / unit) / (gamma + math.sqrt(gamma)))

    def test_dense_layers_have_none(self, tmp_path):
        summary = mx.spectrum(network_of(NETWORKS["mlp"], tmp_path / "net.safetensors")).summary
        assert summary[["mean_degree", "row_load", "column_load", "first_order_edge"]].isna().all(axis=None)

    def test_first_order_edge_agrees_with_the_graph_edge(self, tmp_path):
        config = SWMLPConfig.of(Patches(40, 40, 1, 4), 0, size=1000, depth=1, density=0.1)
        summary = mx.spectrum(fresh(config, tmp_path / "net.safetensors")).summary
        np.testing.assert_allclose(summary["first_order_edge"], summary["bulk_edge"], rtol=5e-3)


class TestDiscoveryRate:
    def test_is_that_of_benjamini_and_hochberg(self, tmp_path):
        summary = mx.spectrum(network_of(NETWORKS["mixer"], tmp_path / "net.safetensors")).summary
        p = summary["p_value"].to_numpy()
        count = len(p)
        ordered = np.sort(p)
        for value, q in zip(p, summary["q_value"], strict=True):
            ranks = np.arange(1, count + 1)
            assert q == pytest.approx(min(1.0, (ordered * count / ranks)[ordered >= value].min()))

    def test_level_has_a_range(self):
        with pytest.raises(UsageError, match=r"--level must be between 0 and 1, got 1\.0"):
            mx.spectrum(level=1.0)


@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.parametrize("name", ["sw-mlp", "rp-mixer"])
def test_jobs_give_the_same_table(name, backend, tmp_path):
    network = network_of(NETWORKS[name], tmp_path / "net.safetensors")
    alone = mx.spectrum(network)
    with joblib.parallel_config(backend=backend):
        together = mx.spectrum(network, jobs=2)
    assert alone.summary.equals(together.summary)
    assert alone.values.equals(together.values)


def test_a_layer_of_an_earlier_checkpoint_starts_the_search(monkeypatch, tmp_path):
    patches = Patches(60, 40, 1, 4)
    config = SMixerConfig(patches, 0, 150, 150, 1, "random")
    networks = [fresh(config, tmp_path / f"{name}.safetensors") for name in ("first", "second")]
    starts = []
    search = Product.top

    def spied(self, k, **options):
        starts.append(options.get("start"))
        return search(self, k, **options)

    monkeypatch.setattr(Product, "top", spied)
    summary = mx.spectrum(*networks, products=True).summary
    assert starts[0] is None
    assert starts[1].shape == (150 * 150, 8)
    assert summary["s_max"].iloc[1] == pytest.approx(summary["s_max"].iloc[0], rel=1e-6)


class TestSweep:
    def test_densities(self):
        assert density("stated", 2**19, 2.0, 4096) == pytest.approx(1 / 64)
        assert density("figure", 2**19, 2.0, 4096) == pytest.approx(1 / 128)
        assert density("square", 2**19, 2.0, 4096) == pytest.approx(1 / 32)
        assert density("square", 2**19, 2.0, 724) == 1.0
        with pytest.raises(UsageError, match=r"width 100 can't hold Omega = 524288"):
            density("stated", 2**19, 2.0, 100)
        with pytest.raises(UsageError, match="must be one of stated, figure, square, got 'printed'"):
            density("printed", 2**19, 2.0, 4096)

    def test_masked_noise_is_bernoulli_and_gaussian(self):
        matrix = masked_noise(600, 300, 0.2, 1 / 300, np.random.default_rng(0))
        cells = 600 * 300
        assert abs(matrix.nnz - 0.2 * cells) < 4 * math.sqrt(cells * 0.2 * 0.8)
        assert len(set(zip(matrix.rows.tolist(), matrix.columns.tolist(), strict=True))) == matrix.nnz
        assert matrix.frobenius() ** 2 / cells == pytest.approx(1 / 300, rel=0.03)
        counts = torch.bincount(matrix.rows, minlength=600).double()
        assert float(counts.var()) == pytest.approx(300 * 0.2 * 0.8, rel=0.2)
        full = masked_noise(20, 10, 1.0, 1.0, np.random.default_rng(0))
        assert full.nnz == 200

    def test_prediction_is_within_two_percent(self):
        table = sweep(2.0**14, 2.0, (128, 512, 2048, 8192), convention="square", seeds=3)
        assert list(table.columns) == [column.name for column in SPECTRUM_SWEEP.columns]
        # at a width of 128 the finite size still takes two per cent off
        np.testing.assert_allclose(table["predicted"], table["s_max"], rtol=0.03)
        np.testing.assert_allclose(table["density"] * table["width"] ** 2, 2.0**14)
        assert (table["c_gamma"] == 1 + math.sqrt(2)).all()
        assert table["s_max"].is_monotonic_increasing

    def test_seeds(self):
        with pytest.raises(UsageError, match="--seeds must be at least 1, got 0"):
            sweep(seeds=0)
        assert sweep(2.0**10, 1.0, (64,), seeds=1)["standard_error"].isna().all()


def test_layers_of_a_timm_checkpoint_have_no_declared_variance(tmp_path):
    network = network_of(NETWORKS["mixer"], tmp_path / "net.safetensors")
    unknown = dataclasses.replace(
        network, layers=tuple(dataclasses.replace(layer, declared_variance=None) for layer in network.layers)
    )
    with pytest.raises(NothingToAnalyseError, match="its initialisation isn't known"):
        mx.spectrum(unknown, variance="declared")
