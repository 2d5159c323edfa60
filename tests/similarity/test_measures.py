"""Companion measures of CKA: against their definitions, and the laws that they obey."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mixanalysis as mx
import naive
from mixanalysis.datasets import Dataset
from mixanalysis.errors import UsageError
from mixanalysis.results import to_json
from mixanalysis.similarity import FeatureExtractor
from mixanalysis.similarity.estimators.centring import Centred
from mixanalysis.similarity.estimators.hsic_sums import HSICSums
from mixanalysis.similarity.estimators.kernels import Kernel
from mixanalysis.similarity.estimators.layer_pairs import LayerPairs
from mixanalysis.similarity.estimators.measures import MEASURES, companions
from mixanalysis.similarity.schemas import SIMILARITY

NAIVE = {
    "procrustes": naive.procrustes,
    "mutual-knn": naive.mutual_knn,
    "rsa": naive.rsa,
    "angular": naive.angular_cka,
    "svcca": naive.svcca,
}
IDENTIFIERS = {
    "procrustes": "procrustes/normalised/similarity=nuclear",
    "mutual-knn": "mutual-knn/k=10/metric=euclidean",
    "rsa": "rsa/distance=euclidean/correlation=spearman",
    "angular": "angular-cka/hsic=biased/unit=radian",
    "svcca": "svcca/variance=0.99/mean=canonical",
}
SAME = {"procrustes": 1.0, "mutual-knn": 1.0, "rsa": 1.0, "angular": 0.0, "svcca": 1.0}
measures = pytest.mark.parametrize("name", NAIVE)
laws = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)


def values_of(features, names=tuple(NAIVE), kernel=None):
    """Measures of all pairs of some layers, for one batch."""
    triangles = [(kernel or Kernel()).triangle(each) for each in features]
    whole = slice(0, len(triangles))
    return dict(zip(names, companions(triangles, names, [(whole, whole)]), strict=True))


def pair(n=30, p=4, q=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * rng.uniform(0.5, 3, p) + 4
    return torch.from_numpy(x), torch.from_numpy(x @ rng.normal(size=(p, q)) + rng.normal(size=(n, q)))


def data_of(images):
    return Dataset("made up", "test", images, None, classes=0)


def subjects(paths=None):
    def net(seed, width):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 3)).double()

    paths = paths or {"first": "0", "last": "2"}
    return FeatureExtractor("a", net(0, 4), paths, {"first": "token"}), FeatureExtractor(
        "b", net(1, 6), {"first": "0", "act": "1"}
    )


def features_of(subject, images):
    with torch.no_grad():
        outputs = list(itertools.accumulate(subject.module, lambda x, part: part(x), initial=images))[1:]
    return [outputs[int(path)] for path in subject.paths.values()]


def images_of(count, seed=3):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 5)))


@measures
def test_it_is_the_mean_of_its_definition_over_batches(name):
    images, (a, b) = images_of(70), subjects()
    table = mx.cka(a, b, data=data_of(images), batch_size=14, measures=(name,)).companions
    batches = images.split(14)
    taken = [[features_of(each, batch) for batch in batches] for each in (a, b)]
    assert table["measure"].unique().tolist() == [IDENTIFIERS[name]]
    assert table[["layer_a", "layer_b"]].to_numpy().tolist() == [
        ["first", "first"],
        ["first", "act"],
        ["last", "first"],
        ["last", "act"],
    ]
    for row in table.to_dict(orient="records"):
        i, j = row["index_a"], row["index_b"]
        parts = [NAIVE[name](x[i], y[j]) for x, y in zip(*taken, strict=True)]
        assert row["value"] == pytest.approx(np.mean(parts), abs=1e-10)
        assert (row["low"], row["high"]) == pytest.approx(naive.jackknife_interval(parts, np.mean), abs=1e-9)
        assert (row["n"], row["batch_size"], row["status"]) == (70, 14, "ok")
        assert row["role_a"] == ("token" if row["layer_a"] == "first" else "")


def test_all_of_them_in_their_order_and_as_json():
    result = mx.cka(*subjects(), data=data_of(images_of(30)), batch_size=15, measures=["svcca", "rsa", "rsa"])
    assert list(result.companions.columns) == [column.name for column in SIMILARITY.columns]
    assert result.companions["measure"].tolist() == [IDENTIFIERS["rsa"]] * 4 + [IDENTIFIERS["svcca"]] * 4
    assert json.loads(to_json(result.to_json()))["similarity"][0]["value"] == result.companions.loc[0, "value"]


def test_none_asked_for():
    result = mx.cka(*subjects(), data=data_of(images_of(30)))
    assert len(result.companions) == 0
    assert list(result.companions.columns) == [column.name for column in SIMILARITY.columns]


@measures
def test_a_network_with_itself(name):
    table = mx.cka(subjects()[0], data=data_of(images_of(32)), batch_size=16, measures=(name,)).companions
    matrix = table.pivot_table("value", "index_a", "index_b").to_numpy()
    np.testing.assert_allclose(np.diagonal(matrix), SAME[name], atol=1e-7)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    assert abs(matrix[0, 1] - SAME[name]) > 1e-3


@measures
@laws
@given(seed=seeds)
def test_rotations_shifts_and_scales_change_nothing(name, seed):
    x, y = pair(seed=seed)
    rng = np.random.default_rng(seed)
    turned = x @ torch.from_numpy(np.linalg.qr(rng.normal(size=(4, 4)))[0]) * 7.5 + 3
    found = values_of([x, turned, y], [name])[name]
    assert found[0, 1] == pytest.approx(SAME[name], abs=2e-7)
    assert found[1, 2] == pytest.approx(found[0, 2], abs=1e-9)
    assert found[2, 0] == pytest.approx(found[0, 2], abs=1e-12)


METRICS = {"procrustes": math.acos, "angular": float}


@pytest.mark.parametrize("name", METRICS)
@laws
@given(seed=seeds, size=st.integers(1, 6))
def test_the_metrics_obey_the_triangle_inequality(name, seed, size):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(12, size)), rng.normal(size=(12, size + 2))
    # on the way from x to y, where the inequality is tight
    between = np.concatenate([x * rng.uniform(), y * rng.uniform()], axis=1)
    found = values_of([torch.from_numpy(each) for each in (x, y, between)], [name])[name]
    distance = [[METRICS[name](min(value, 1.0) if name == "procrustes" else value) for value in row] for row in found]
    for i, j, k in itertools.permutations(range(3)):
        assert distance[i][k] <= distance[i][j] + distance[j][k] + 1e-9
        assert 0 <= distance[i][k] <= math.pi / 2


@pytest.mark.parametrize("correlation", [0.0, 0.3, -0.8])
def test_single_features_of_a_known_correlation(correlation):
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(np.concatenate([np.ones((20, 1)), rng.normal(size=(20, 2))], axis=1))[0][:, 1:]
    x, y = basis[:, :1], correlation * basis[:, :1] + math.sqrt(1 - correlation**2) * basis[:, 1:]
    found = {name: values[0, 1] for name, values in values_of([torch.from_numpy(x), torch.from_numpy(y)]).items()}
    assert found["procrustes"] == pytest.approx(abs(correlation), abs=1e-7)
    assert found["svcca"] == pytest.approx(abs(correlation), abs=1e-7)
    assert found["angular"] == pytest.approx(math.acos(correlation**2), abs=1e-9)


def test_half_of_equal_variances_shared():
    """X = [u, v], Y = [u, w] with orthogonal u, v, w: cosines 1 and 0."""
    rng = np.random.default_rng(2)
    u, v, w = np.linalg.qr(np.concatenate([np.ones((20, 1)), rng.normal(size=(20, 3))], axis=1))[0].T[1:]
    x, y = torch.from_numpy(np.stack([u, v], axis=1)), torch.from_numpy(np.stack([u, w], axis=1))
    found = {name: values[0, 1] for name, values in values_of([x, y]).items()}
    assert found["procrustes"] == pytest.approx(1 / 2, abs=1e-7)
    assert found["svcca"] == pytest.approx(1 / 2, abs=1e-7)
    assert found["angular"] == pytest.approx(math.acos(1 / 2), abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_few_features_of_many_examples_are_not_noise(dtype):
    """Square roots of rounding errors in the eigenvalues that should be zero would add up."""
    x, y = pair(200, 3, 2)
    found = values_of([x.to(dtype), y.to(dtype)], ["procrustes"])["procrustes"]
    assert found[0, 1] == pytest.approx(naive.procrustes(x, y), abs=1e-5 if dtype == torch.float32 else 1e-7)


def test_equal_distances_take_the_first_examples():
    lattice = torch.tensor(list(itertools.product(range(4), repeat=2)), dtype=torch.float64)
    other = pair(16)[1]
    found = values_of([lattice, other], ["mutual-knn", "rsa"])
    assert found["mutual-knn"][0, 1] == pytest.approx(naive.mutual_knn(lattice, other), abs=1e-12)
    assert found["mutual-knn"][0, 0] == 1


class TestChance:
    def test_neighbours_in_common(self):
        rng = np.random.default_rng(0)
        x, y = pair(15)
        drawn = [values_of([x, y[rng.permutation(15)]], ["mutual-knn"])["mutual-knn"][0, 1] for _ in range(400)]
        table = mx.cka(*subjects(), data=data_of(images_of(30)), batch_size=15, measures=("mutual-knn",)).companions
        (chance,) = set(table["chance"])
        assert chance == pytest.approx(10 / 14)
        assert abs(np.mean(drawn) - chance) < 4 * np.std(drawn) / 20

    def test_ranks(self):
        x, y = pair(5)
        drawn = [values_of([x, y[list(order)]], ["rsa"])["rsa"][0, 1] for order in itertools.permutations(range(5))]
        assert np.mean(drawn) == pytest.approx(0.0, abs=1e-12)
        assert MEASURES["rsa"].chance(5) == 0

    @pytest.mark.parametrize("name", ["procrustes", "angular", "svcca"])
    def test_not_known(self, name):
        assert math.isnan(MEASURES[name].chance(64))


class TestUndefined:
    @staticmethod
    def statuses(images, batch_size, name, layers=None):
        a, b = subjects(layers)
        a.module.append(nn.Linear(3, 2).double())
        nn.init.zeros_(a.module[3].weight)
        table = mx.cka(a, b, data=data_of(images), batch_size=batch_size, measures=(name,)).companions
        return {
            (row["layer_a"], row["layer_b"]): (row["status"], math.isnan(row["value"]))
            for row in table.to_dict(orient="records")
        }

    @measures
    def test_constant_layers_are_undefined_alone(self, name):
        layers = {"first": "0", "flat": "3"}
        found = self.statuses(images_of(30), 15, name, layers)
        assert {value for key, value in found.items() if key[0] == "flat"} == {("constant features", True)}
        assert {value for key, value in found.items() if key[0] == "first"} == {("ok", False)}

    @measures
    def test_one_batch_of_equal_images(self, name):
        images = images_of(30)
        images[15:] = images[15]
        reasons = {reason for reason, undefined in self.statuses(images, 15, name).values() if undefined}
        assert len(reasons) == 1
        assert "constant features in a batch" in reasons.pop()

    def test_not_finite(self):
        images = images_of(30)
        images[20, 2] = 10.0
        spoiled = nn.ModuleList([nn.Identity(), nn.Identity()])
        spoiled.forward = lambda x: (spoiled[0](torch.where(x > 9, torch.nan, x)), spoiled[1](x))
        table = mx.cka(
            FeatureExtractor("a", spoiled, {"bad": "0", "good": "1"}),
            subjects()[1],
            data=data_of(images),
            batch_size=15,
            measures=("rsa",),
        ).companions
        assert set(table[table["layer_a"] == "bad"]["status"]) == {"not finite for image 20"}
        assert table[table["layer_a"] == "bad"]["value"].isna().all()
        assert table[table["layer_a"] == "good"]["value"].notna().all()

    def test_fewer_images_than_neighbours(self):
        found = set(self.statuses(images_of(20), 10, "mutual-knn").values())
        assert found == {("a batch of at most 10 images, or constant features in a batch", True)}
        assert math.isnan(MEASURES["mutual-knn"].chance(10))

    @pytest.mark.parametrize(("n", "defined"), [(8, False), (9, True)])
    def test_as_many_images_as_dimensions(self, n, defined):
        rng = np.random.default_rng(0)
        x, y = (torch.from_numpy(rng.normal(size=(n, 4))) for _ in range(2))
        found = values_of([x, y], ["svcca"])["svcca"][0, 1]
        assert math.isfinite(found) == defined
        if defined:
            assert found == pytest.approx(naive.svcca(x, y), abs=1e-9)
        else:
            assert "no more images than the dimensions kept" in MEASURES["svcca"].undefined


def test_the_kernel_stands_in_the_name():
    table = mx.cka(
        *subjects(), data=data_of(images_of(30)), batch_size=15, measures=("procrustes", "rsa"), kernel="rbf"
    ).companions
    assert set(table["measure"]) == {f"{IDENTIFIERS[name]}/kernel=rbf(1 median)" for name in ("procrustes", "rsa")}
    x, y = pair(seed=1)
    linear, rbf = values_of([x, y]), values_of([x, y], kernel=Kernel("rbf", 0.8))
    assert rbf["rsa"][0, 1] == pytest.approx(linear["rsa"][0, 1], abs=1e-12)
    assert rbf["mutual-knn"][0, 1] == linear["mutual-knn"][0, 1]
    roots = []
    for each in (x, y):
        centring = np.eye(30) - 1 / 30
        values, vectors = np.linalg.eigh(centring @ naive.rbf_gram(each, 0.8) @ centring)
        roots.append(vectors * np.sqrt(values.clip(min=0)) @ vectors.T)
    expected = np.linalg.svd(roots[0] @ roots[1], compute_uv=False).sum() / math.prod(map(np.linalg.norm, roots))
    assert rbf["procrustes"][0, 1] == pytest.approx(expected, abs=1e-7)
    assert abs(expected - linear["procrustes"][0, 1]) > 1e-2


class TestSums:
    @staticmethod
    def sums(indices):
        pairs = LayerPairs((("x", "z"), ("y",)))
        sums = HSICSums.zero(pairs, measures=("procrustes", "rsa"))
        for index in indices:
            x, y = pair(12, seed=index)
            triangles = [Kernel().triangle(each) for each in (x, x[:, :2], y)]
            others = companions(triangles, sums.measures, pairs.blocks)
            sums += sums.of_batch(Centred.of(triangles), index, companions=others)
        return sums

    def test_any_split_merges_to_the_same(self):
        whole, merged = self.sums(range(40)), self.sums([3, 5, *range(10, 37)])
        merged += self.sums([0, 1, 2, 4, *range(6, 10), 37, 38, 39])
        for one, other in zip(merged.companion_means(), whole.companion_means(), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
        assert whole.companion_means()[1].shape == (32, 2, 3, 3)

    def test_of_other_measures(self):
        with pytest.raises(UsageError, match=r"^accumulators of different measures or numbers of permutations can't"):
            self.sums([0]) + HSICSums.zero(LayerPairs((("x", "z"), ("y",))), measures=("rsa",))


class TestRequests:
    def test_unknown(self):
        known = "procrustes, mutual-knn, rsa, angular, svcca"
        with pytest.raises(UsageError, match=rf"^unknown measure 'cca'; known are {known}$"):
            mx.cka(*subjects(), data=data_of(images_of(30)), measures=("rsa", "cca"))

    def test_over_all_images(self):
        with pytest.raises(UsageError, match=r"^companion measures and permutations are of batches; use a mini-batch"):
            mx.cka(*subjects(), data=data_of(images_of(30)), measures=("rsa",), estimator="full")
