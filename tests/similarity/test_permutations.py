"""P-values of HSIC under random pairings of examples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

import mixanalysis as mx
import naive
from mixanalysis import distributed
from mixanalysis.datasets import Dataset
from mixanalysis.errors import UsageError
from mixanalysis.similarity import FeatureExtractor, Resume
from mixanalysis.similarity.estimators.centring import Centred
from mixanalysis.similarity.estimators.hsic_sums import HSICSums, MinibatchPass
from mixanalysis.similarity.estimators.kernels import Kernel
from mixanalysis.similarity.estimators.layer_pairs import LayerPairs
from mixanalysis.similarity.estimators.minibatch import minibatch_pass
from mixanalysis.similarity.estimators.permutations import permuted
from mixanalysis.similarity.estimators.plan import Plan

LAYERS = {"first": "0", "last": "2"}


PAIR = LayerPairs((("x",), ("y",)))


def subject(label, seed):
    torch.manual_seed(seed)
    return FeatureExtractor(label, nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double(), LAYERS)


def data_of(count, seed=3):
    images = torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 5)))
    return Dataset("made up", "test", images, None, classes=0)


def features_of(each, images):
    with torch.no_grad():
        first = each.module[0](images)
        return [first, each.module[2](torch.tanh(first))]


def shuffled(count, seed=0):
    """Two networks with little in common: the second one looks at noise."""
    return subject("a", 0), FeatureExtractor("b", nn.Sequential(Noise(seed)), {"noise": "0"}), data_of(count)


class Noise(nn.Module):
    """Features that have nothing to do with the input but are always the same for an image."""

    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def forward(self, x):
        return torch.stack(
            [
                torch.from_numpy(np.random.default_rng([self.seed, int(abs(float(row[0])) * 1e9)]).normal(size=2))
                for row in x
            ]
        )


def test_it_is_the_share_of_pairings_that_reach_the_observed_sum():
    a, b, data = shuffled(26)
    cells = mx.cka(a, b, data=data, batch_size=9, permutations=30, seed=5).cells
    batches = data.images.split(9)
    orders = []
    for index, batch in enumerate(batches):
        generator = np.random.default_rng([5, index])
        orders.append([generator.permutation(len(batch)) for _ in range(30)])
    for row in cells.to_dict(orient="records"):
        grams = []
        for batch in batches:
            x, y = features_of(a, batch)[row["index_a"]], b.module(batch)
            grams.append((naive.matrix(x @ x.T), naive.matrix(y @ y.T)))
        observed = sum(naive.hsic1(k, ell) for k, ell in grams)
        drawn = [
            sum(
                naive.hsic1(k, ell[np.ix_(order[draw], order[draw])])
                for (k, ell), order in zip(grams, orders, strict=True)
            )
            for draw in range(30)
        ]
        expected = (1 + sum(value >= observed for value in drawn)) / 31
        assert row["p_value"] == pytest.approx(expected, abs=1e-15)
        assert 0 < expected <= 1


def test_none_asked_for():
    a, b, data = shuffled(20)
    assert mx.cka(a, b, data=data, batch_size=10).cells["p_value"].isna().all()
    assert mx.cka(a, b, data=data, estimator="full").cells["p_value"].isna().all()


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_equal_features_have_the_smallest_value(kernel):
    cells = mx.cka(
        subject("a", 0), subject("b", 0), data=data_of(24), batch_size=8, permutations=99, kernel=kernel
    ).cells
    same = cells[cells["layer_a"] == cells["layer_b"]]
    assert same["p_value"].tolist() == [0.01, 0.01]


def test_pairings_that_change_nothing_count():
    a, b, data = subject("a", 0), subject("b", 0), data_of(4)
    cells = mx.cka(a, b, data=data, batch_size=4, permutations=200, seed=1).cells
    generator = np.random.default_rng([1, 0])
    unmoved = sum(generator.permutation(4).tolist() == [0, 1, 2, 3] for _ in range(200))
    assert unmoved > 0
    same = cells[cells["layer_a"] == cells["layer_b"]]
    assert same["p_value"].min() >= (1 + unmoved) / 201


def test_a_network_with_itself():
    noisy = FeatureExtractor("a", nn.Sequential(*map(Noise, range(4))), {str(place): str(place) for place in range(4)})
    cells = mx.cka(noisy, data=data_of(24), batch_size=8, permutations=49).cells
    matrix = cells.pivot_table("p_value", "index_a", "index_b").to_numpy()
    np.testing.assert_array_equal(matrix, matrix.T)
    assert np.diagonal(matrix).tolist() == [0.02] * 4
    assert len(np.unique(matrix)) > 3


def test_values_of_independent_features_are_uniform():
    rng = np.random.default_rng(0)
    draws, runs = 9, 500
    counts = np.zeros(draws + 1, dtype=int)
    for index in range(runs):
        sums = HSICSums.zero(PAIR, draws=draws)
        for batch in range(2):
            features = [torch.from_numpy(rng.normal(size=(7, size)) ** 3) for size in (2, 3)]
            centred = Centred.of([Kernel().triangle(each) for each in features])
            pairings = permuted(centred, PAIR.blocks, draws, index, batch)
            sums += sums.of_batch(centred, batch, permuted=pairings)
        counts[round(sums.p_values()[0, 1] * (draws + 1)) - 1] += 1
    assert stats.chisquare(counts).pvalue > 0.01


def test_related_features_have_small_values():
    a, b = subject("a", 0), subject("b", 1)
    assert mx.cka(a, b, data=data_of(64), batch_size=16, permutations=99).cells["p_value"].max() == 0.01


@pytest.mark.parametrize("processes", [2, 3])
def test_shares_of_several_processes_are_the_whole(processes, monkeypatch):
    *networks, data = shuffled(70)
    networks.append(FeatureExtractor("c", nn.Sequential(Noise(1)), {"noise": "0"}))
    whole = mx.cka(*networks, data=data, batch_size=8, permutations=20, measures=("rsa",))
    states = []
    for rank in range(processes):
        monkeypatch.setattr(distributed, "world", lambda rank=rank: distributed.World(rank, processes))
        monkeypatch.setattr(distributed, "gathered", lambda value: states.append(value) or [value])
        plan = Plan(batch_size=8, permutations=20, measures=("rsa",))
        minibatch_pass(networks, data, plan)
    monkeypatch.setattr(distributed, "world", distributed.World)
    monkeypatch.setattr(distributed, "gathered", lambda _value: states)
    together = mx.cka(*networks, data=data.first(8), batch_size=8, permutations=20, measures=("rsa",))
    pd.testing.assert_frame_equal(together.cells, whole.cells)
    assert whole.cells["p_value"].nunique() > 2
    pd.testing.assert_frame_equal(together.companions, whole.companions)


def test_the_seed_decides():
    a, b, data = shuffled(40)

    def values(seed):
        return mx.cka(a, b, data=data, batch_size=8, permutations=40, seed=seed).cells["p_value"].tolist()

    assert values(0) == values(0)
    assert len({tuple(values(seed)) for seed in range(4)}) > 1


def test_states_keep_the_pairings(tmp_path):
    sums = HSICSums.zero(PAIR, draws=5)
    centred = Centred.of([Kernel().triangle(torch.randn(8, 3, dtype=torch.float64)) for _ in range(2)])
    sums += sums.of_batch(centred, 0, permuted=permuted(centred, PAIR.blocks, 5, 0, 0))
    Resume(tmp_path, "key").save(MinibatchPass((), sums), now=True)
    again = Resume(tmp_path, "key").load().sums
    np.testing.assert_array_equal(again.permuted, sums.permuted)
    np.testing.assert_array_equal(again.p_values(), sums.p_values())
    with pytest.raises(UsageError, match=r"^accumulators of different measures or numbers of permutations can't be"):
        HSICSums.zero(PAIR, draws=4) + sums


def test_layers_without_similarity_have_none():
    class Flat(nn.Module):
        def forward(self, x):
            return torch.ones(len(x), 3, dtype=x.dtype)

    flat = FeatureExtractor("flat", nn.Sequential(Flat()), {"flat": "0"})
    cells = mx.cka(subject("a", 0), flat, data=data_of(16), batch_size=8, permutations=9).cells
    assert cells["p_value"].isna().all()


@pytest.mark.parametrize(("draws", "seed"), [(-1, 0), (9, -2)])
def test_negative_numbers(draws, seed):
    message = rf"^permutations and their seed must be numbers from 0, got {draws} and {seed}$"
    with pytest.raises(UsageError, match=message):
        mx.cka(subject("a", 0), data=data_of(16), permutations=draws, seed=seed)


def test_with_a_covariate():
    message = r"^permutations can't be combined with regressing the input out; leave one of them out$"
    with pytest.raises(UsageError, match=message):
        mx.cka(subject("a", 0), data=data_of(16), permutations=9, covariate="input")
