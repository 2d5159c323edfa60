"""Mergeable sums: equal to the definition, and the same however the batches are split."""

from __future__ import annotations

import functools
import math
import operator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import naive
from mixanalysis.errors import UsageError
from mixanalysis.similarity.estimators.batch_sums import GROUPS, TOP, FirstReasons, LargestContributions
from mixanalysis.similarity.estimators.centring import Centred
from mixanalysis.similarity.estimators.hsic_sums import HSICSums
from mixanalysis.similarity.estimators.kernels import Kernel, mirror_
from mixanalysis.similarity.estimators.layer_pairs import LayerPairs
from mixanalysis.similarity.estimators.ratios import jackknife_interval, ratio

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


def centred(features):
    return Centred.of([Kernel().triangle(layer) for layer in features])


def zero(names=(LAYERS,), within=False, **options):
    return HSICSums.zero(LayerPairs(names, within), **options)


def sums_of(batches, indices=None, names=(LAYERS,), within=True):
    sums = zero(names, within)
    for index in range(len(batches)) if indices is None else indices:
        sums += sums.of_batch(centred([batches[index][layer] for layer in LAYERS]), index)
    return sums


def cka_of(sums, bias="unbiased"):
    return ratio(sums.hsic(bias))


def jackknife_of(sums):
    return ratio(sums.left_out_hsic())


def arrays_of(sums):
    return sums.unbiased.array, sums.biased.array, sums.companions.array, sums.pairing, sums.permuted, sums.top.values


def same(first, second, tolerance=1e-12):
    for one, other in zip(arrays_of(first), arrays_of(second), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(first.batches, second.batches)
    for name in ("pairs", "measures", "draws", "record", "reasons"):
        assert getattr(first, name) == getattr(second, name)


def test_products_are_hsic():
    x, y = torch.randn(9, 4, dtype=torch.float64), torch.randn(9, 5, dtype=torch.float64)
    both = centred([x, y])
    products = both.products(slice(0, 2), slice(0, 2)) / (9 * 6)
    assert float(products[0, 1]) == pytest.approx(naive.hsic1(x @ x.T, y @ y.T), abs=1e-12)
    np.testing.assert_allclose(both.contributions.sum(1) / 54, products.diagonal(), atol=1e-12)


@pytest.mark.parametrize("n", [4, 63, 64, 65, 130, 200])
def test_blocks_of_rows_make_the_whole_matrix(n):
    x = torch.randn(n, 5000, dtype=torch.float64, generator=torch.Generator().manual_seed(n)) + 3
    whole = x - x.mean(dim=0)
    matrix = mirror_(Kernel().triangle(x))
    torch.testing.assert_close(matrix, whole @ whole.T, rtol=0, atol=1e-9)
    assert torch.equal(matrix, matrix.T)
    both = centred([x, x[:, :40]])
    expected = torch.einsum("aij,bij->ab", both.matrices, both.matrices)
    torch.testing.assert_close(both.products(slice(0, 1), slice(0, 2)), expected[:1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("count", [1, 2, 5, 40])
@pytest.mark.parametrize("bias", ["unbiased", "biased"])
def test_every_pair_of_layers_is_the_definition(count, bias):
    batches = batches_of(count)
    values = cka_of(sums_of(batches), bias)
    for i, first in enumerate(LAYERS):
        for j, second in enumerate(LAYERS):
            expected = naive.minibatch_cka([b[first] for b in batches], [b[second] for b in batches], bias)
            assert values[i, j] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("bias", ["unbiased", "biased"])
def test_layers_of_different_networks_only(bias):
    batches = batches_of(5)
    whole = sums_of(batches).hsic(bias)
    across = sums_of(batches, names=(("a",), ("b", "c")), within=False).hsic(bias)
    np.testing.assert_allclose(across[0], whole[0], rtol=1e-12)
    np.testing.assert_allclose(np.diagonal(across), np.diagonal(whole), rtol=1e-12)
    assert across[1, 2] == 0


def test_random_pairings_have_the_variance_that_z_is_in_units_of():
    generator = torch.Generator().manual_seed(0)
    batches = batches_of(3, size=12)
    sums = sums_of(batches)
    observed = sums.unbiased.total()[0, 2]
    assert sums.z()[0, 2] == pytest.approx(observed / math.sqrt(sums.pairing[0, 2]), rel=1e-12)
    drawn = []
    for _ in range(3000):
        total = 0.0
        for batch in batches:
            order = torch.randperm(len(batch["a"]), generator=generator)
            n = len(order)
            both = centred([batch["a"], batch["c"][order]])
            total += float((both.matrices[0] * both.matrices[1]).sum()) / (n * (n - 3))
        drawn.append(total)
    assert np.var(drawn) == pytest.approx(sums.pairing[0, 2], rel=0.1)
    assert abs(np.mean(drawn)) < 4 * math.sqrt(sums.pairing[0, 2] / 3000)


def test_examples_that_carry_a_layer():
    batches = batches_of(4, size=20)
    batches[2]["b"][7] += 300.0
    shares = sums_of(batches).top_share()
    assert shares[1] > 0.5 > max(shares[0], shares[2])


def test_regressing_a_layer_out_is_partial_correlation():
    batches = batches_of(5, size=10)
    sums = sums_of(batches)
    values = ratio(sums.hsic(), covariate=2)
    expected = naive.deconfounded_cka(*([batch[layer] for batch in batches] for layer in LAYERS))
    assert values[0, 1] == pytest.approx(expected, abs=1e-12)


def test_self_similarity_and_symmetry():
    # 50 layers: large enough for BLAS to sum the two triangles in different orders
    generator = torch.Generator().manual_seed(0)
    sums = zero((tuple(map(str, range(50))),), within=True)
    for index in range(3):
        sums += sums.of_batch(centred([torch.randn(21, 5, generator=generator) for _ in range(50)]), index)
    values = cka_of(sums)
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
    merged = zero(within=True)
    for share in shares:
        merged += sums_of(batches, share)
    same(merged, whole)
    np.testing.assert_allclose(cka_of(merged), cka_of(whole), atol=1e-12)
    np.testing.assert_allclose(jackknife_of(merged), jackknife_of(whole), atol=1e-11)


def test_merging_adds_what_was_left_out():
    batches = batches_of(5)
    first, second = sums_of(batches, [0, 1]), sums_of(batches, [2, 3, 4])
    first += first.of_short_batch(5, 2)
    second += second.of_short_batch(6, 1)
    first += second
    assert first.left_out == 3
    assert first.examples == 6 * 4 + 5
    assert first.batches.sum() == 5
    assert first.record.done == set(range(7))


def test_a_batch_is_not_added_twice():
    batches = batches_of(3)
    with pytest.raises(UsageError, match=r"both accumulators have added batch 1"):
        sums_of(batches, [0, 1]) + sums_of(batches, [1, 2])


def test_the_first_reason_stays():
    sums = sums_of(batches_of(1))
    more = centred([torch.randn(6, 3) for _ in LAYERS])
    sums += sums.of_batch(more, 9, {1: "late"})
    sums += sums.of_batch(more, 4, {1: "early", 0: "other"})
    assert sums.reasons == {1: (4, "early"), 0: (4, "other")}


def test_another_number_of_layers():
    with pytest.raises(UsageError, match=r"expected 3 layers, got 2"):
        zero().of_batch(centred([torch.randn(6, 3)] * 2), 0)


def test_adding_a_batch_leaves_the_sums_before_as_they_were():
    batches = batches_of(2 * GROUPS)
    sums = sums_of(batches, range(GROUPS))
    before = [array.copy() for array in arrays_of(sums)]
    more = sums + sums_of(batches, range(GROUPS, 2 * GROUPS))
    for array, copy in zip(arrays_of(sums), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    same(more, sums_of(batches))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.text("ab", max_size=2)), unique_by=lambda r: r[:2]))
def test_first_reasons_are_those_of_the_first_batch_however_they_are_split(reasons):
    parts = [FirstReasons({layer: (index, text)}) for layer, index, text in reasons]
    expected = {
        layer: min((index, text) for other, index, text in reasons if other == layer) for layer, _, _ in reasons
    }
    for order in (parts, parts[::-1]):
        assert functools.reduce(operator.add, order, FirstReasons()).by_layer == expected


@given(st.lists(st.lists(st.floats(0, 1e9), min_size=2, max_size=2), max_size=20), st.data())
def test_largest_contributions_of_any_split(rows, data):
    values = np.array(rows).reshape(-1, 2).T
    cut = data.draw(st.integers(0, values.shape[1]))
    merged = LargestContributions.of(values[:, :cut]) + LargestContributions.of(values[:, cut:])
    padded = np.sort(np.concatenate([values, np.zeros((2, TOP))], axis=1), axis=1)[:, ::-1][:, :TOP]
    np.testing.assert_array_equal(merged.values, padded)


def test_jackknife_leaves_each_batch_out_once():
    batches = batches_of(6)
    sums = sums_of(batches)
    left_out = jackknife_of(sums)
    assert left_out.shape == (6, 3, 3)
    low, high = jackknife_interval(cka_of(sums), left_out)
    for i, first in enumerate(LAYERS):
        for j, second in enumerate(LAYERS):
            pairs = [(b[first], b[second]) for b in batches]
            lower, upper = naive.jackknife_interval(pairs, lambda some: naive.minibatch_cka(*zip(*some, strict=True)))
            if i == j:
                assert (low[i, j], high[i, j]) == pytest.approx((1, 1), abs=1e-12)
            else:
                assert (low[i, j], high[i, j]) == pytest.approx((lower, upper), abs=1e-11)
                assert lower < cka_of(sums)[i, j] < upper


def test_jackknife_of_many_batches_leaves_groups_out():
    batches = batches_of(GROUPS + 5)
    left_out = jackknife_of(sums_of(batches))
    assert left_out.shape == (GROUPS, 3, 3)
    for group in (0, 4, 5, GROUPS - 1):
        rest = [batch for index, batch in enumerate(batches) if index % GROUPS != group]
        expected = naive.minibatch_cka([b["a"] for b in rest], [b["c"] for b in rest])
        assert left_out[group, 0, 2] == pytest.approx(expected, abs=1e-12)


def test_one_batch_has_no_interval():
    sums = sums_of(batches_of(1))
    assert jackknife_of(sums).shape == (0, 3, 3)
    low, high = jackknife_interval(cka_of(sums), jackknife_of(sums))
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

    many = zero((("x",), ("y",)))
    for index in range(2000):
        x, y = features(n)
        many += many.of_batch(centred([x, y]), index)
    truth = cka_of(many)[0, 1]
    for _ in range(runs):
        sums = zero((("x",), ("y",)))
        for index in range(batches):
            x, y = features(n)
            sums += sums.of_batch(centred([x, y]), index)
        low, high = jackknife_interval(cka_of(sums), jackknife_of(sums))
        covered += low[0, 1] <= truth <= high[0, 1]
    assert 0.85 * runs <= covered


def test_a_constant_layer_is_undefined_alone():
    batches = batches_of(4)
    for batch in batches:
        batch["b"] = torch.full_like(batch["b"], 0.3)
    values = cka_of(sums_of(batches))
    assert np.isnan(values[1]).all()
    assert np.isnan(values[:, 1]).all()
    expected = naive.minibatch_cka([b["a"] for b in batches], [b["c"] for b in batches])
    assert values[0, 2] == pytest.approx(expected, abs=1e-12)


def test_a_layer_that_is_constant_in_one_batch_stays_defined():
    batches = batches_of(4)
    batches[2]["b"] = torch.full_like(batches[2]["b"], 0.3)
    expected = naive.minibatch_cka([b["a"] for b in batches], [b["b"] for b in batches])
    assert cka_of(sums_of(batches))[0, 1] == pytest.approx(expected, abs=1e-12)
    assert math.isfinite(expected)


def test_accumulators_of_different_layers():
    with pytest.raises(UsageError, match=r"accumulators of different layers can't be merged"):
        zero() + zero((("a", "c", "b"),))


def test_no_batch_at_all():
    with pytest.raises(UsageError, match=r"no batch of at least 4 examples; use more images or larger batches"):
        zero().hsic()


def test_too_short_a_batch():
    with pytest.raises(UsageError, match=r"at least 4 examples, got 3"):
        centred([torch.randn(3, 5)])
