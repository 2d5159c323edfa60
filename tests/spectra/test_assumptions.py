"""Checks of the dense law's assumptions: levels of noise of many kinds, power, and what is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import mixanalysis as mx
from mixanalysis.operators import BlockDiagonal, Dense, Lift, Masked, Monarch, Permuted, Product
from mixanalysis.spectra import nulls
from mixanalysis.spectra.assumptions import examined
from mixanalysis.spectra.fit import spike_threshold
from mixanalysis.spectra.zeros import zeros_masked
from spectra.noise_families import FAMILIES

SAID = {
    "Gaussian": "ok",
    "uniform": "ok",
    "two points": "ok",
    "rows of lognormal scale 0.3": "rows differ in scale",
    "rows of lognormal scale 0.1": "rows differ in scale",
    "columns of lognormal scale 0.3": "columns differ in scale",
    "neighbouring columns correlated by 0.1": "neighbouring columns are correlated",
    "neighbouring columns correlated by 0.3": "neighbouring columns are correlated",
    "a mean of 0.1 standard deviations": "the entries have a mean of 0",
    "Student t, 3 degrees of freedom": "heavy tails (kurtosis",
    "Student t, 5 degrees of freedom": "heavy tails (kurtosis",
    "two equal rows": "2 rows are equal to others",
    "half of the rows repeated": "rows are equal to others",
}


def null_of(matrix):
    operator = Dense(torch.from_numpy(matrix))
    values = operator.spectrum().values
    return nulls.factor_null(operator, values, "fitted", None, 0.01), float(values[0])


@pytest.mark.parametrize("name", FAMILIES)
def test_noise_is_no_signal(name):
    """Of 40 layers of noise at most 2 have p < 0.01 (chance 7e-3), and the check says which assumption fails."""
    generator = np.random.default_rng(20)
    small, said = 0, 0
    for _ in range(40):
        null, s_max = null_of(FAMILIES[name](generator, 64, 64))
        small += null.p_value(s_max) < 0.01
        said += SAID[name] in null.check
        assert (null.check == "ok") or null.check_p_value < 0.01
    assert small <= 2
    assert said >= 34


@pytest.mark.parametrize("name", ["Gaussian", "rows of lognormal scale 0.3", "Student t, 5 degrees of freedom"])
@pytest.mark.parametrize("mean", [0.0, 0.3])
def test_a_spike_shows_in_any_noise(name, mean):
    generator = np.random.default_rng(3)
    noise = FAMILIES[name](generator, 128, 96)
    noise /= noise.std()
    left, right = (np.linalg.qr(generator.normal(size=(size, 2)))[0] for size in noise.shape)
    strength = 2.5 * spike_threshold(128, 96, 1.0)
    null, s_max = null_of(noise + mean + strength * left @ right.T)
    assert null.p_value(s_max) < 1e-4
    count = null.outliers if null.outliers is not None else None
    assert count is None or count >= 2


def test_rows_are_compared_with_random_signs():
    generator = np.random.default_rng(0)
    matrix = FAMILIES["rows of lognormal scale 0.3"](generator, 80, 60)
    null, s_max = null_of(matrix)
    assert null.name == "random signs"
    drawn = [np.linalg.norm(matrix * generator.choice([-1, 1], matrix.shape), 2) ** 2 for _ in range(200)]
    share = float(np.mean(np.array(drawn) >= s_max**2))
    assert null.p_value(s_max) == pytest.approx(share, abs=0.1)
    assert null.expected**2 == pytest.approx(np.mean(drawn), rel=0.02)


def test_a_mean_is_taken_off_and_the_rest_compared():
    matrix = FAMILIES["Gaussian"](np.random.default_rng(1), 90, 60)
    null, s_max = null_of(matrix + 0.5)
    rest = np.linalg.norm(matrix - matrix.mean(), 2)
    assert s_max > 30
    assert null.compared == pytest.approx(rest, rel=1e-9)
    assert null.p_value(s_max) == pytest.approx(null_of(matrix - matrix.mean())[0].p_value(rest), rel=1e-9)
    assert null.outliers == 0


def test_equal_rows_count_once():
    matrix = FAMILIES["two equal rows"](np.random.default_rng(2), 50, 40)
    merged = examined(matrix).matrix
    assert merged.shape == (49, 40)
    np.testing.assert_allclose(np.linalg.svd(merged)[1], np.linalg.svd(matrix)[1], atol=1e-12)


def test_checks_of_any_scale():
    matrix = FAMILIES["columns of lognormal scale 0.3"](np.random.default_rng(4), 40, 60)
    for scale in (1e-150, 1.0, 1e140):
        checks = examined(scale * matrix)
        assert checks.failures == examined(matrix).failures
        assert checks.p_value == pytest.approx(examined(matrix).p_value, rel=1e-6)


class TestZeros:
    def pruned(self, path):
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(96, 64, generator=generator)
        weight *= torch.rand(96, 64, generator=generator) < 0.1
        save_file({"fc.weight": weight}, path)
        return mx.load(path, weights_only=True), weight

    def test_they_are_said_and_are_no_signal(self, tmp_path):
        network, weight = self.pruned(tmp_path / "w.safetensors")
        result = mx.spectrum(network)
        (row,) = result.summary.to_dict(orient="records")
        share = f"{float((weight == 0).double().mean()):.0%} of the entries are exactly zero"
        assert (row["check"], row["null"]) == (share, f"none: {share}")
        assert math.isnan(row["p_value"])
        assert row["outliers"] == 0
        (note,) = result.notes
        assert note.startswith(f"w fc: {share}; no null fits, so there is no p-value; with --zeros-are-masked")

    def test_they_can_be_the_mask(self, tmp_path):
        network, weight = self.pruned(tmp_path / "w.safetensors")
        result = mx.spectrum(network, zeros_are_masked=True)
        (row,) = result.summary.to_dict(orient="records")
        assert row["density"] == pytest.approx(float((weight != 0).double().mean()), rel=1e-12)
        assert row["connections"] == int((weight != 0).sum())
        assert row["s_max"] == pytest.approx(float(torch.linalg.matrix_norm(weight.double(), 2)), rel=1e-12)
        assert row["null"].startswith("mask: graph edge")
        assert row["p_value"] > 0.01
        assert result.notes == ()

    def test_structures_keep_theirs(self):
        weight = torch.tensor([[1.0, 0.0], [2.0, 3.0]])
        operator = Permuted(Lift(Dense(weight), 2, "left"), torch.tensor([1, 0, 3, 2]))
        masked = zeros_masked(operator)
        torch.testing.assert_close(masked.dense(), operator.dense())
        assert masked.nnz == 6
        full = Dense(weight + 1)
        assert zeros_masked(full) is full


def masked(generator, size, degree):
    mask = torch.from_numpy(generator.random((size, size)) < degree / size)
    return Masked.from_dense(torch.from_numpy(generator.normal(size=(size, size))), mask)


def monarch(g):
    return Monarch(*(torch.from_numpy(g.normal(size=(12, 12, 12))) for _ in range(2)))


def random_product(g):
    orders = [torch.from_numpy(g.permutation(192)) for _ in range(2)]
    left = Permuted(Lift(Dense(torch.from_numpy(g.normal(size=(16, 16)))), 12, "left"), *orders)
    return Product([Lift(Dense(torch.from_numpy(g.normal(size=(12, 12)))), 16, "right"), left])


PRODUCTS = {
    "Monarch": monarch,
    "permuted Kronecker": random_product,
    "masked": lambda g: Product([masked(g, 96, 10), masked(g, 96, 10)]),
    "blocks": lambda g: Product([BlockDiagonal(torch.from_numpy(g.normal(size=(4, 20, 20)))), masked(g, 80, 8)]),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_noise_in_products_is_no_signal(name):
    """20 products: p < 0.05 in at most 5 (chance 3e-4) and outliers at 1% in at most 2 (chance 1e-3)."""
    generator = np.random.default_rng(11)
    p, beyond = [], 0
    for _ in range(20):
        operator = PRODUCTS[name](generator)
        s_max = float(operator.top(1).values[0])
        null = nulls.product_null(operator, [[nulls.products.Factor(8, 8, 1.0)]])
        p.append(null.p_value(s_max))
        beyond += s_max > null.threshold
    assert sum(value < 0.05 for value in p) <= 5
    assert beyond <= 2
    assert 0.25 < float(np.mean(p)) < 0.75


def test_products_too_large_to_be_drawn_have_no_outliers(monkeypatch):
    monkeypatch.setattr("mixanalysis.spectra.nulls.products.DRAWN_SIDE", 90)
    null = nulls.product_null(PRODUCTS["masked"](np.random.default_rng(0)), [[nulls.products.Factor(8, 8, 1.0)]])
    assert math.isnan(null.p_value(1e9))
    assert null.outliers == 0
    assert null.expected > 0
