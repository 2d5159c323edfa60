"""Mergeable sums: equal to the definition, and the same however the batches are split."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import naive
from mixanalysis.errors import UsageError
from mixanalysis.similarity.accumulator import GROUPS, HSICSums, jackknife_interval, triangle

LAYERS = ("a", "b", "c")
WIDTHS = {"a": 3, "b": 7, "c": 40}


def batches_of(count, size=6, seed=0):
    """Features of three layers that share a signal, batch by batch; the last batch is ragged."""
    rng = np.random.default_rng(seed)
    batches = []
    for index in range(count):
        n = size if index + 1 < count else max(4, size - 1)
        signal = rng.normal(size=(n, 2))
        batches.append(
            {
                layer: torch.from_numpy(signal @ rng.normal(size=(2, d)) + rng.normal(size=(n, d)))
                for layer, d in WIDTHS.items()
            }
        )
    return batches


def sums_of(batches, indices=None):
    sums = HSICSums(LAYERS)
    for index in range(len(batches)) if indices is None else indices:
        batch = batches[index]
        sums.update({layer: triangle(batch[layer]) for layer in LAYERS}, index, len(batch["a"]))
    return sums


def same(first, second, tolerance=1e-12):
    np.testing.assert_allclose(first.sums, second.sums, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(first.batches, second.batches)
    assert (first.layers, first.examples, first.left_out) == (second.layers, second.examples, second.left_out)


def test_triangles_carry_hsic_as_their_inner_product():
    x, y = torch.randn(9, 4, dtype=torch.float64), torch.randn(9, 5, dtype=torch.float64)
    assert triangle(x).shape == (36,)
    assert float(triangle(x) @ triangle(y)) == pytest.approx(naive.hsic1(x @ x.T, y @ y.T), abs=1e-12)


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_every_pair_of_layers_is_the_definition(count):
    batches = batches_of(count)
    values = sums_of(batches).cka()
    for i, first in enumerate(LAYERS):
        for j, second in enumerate(LAYERS):
            expected = naive.minibatch_cka([b[first] for b in batches], [b[second] for b in batches])
            assert values[i, j] == pytest.approx(expected, abs=1e-12)


def test_self_similarity_and_symmetry():
    # 50 layers: large enough for BLAS to sum the two triangles in different orders
    generator = torch.Generator().manual_seed(0)
    names = tuple(map(str, range(50)))
    sums = HSICSums(names)
    for index in range(3):
        sums.update({name: triangle(torch.randn(21, 5, generator=generator)) for name in names}, index, 21)
    values = sums.cka()
    assert np.abs(np.diagonal(values) - 1).max() < 1e-12
    np.testing.assert_array_equal(values, values.T)
    assert np.abs(values).max() <= 1 + 1e-12


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 70), workers=st.integers(1, 5), seed=st.integers(0, 2**32 - 1), order=st.randoms())
def test_any_split_merges_to_the_same(count, workers, seed, order):
    batches = batches_of(count, seed=seed)
    whole = sums_of(batches)
    shares = [[] for _ in range(workers)]
    indices = list(range(count))
    order.shuffle(indices)
    for index in indices:
        shares[order.randrange(workers)].append(index)
    merged = HSICSums(LAYERS)
    for share in shares:
        merged.merge(sums_of(batches, share))
    same(merged, whole)
    np.testing.assert_allclose(merged.cka(), whole.cka(), atol=1e-12)
    np.testing.assert_allclose(merged.jackknife(), whole.jackknife(), atol=1e-11)


def test_merging_adds_what_was_left_out():
    first, second = sums_of(batches_of(2)), sums_of(batches_of(3))
    first.skip(2)
    second.skip(1)
    first.merge(second)
    assert first.left_out == 3
    assert first.examples == 6 + 5 + 6 + 6 + 5
    assert first.batches.sum() == 5


def test_state_goes_round():
    sums = sums_of(batches_of(35))
    sums.skip(3)
    state = sums.state_dict()
    same(HSICSums.from_state_dict(state), sums, tolerance=0)
    before = state["sums"].copy()
    continued = HSICSums.from_state_dict(state)
    batch = batches_of(1, seed=9)[0]
    for each in (sums, continued):
        each.update({layer: triangle(batch[layer]) for layer in LAYERS}, 35, 5)
    same(continued, sums, tolerance=0)
    np.testing.assert_array_equal(state["sums"], before)


def test_jackknife_leaves_each_batch_out_once():
    batches = batches_of(6)
    sums = sums_of(batches)
    left_out = sums.jackknife()
    assert left_out.shape == (6, 3, 3)
    low, high = jackknife_interval(sums.cka(), left_out)
    for i, first in enumerate(LAYERS):
        for j, second in enumerate(LAYERS):
            pairs = [(b[first], b[second]) for b in batches]
            lower, upper = naive.jackknife_interval(pairs, lambda some: naive.minibatch_cka(*zip(*some, strict=True)))
            if i == j:
                assert (low[i, j], high[i, j]) == pytest.approx((1, 1), abs=1e-12)
            else:
                assert (low[i, j], high[i, j]) == pytest.approx((lower, upper), abs=1e-11)
                assert lower < sums.cka()[i, j] < upper


def test_jackknife_of_many_batches_leaves_groups_out():
    batches = batches_of(GROUPS + 5)
    left_out = sums_of(batches).jackknife()
    assert left_out.shape == (GROUPS, 3, 3)
    for group in (0, 4, 5, GROUPS - 1):
        rest = [batch for index, batch in enumerate(batches) if index % GROUPS != group]
        expected = naive.minibatch_cka([b["a"] for b in rest], [b["c"] for b in rest])
        assert left_out[group, 0, 2] == pytest.approx(expected, abs=1e-12)


def test_one_batch_has_no_interval():
    sums = sums_of(batches_of(1))
    assert sums.jackknife().shape == (0, 3, 3)
    low, high = jackknife_interval(sums.cka(), sums.jackknife())
    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_interval_covers_the_value_of_many_images():
    """Three quarters at the very least, of intervals that should cover 95 times in 100."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(4, 8))
    covered, runs, batches, n = 0, 60, 16, 12

    def features(count):
        x = torch.from_numpy(rng.normal(size=(count, 4)))
        return x, x @ torch.from_numpy(mixing) + 3 * torch.from_numpy(rng.normal(size=(count, 8)))

    many = HSICSums(("x", "y"))
    for index in range(2000):
        x, y = features(n)
        many.update({"x": triangle(x), "y": triangle(y)}, index, n)
    truth = many.cka()[0, 1]
    for _ in range(runs):
        sums = HSICSums(("x", "y"))
        for index in range(batches):
            x, y = features(n)
            sums.update({"x": triangle(x), "y": triangle(y)}, index, n)
        low, high = jackknife_interval(sums.cka(), sums.jackknife())
        covered += low[0, 1] <= truth <= high[0, 1]
    assert 0.85 * runs <= covered


def test_a_constant_layer_is_undefined_alone():
    batches = batches_of(4)
    for batch in batches:
        batch["b"] = torch.full_like(batch["b"], 0.3)
    values = sums_of(batches).cka()
    assert np.isnan(values[1]).all()
    assert np.isnan(values[:, 1]).all()
    expected = naive.minibatch_cka([b["a"] for b in batches], [b["c"] for b in batches])
    assert values[0, 2] == pytest.approx(expected, abs=1e-12)


def test_a_layer_that_is_constant_in_one_batch_stays_defined():
    batches = batches_of(4)
    batches[2]["b"] = torch.full_like(batches[2]["b"], 0.3)
    expected = naive.minibatch_cka([b["a"] for b in batches], [b["b"] for b in batches])
    assert sums_of(batches).cka()[0, 1] == pytest.approx(expected, abs=1e-12)
    assert math.isfinite(expected)


def test_missing_layers():
    with pytest.raises(UsageError, match=r"no features of b, c: these modules never ran"):
        HSICSums(LAYERS).update({"a": torch.zeros(6)}, 0, 4)


def test_accumulators_of_different_layers():
    with pytest.raises(UsageError, match=r"accumulators of different layers can't be merged"):
        HSICSums(LAYERS).merge(HSICSums(("a", "c", "b")))


def test_no_batch_at_all():
    with pytest.raises(UsageError, match=r"no batch of at least 4 examples; use more images or larger batches"):
        HSICSums(LAYERS).cka()


def test_too_short_a_batch():
    with pytest.raises(UsageError, match=r"at least 4 examples, got 3"):
        triangle(torch.randn(3, 5))
