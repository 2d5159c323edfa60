"""Distributions of singular values by quadrature, against exact ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mixanalysis.operators import Dense, Density, Lift, Masked, Permuted, Product, Spectrum
from mixanalysis.operators.quadrature import lanczos_quadrature
from operators.making import masked, normal, order


def sampled(operator, probes=24, steps=60, seed=0):
    """By quadrature, whatever the structure knows."""
    return Density(*lanczos_quadrature(operator, probes, steps, seed), 0, min(operator.shape), "stochastic")


def random_permutation_product(tokens, channels):
    """The product of two layers of an RP-Mixer block, all factors standard Gaussian."""
    v, w = normal(channels, channels) / channels**0.5, normal(tokens, tokens, seed=1) / tokens**0.5
    size = tokens * channels
    return Product([Lift(Dense(v), tokens, "left"), Permuted(Lift(Dense(w), channels, "left"), rows=order(size))])


OPERATORS = {
    "dense": lambda: Dense(normal(400, 300) / 20),
    "dense-wide": lambda: Dense(normal(300, 400) / 20),
    "masked": lambda: masked(400, 300, 0.05),
    "lift": lambda: Lift(Dense(normal(20, 20)), 20, "right"),
    "product": lambda: random_permutation_product(16, 24),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_quadrature_is_the_exact_distribution(name):
    operator = OPERATORS[name]()
    exact, density = operator.spectral_density(), sampled(operator)
    assert (exact.method, density.method) == ("exact", "stochastic")
    values = operator.spectrum().repeated()
    # within the bulk, away from atoms at zero
    points = np.quantile(values, [0.3, 0.5, 0.7, 0.9]) + 1e-3
    expected = (values[:, None] <= points).mean(axis=0)
    np.testing.assert_allclose(exact.cdf(points).value, expected, rtol=0, atol=1e-12)
    value, error = density.cdf(points)
    assert (np.abs(value - expected) < 4 * error + 0.01).all()
    assert (error > 0).all()
    assert (error < 3 / np.sqrt(len(values) * 24)).all()
    for power in (1, 2, 4):
        value, error = density.moment(power)
        assert exact.moment(power).value == pytest.approx((values**power).mean())
        assert abs(value - (values**power).mean()) < 4 * error
        assert exact.moment(power).standard_error == 0


def test_middles_of_few_steps_are_closer_than_their_weights():
    """Twelve nodes of weight 1/12: the middle is right to a fraction of that, either end isn't."""
    operator = Dense(normal(400, 300) / 20)
    values = operator.spectrum().repeated()
    points = np.quantile(values, np.linspace(0.1, 0.9, 50))
    expected = (values[:, None] <= points).mean(axis=0)
    value, error = sampled(operator, probes=60, steps=12).cdf(points)
    assert error.max() < 0.005
    assert np.abs(value - expected).max() < 0.015


def test_rules_are_exact_for_each_probe():
    """j steps integrate polynomials up to degree 2 j - 1 in s^2 exactly for the probe's own measure."""
    operator = Dense(normal(30, 20))
    nodes, weights = lanczos_quadrature(operator, 3, 4, seed=5)
    assert nodes.shape == weights.shape == (3, 4)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-14)
    probes = np.random.default_rng(5).standard_normal((3, 20))
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    gram = (operator.weight.mT @ operator.weight).numpy()
    for degree in range(8):
        expected = [v @ np.linalg.matrix_power(gram, degree) @ v for v in probes]
        np.testing.assert_allclose((weights * nodes ** (2 * degree)).sum(axis=1), expected, rtol=1e-10)


def test_probes_in_batches_are_the_same_probes(monkeypatch):
    operator = masked(60, 50, 0.2)
    together = lanczos_quadrature(operator, 7, 10, seed=3)
    monkeypatch.setattr("mixanalysis.operators.quadrature._BASIS_CELLS", 1000)
    for whole, parts in zip(together, lanczos_quadrature(operator, 7, 10, seed=3), strict=True):
        np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-9)


def test_few_distinct_values_break_down_quietly():
    """I kron W has as many distinct values as W; more steps than that add nodes without weight."""
    operator = Lift(Dense(torch.diag(torch.tensor([3.0, 2.0, 0.0], dtype=torch.float64))), 50, "left")
    nodes, weights = lanczos_quadrature(operator, 5, 30, seed=0)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    heavy = weights > 1e-6
    assert (heavy.sum(axis=1) == 3).all()
    np.testing.assert_allclose(np.sort(nodes[heavy].reshape(5, 3)), np.tile([0.0, 2.0, 3.0], (5, 1)), atol=1e-6)
    density = Density(nodes, weights, 0, 150, "stochastic")
    # the kernel counts in full from zero on
    value, error = density.cdf([-0.1, 0.0, 3.1])
    assert value[[0, 2]].tolist() == [0, 1]
    assert abs(value[1] - 1 / 3) < 4 * error[1] + 1e-6


def test_zero_operator_has_all_its_values_at_zero():
    empty = Masked(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(0), (9, 7))
    assert empty.spectral_density().cdf([-1, 0, 1]).value.tolist() == [0, 1, 1]
    assert empty.spectral_density().moment(2).value == 0
    density = sampled(masked(100, 80, 0.0), steps=5)
    assert density.cdf([0.0, 1.0]).value.tolist() == [1, 1]
    assert density.moment(2).value == 0


def test_empty_rows_and_columns_are_zeros(monkeypatch):
    """At pm = 1 a third of the rows and columns is empty: zeros that no probe has to estimate."""
    monkeypatch.setattr("mixanalysis.operators.masked.EXACT_LIMIT", 10)
    size = 900
    cells = torch.randperm(size * size, generator=torch.Generator().manual_seed(0))[: 2 * size]
    values = normal(2 * size)
    operator = Masked(cells // size, cells % size, values, (size, size))
    density = operator.spectral_density(probes=32, steps=60)
    used = min(len((cells // size).unique()), len((cells % size).unique()))
    assert (density.method, density.count, density.zeros) == ("stochastic", size, size - used)
    assert density.zeros > 0.1 * size
    exact = Density.exact(operator.spectrum())
    points = [0.5, 1.0, 2.0, 3.0]
    value, error = density.cdf(points)
    assert (np.abs(value - exact.cdf(points).value) < 4 * error + 0.01).all()
    assert (error[1:] < 0.01).all()
    second, error = density.moment(2)
    assert abs(second - float((values**2).sum()) / size) < 4 * error
    wide = Permuted(Lift(operator, 3, "left"), order(3 * size))
    assert not wide.exact
    copied = wide.spectral_density(probes=32, steps=60)
    assert (copied.zeros, copied.count) == (3 * density.zeros, 3 * size)
    assert copied.cdf(points).value.tolist() == value.tolist()


def test_default_accuracy(monkeypatch):
    """Defaults, on an operator without an exact rule: standard errors as promised."""
    monkeypatch.setattr("mixanalysis.operators.base.EXACT_LIMIT", 10)
    operator = random_permutation_product(20, 20)
    density = operator.spectral_density()
    assert density.nodes.shape == (16, 48)
    assert density.cdf(1.0).standard_error < 1.5 * 0.7 / np.sqrt(400 * 16)
    assert density.cdf(1.0).value.shape == ()
    again = operator.spectral_density()
    assert again.nodes.tolist() == density.nodes.tolist()
    assert operator.spectral_density(seed=1).nodes.tolist() != density.nodes.tolist()


def test_exact_distribution_jumps_at_its_values():
    spectrum = Spectrum(np.array([3.0, 1.0]), np.array([2, 5]), zeros=3)
    density = Density.exact(spectrum)
    value, error = density.cdf([-1e-9, 0.0, 0.99, 1.0, 2.99, 3.0, 9.0])
    np.testing.assert_allclose(value, [0, 0.3, 0.3, 0.8, 0.8, 1, 1])
    assert not error.any()
    assert density.moment(2).value == pytest.approx((2 * 9 + 5) / 10)
    assert density.times(4).count == 40
    assert density.times(4).moment(2).value == pytest.approx((2 * 9 + 5) / 10)
