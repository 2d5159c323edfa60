"""HSIC_1 and linear CKA of plain arrays against their definitions, and the laws that they obey."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mixanalysis as mx
import naive
from mixanalysis.errors import UsageError
from mixanalysis.similarity.estimators.hsic import u_centred
from mixanalysis.similarity.estimators.kernels import Kernel, mirror_


def gram_of(features):
    """The whole Gram matrix of centred features."""
    return mirror_(Kernel().triangle(features))


SIZES = {"fewest": (4, 3, 2), "few features": (17, 2, 5), "many features": (9, 40, 60), "one feature": (12, 1, 1)}
sizes = pytest.mark.parametrize(("n", "p", "q"), SIZES.values(), ids=SIZES)
estimators = pytest.mark.parametrize("estimator", ["unbiased", "biased"])
laws = settings(deadline=None, max_examples=30)
seeds = st.integers(0, 2**32 - 1)


def pair(n, p, q, seed=0):
    """Features that share something, with unequal means and scales."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * rng.uniform(0.5, 3, p) + rng.normal(size=p)
    y = x @ rng.normal(size=(p, q)) + rng.normal(size=(n, q)) + 2.0
    return torch.from_numpy(x), torch.from_numpy(y)


def symmetric(n, seed):
    matrix = np.random.default_rng(seed).normal(size=(n, n))
    return matrix + matrix.T


def rotation(size, rng):
    return torch.from_numpy(np.linalg.qr(rng.normal(size=(size, size)))[0])


@pytest.mark.parametrize("n", [4, 5, 6, 17])
def test_hsic1_is_the_explicit_formula(n):
    k, ell = symmetric(n, 0), symmetric(n, 1)
    assert mx.hsic1(torch.from_numpy(k), torch.from_numpy(ell)) == pytest.approx(naive.hsic1(k, ell), abs=1e-12)


@pytest.mark.parametrize("n", [5, 6])
def test_hsic1_is_the_mean_over_all_distinct_tuples(n):
    x, y = pair(n, 3, 4, seed=n)
    k, ell = naive.gram(x.tolist()), naive.gram(y.tolist())
    expected = naive.hsic1_over_tuples(k, ell)
    assert mx.hsic1(k, ell) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert naive.hsic1(k, ell) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_hsic1_does_not_see_diagonals_and_additive_parts():
    k, ell = symmetric(8, 2), symmetric(8, 3)
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=8), rng.normal(size=8)
    moved = mx.hsic1(k + a[:, None] + a + np.diag(b), ell + b[:, None] + b + np.diag(a))
    assert moved == pytest.approx(mx.hsic1(k, ell), abs=1e-12)


def test_u_centred_rows_sum_to_zero():
    centred = u_centred(torch.from_numpy(symmetric(9, 5)))
    assert centred.diagonal().tolist() == [0.0] * 9
    assert float(centred.sum(dim=1).abs().max()) < 1e-13


@pytest.mark.parametrize("n", [5, 6])
def test_random_pairing_has_mean_zero_and_the_known_variance(n):
    x, y = pair(n, 2, 3, seed=7)
    values = [mx.linear_cka(x, y[list(order)]) for order in itertools.permutations(range(n))]
    assert math.fsum(values) / len(values) == pytest.approx(0.0, abs=1e-12)
    assert math.fsum(v * v for v in values) / len(values) == pytest.approx(2 / (n * (n - 3)), rel=1e-12)


@sizes
def test_unbiased_cka_is_its_definition(n, p, q):
    x, y = pair(n, p, q)
    assert mx.linear_cka(x, y) == pytest.approx(naive.unbiased_cka(x, y), abs=1e-12)


@sizes
def test_biased_cka_is_its_definition(n, p, q):
    x, y = pair(n, p, q)
    assert mx.linear_cka(x, y, "biased") == pytest.approx(naive.biased_cka(x, y), abs=1e-12)


def test_independent_features_show_what_the_bias_is():
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.normal(size=(64, 1024))), torch.from_numpy(rng.normal(size=(64, 1024)))
    assert mx.linear_cka(x, y, "biased") == pytest.approx(1 / (1 + 64 / 1024), abs=0.01)
    assert abs(mx.linear_cka(x, y)) < 4 * math.sqrt(2 / (64 * 61))


@estimators
@sizes
def test_features_are_equal_to_themselves(n, p, q, estimator):
    x, y = pair(n, p, q)
    assert mx.linear_cka(x, x, estimator) == pytest.approx(1.0, abs=1e-12)
    assert mx.linear_cka(x, y, estimator) == pytest.approx(mx.linear_cka(y, x, estimator), rel=1e-13)


@estimators
@laws
@given(
    seed=seeds,
    n=st.integers(4, 12),
    p=st.integers(1, 6),
    q=st.integers(1, 6),
    scale=st.floats(1e-4, 1e4),
    shift=st.floats(-10, 10),
)
def test_rotation_permutation_scaling_and_shift_change_nothing(seed, n, p, q, scale, shift, estimator):
    x, y = pair(n, p, q, seed)
    rng = np.random.default_rng(seed)
    value = mx.linear_cka(x, y, estimator)
    rotated = x @ rotation(p, rng) * scale
    permuted = -y[:, rng.permutation(q)] + shift
    assert mx.linear_cka(rotated, y, estimator) == pytest.approx(value, abs=1e-10)
    assert mx.linear_cka(x, permuted, estimator) == pytest.approx(value, abs=1e-10)
    order = torch.from_numpy(rng.permutation(n))
    assert mx.linear_cka(rotated[order], permuted[order], estimator) == pytest.approx(value, abs=1e-10)


@laws
@given(seed=seeds, n=st.integers(4, 10), p=st.integers(1, 30), q=st.integers(1, 30))
def test_bounds(seed, n, p, q):
    x, y = pair(n, p, q, seed)
    assert abs(mx.linear_cka(x, y)) <= 1 + 1e-12
    assert 0 <= mx.linear_cka(x, y, "biased") <= 1 + 1e-12


def test_a_large_common_mean_costs_float32_nothing():
    rng = np.random.default_rng(1)
    spread = rng.normal(size=(64, 500))
    x = torch.from_numpy(spread + math.sqrt(3000) * np.sign(rng.normal(size=500)))
    y = torch.from_numpy(spread @ rng.normal(size=(500, 300)) / 20 + math.sqrt(3000))
    assert float(x.mean(0).square().mean() / x.var(0).mean()) == pytest.approx(3000, rel=0.05)
    for estimator in ("unbiased", "biased"):
        exact = mx.linear_cka(x, y, estimator)
        assert mx.linear_cka(x.float(), y.float(), estimator) == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-15, 1e9])
def test_float32_features_of_any_size(scale):
    x, y = pair(20, 6, 7)
    exact = mx.linear_cka(x, y)
    assert mx.linear_cka((x * scale).float(), y.float()) == pytest.approx(exact, abs=1e-5)


FLAT = {
    "zero": torch.zeros(6, 3),
    "constant": torch.full((6, 3), 0.1),
    "constant and large": torch.full((6, 3), 1e6 / 3),
    "constant in float64": torch.full((6, 3), 0.1, dtype=torch.float64),
}


@estimators
@pytest.mark.parametrize("flat", FLAT.values(), ids=FLAT)
def test_constant_features_have_no_similarity(flat, estimator):
    other = pair(6, 2, 3)[1]
    assert gram_of(flat).abs().max() == 0
    assert math.isnan(mx.linear_cka(flat, other, estimator))
    assert math.isnan(mx.linear_cka(other, flat, estimator))
    assert math.isnan(mx.linear_cka(flat, flat, estimator))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_without_unbiased_self_similarity(dtype):
    one_image_stands_out = torch.zeros(10, 4, dtype=dtype)
    one_image_stands_out[3] = torch.tensor([0.1, 0.7, -0.3, 0.9])
    equally_far_apart = torch.eye(10, dtype=dtype) * 0.3 + 0.7
    other = pair(10, 2, 3)[1]
    for features in (one_image_stands_out, equally_far_apart):
        assert naive.hsic1(gram_of(features), gram_of(features)) == pytest.approx(0.0, abs=1e-12)
        assert math.isnan(mx.linear_cka(features, other))
        assert math.isnan(mx.linear_cka(other, features))


def test_wide_noise_is_not_taken_for_rounding():
    wide = torch.randn(8, 200_000, generator=torch.Generator().manual_seed(0))
    assert mx.linear_cka(wide, wide) == pytest.approx(1.0, abs=1e-12)
    assert mx.linear_cka(wide, 2 * wide + 1) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.int64])
def test_numpy_arrays_of_any_numbers(kind):
    rng = np.random.default_rng(0)
    x, y = rng.integers(-5, 5, (9, 4)).astype(kind), rng.integers(-5, 5, (9, 3)).astype(kind)
    expected = naive.unbiased_cka(x.astype(np.float64), y.astype(np.float64))
    assert mx.linear_cka(x, y) == pytest.approx(expected, abs=1e-6)
    assert mx.linear_cka(torch.from_numpy(x), y) == mx.linear_cka(x, y)


def test_nan_features_give_nan():
    x, y = pair(6, 2, 3)
    x[2, 1] = math.nan
    assert math.isnan(mx.linear_cka(x, y))


@pytest.mark.parametrize("n", [1, 3])
def test_too_few_examples(n):
    x, y = torch.ones(n, 2), torch.ones(n, 3)
    with pytest.raises(UsageError, match=rf"HSIC_1 needs at least 4 examples, got {n}"):
        mx.linear_cka(x, y)
    with pytest.raises(UsageError, match=rf"HSIC_1 needs at least 4 examples, got {n}"):
        mx.hsic1(torch.eye(n), torch.eye(n))


BAD_GRAMS = {
    "unequal": ((5, 5), (6, 6), r"one shape, got \(5, 5\) and \(6, 6\)"),
    "not square": ((5, 4), (5, 4), r"two square matrices of one shape, got \(5, 4\) and \(5, 4\)"),
    "not a matrix": ((5,), (5,), r"two square matrices of one shape, got \(5,\) and \(5,\)"),
}


@pytest.mark.parametrize(("first", "second", "message"), BAD_GRAMS.values(), ids=BAD_GRAMS)
def test_gram_matrices_of_wrong_shape(first, second, message):
    with pytest.raises(UsageError, match=message):
        mx.hsic1(torch.zeros(first), torch.zeros(second))


BAD_FEATURES = {
    "other examples": ((5, 3), (6, 3), r"shapes \(n, d1\) and \(n, d2\), got \(5, 3\) and \(6, 3\)"),
    "a vector": ((5,), (5, 3), r"shapes \(n, d1\) and \(n, d2\), got \(5,\) and \(5, 3\)"),
    "images": ((5, 3), (5, 3, 2), r"shapes \(n, d1\) and \(n, d2\), got \(5, 3\) and \(5, 3, 2\)"),
}


@pytest.mark.parametrize(("first", "second", "message"), BAD_FEATURES.values(), ids=BAD_FEATURES)
def test_features_of_wrong_shape(first, second, message):
    with pytest.raises(UsageError, match=message):
        mx.linear_cka(torch.zeros(first), torch.zeros(second))


def test_unknown_estimator():
    with pytest.raises(UsageError, match=r'estimator must be "unbiased" or "biased", got \'debiased\''):
        mx.linear_cka(torch.zeros(5, 2), torch.zeros(5, 2), "debiased")
