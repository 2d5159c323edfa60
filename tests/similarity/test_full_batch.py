"""HSIC over all examples: against the definition, with every group of examples left out, by both ways."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import mixanalysis as mx
import naive
from mixanalysis import distributed
from mixanalysis.datasets import Dataset
from mixanalysis.errors import DataError, UsageError
from mixanalysis.similarity import FeatureExtractor
from mixanalysis.similarity.estimators import cross_covariances, example_groups, full_batch, layer_grams
from mixanalysis.similarity.estimators.example_groups import Groups
from mixanalysis.similarity.estimators.feature_buffers import centred
from mixanalysis.similarity.estimators.kernels import NO_SCALE, Kernel
from mixanalysis.similarity.estimators.layer_grams import LayerGram
from mixanalysis.similarity.estimators.ratios import ratio

LAYERS = {"first": "0", "second": "1", "third": "2"}
BIASES = {"full": "unbiased", "full-biased": "biased"}
HERE = torch.device("cpu")
COLUMNS = ["value", "low", "high", "z", "unbiased", "biased"]


def data_of(images):
    return Dataset("made up", "test", images, None, classes=0)


def images_of(count, size=5, seed=3, dtype=np.float64):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, size)).astype(dtype) + 2)


def net(seed, widths=(5, 7, 30, 3), dtype=torch.float64):
    """Three linear layers, the second of which is overwritten in place."""
    torch.manual_seed(seed)
    first, second, third = (nn.Linear(a, b) for a, b in itertools.pairwise(widths))
    return nn.Sequential(first, nn.Sequential(nn.Tanh(), second), nn.Sequential(nn.ReLU(inplace=True), third)).to(dtype)


def pair(layers=LAYERS, dtype=torch.float64):
    return FeatureExtractor("a", net(0, dtype=dtype), layers), FeatureExtractor(
        "b", net(1, (5, 40, 6, 4), dtype), LAYERS
    )


def features_of(module, images):
    """Features of the three layers, computed by hand."""
    with torch.no_grad():
        first = module[0](images)
        second = module[1][1](torch.tanh(first))
        return [first, second, module[2][1](torch.relu(second))]


def gram_of(kernel):
    # HSIC doesn't see the mean; uncentred, the definition itself loses 1e-12 in float64 where it is large (n = 5)
    return {"linear": lambda x: naive.centred(x) @ naive.centred(x).T, "rbf": lambda x: naive.rbf_gram(x, 1.0)}[kernel]


def groups_of(count):
    """Examples of each group: 16 at most, consecutive, equally many but in the last."""
    size = math.ceil(count / 16)
    return [list(range(first, min(first + size, count))) for first in range(0, count, size)]


def sizes_of_tiles(monkeypatch, size):
    """Small tiles, of which a group has several and a product a few."""
    monkeypatch.setattr(example_groups, "_TILE", size)
    monkeypatch.setattr(example_groups, "_PANEL", 2 * size)
    monkeypatch.setattr(example_groups, "_WIDE", 3 * size)


@pytest.mark.parametrize("tile", [128, 3], ids=["a tile per group", "several tiles per group"])
@pytest.mark.parametrize("count", [5, 16, 67, 130])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("estimator", BIASES)
def test_it_is_the_definition(estimator, kernel, count, tile, monkeypatch):
    sizes_of_tiles(monkeypatch, tile)
    images, (a, b) = images_of(count), pair()
    result = mx.cka(a, b, data=data_of(images), estimator=estimator, kernel=kernel, batch_size=24)
    taken = features_of(a.module, images), features_of(b.module, images)
    expected = [[naive.minibatch_cka([x], [y], BIASES[estimator], gram_of(kernel)) for y in taken[1]] for x in taken[0]]
    np.testing.assert_allclose(result.matrix, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(result.cells["value"], result.cells[BIASES[estimator]])
    name = "linear" if kernel == "linear" else "rbf(1 median)"
    assert set(result.cells["estimator"]) == {f"cka/kernel={name}/hsic={BIASES[estimator]}/batches=one"}
    assert result.cells[["n", "batches", "batch_size"]].drop_duplicates().to_numpy().tolist() == [[count, 1, count]]
    assert result.warnings == () or estimator == "full-biased"


@pytest.mark.parametrize("covariate", ["", "input"])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("alone", [True, False], ids=["one network", "two networks"])
def test_it_is_the_mini_batch_estimator_of_one_batch(alone, kernel, covariate, monkeypatch):
    sizes_of_tiles(monkeypatch, 4)
    subjects = pair()[: 1 if alone else 2]
    images = images_of(90)
    images[7] *= 9
    choices = {"data": data_of(images), "kernel": kernel, "covariate": covariate}
    once = mx.cka(*subjects, batch_size=90, **choices)
    found = mx.cka(*subjects, batch_size=16, estimator="full", **choices)
    for column in ("value", "unbiased", "biased", "z", "status"):
        pd.testing.assert_series_equal(found.cells[column], once.cells[column], rtol=1e-10, atol=1e-10)
    shares = found.layers["top_share"]
    if kernel == "linear":
        pd.testing.assert_series_equal(shares, once.layers["top_share"], rtol=1e-10)
        assert shares.max() > 0.5
    else:
        assert shares.isna().all()
    assert found.cells["low"].notna().all()


def test_the_input_is_regressed_out():
    images, (a, b) = images_of(40), pair()
    result = mx.cka(a, b, data=data_of(images), estimator="full", covariate="input", batch_size=9)
    taken = features_of(a.module, images), features_of(b.module, images)
    expected = [[naive.deconfounded_cka([x], [y], [images]) for y in taken[1]] for x in taken[0]]
    np.testing.assert_allclose(result.matrix, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("tile", [128, 2], ids=["a tile per group", "several tiles per group"])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("estimator", BIASES)
def test_intervals_leave_groups_of_consecutive_images_out(estimator, kernel, tile, monkeypatch):
    count = 83
    sizes_of_tiles(monkeypatch, tile)
    images, (a, b) = images_of(count), pair()
    cells = mx.cka(a, b, data=data_of(images), estimator=estimator, kernel=kernel).cells
    taken = features_of(a.module, images), features_of(b.module, images)
    gram = gram_of(kernel)
    for at, row in zip(np.ndindex(3, 3), cells.to_dict(orient="records"), strict=True):
        # of the RBF kernel, the bandwidth stays that of all images
        k, ell = gram(taken[0][at[0]]), gram(taken[1][at[1]])

        def cka(groups, k=k, ell=ell):
            kept = np.ix_(*[np.concatenate(groups)] * 2)
            some = [[np.array(matrix[kept])] for matrix in (k, ell)]
            return naive.minibatch_cka(*some, BIASES[estimator], gram=lambda matrix: matrix)

        expected = naive.jackknife_interval(_chosen(count, tile), cka)
        assert (row["low"], row["high"]) == pytest.approx(expected, abs=1e-11)


def _chosen(count, tile):
    """The groups that whole tiles make."""
    if tile == 128:
        return groups_of(count)
    # 83 images in 16 groups of tiles of at most 2 rows: 3 tiles of 2, so that 14 groups have 6 or 5
    return [list(range(first, min(first + 6, count))) for first in range(0, count, 6)]


def test_the_mean_of_the_diagonal_has_an_interval():
    row = mx.cka(*pair(), data=data_of(images_of(64)), estimator="full").diagonal.iloc[0]
    assert row["low"] < row["mean"] < row["high"]
    assert row["n"] == 64


@pytest.mark.parametrize(("count", "defined"), [(4, False), (5, True)])
def test_too_few_images_for_an_interval(count, defined):
    cells = mx.cka(*pair(), data=data_of(images_of(count)), estimator="full-biased").cells
    assert cells["value"].notna().all()
    assert cells[["low", "high"]].notna().all(axis=None) == defined


@pytest.mark.parametrize("count", [1, 7, 16, 17, 100, 2048, 2049, 10_000, 50_000])
def test_groups_hold_each_image_once_in_whole_tiles(count):
    groups = Groups.of(count)
    assert [i for part in groups.slices for i in range(part.start, part.stop)] == list(range(count))
    assert len(groups.slices) <= example_groups.GROUPS
    assert groups.tile <= 128
    cut = [tile for panel in groups.panels() for tile in groups.tiles_in(panel)]
    assert [i for tile in cut for i in range(tile.start, tile.stop)] == list(range(count))
    for tile in cut:
        part = groups.slices[groups.group(tile)]
        assert part.start <= tile.start < tile.stop <= part.stop
    if count >= 100:
        assert len(groups.slices) >= 14


class TestBothWays:
    @staticmethod
    def both(features, spans, within=False, ways=(True, False)):
        grams = [LayerGram.of(centred(each.clone()), Kernel(), HERE) for each in features]
        return [full_batch.of_grams(grams, spans, within=within, features=way) for way in ways]

    @pytest.mark.parametrize("within", [True, False])
    def test_they_are_the_same(self, within, monkeypatch):
        sizes_of_tiles(monkeypatch, 2)
        monkeypatch.setattr(layer_grams, "BLOCK", 7)
        monkeypatch.setattr(cross_covariances, "BLOCK", 7)
        monkeypatch.setattr(cross_covariances, "_CELLS", 24)
        generator = torch.Generator().manual_seed(0)
        shared = torch.randn(70, 4, generator=generator, dtype=torch.float64)
        mixing = [torch.randn(4, size, generator=generator, dtype=torch.float64) for size in (3, 9, 50, 2)]
        features = [shared @ each + 5 for each in mixing]
        features = [each + torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in features]
        spans = (slice(0, 4),) if within else (slice(0, 1), slice(1, 4))
        one, other = self.both(features, spans, within)
        np.testing.assert_allclose(one.unbiased, other.unbiased, rtol=1e-10)
        np.testing.assert_allclose(one.biased, other.biased, rtol=1e-10)
        np.testing.assert_allclose(one.shares, other.shares, rtol=1e-9)
        for found in (one, other):
            np.testing.assert_array_equal(found.unbiased, found.unbiased.transpose(0, 2, 1))
        assert ratio(one.hsic())[0, 3] == pytest.approx(naive.unbiased_cka(features[0], features[3]), abs=1e-12)

    def test_features_of_two_precisions(self):
        x, y = images_of(50), images_of(50, 8, seed=4)
        one, other = self.both([x.float(), y], (slice(0, 1), slice(1, 2)))
        expected = naive.unbiased_cka(x, y)
        assert ratio(one.hsic())[0, 1] == pytest.approx(expected, abs=1e-6)
        assert ratio(other.hsic())[0, 1] == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize(("size", "cheaper"), [(4, True), (4000, False)])
    def test_the_cheaper_way_is_taken(self, size, cheaper, monkeypatch):
        taken = []
        for name in ("by_features", "by_tiles"):
            way = getattr(full_batch, name)
            monkeypatch.setattr(full_batch, name, lambda *of, way=way, name=name: taken.append(name) or way(*of))
        grams = [LayerGram.of(torch.randn(64, size), Kernel(), HERE) for _ in range(2)]
        full_batch.of_grams(grams, (slice(0, 1), slice(1, 2)))
        assert taken == ["by_features" if cheaper else "by_tiles"]

    @pytest.mark.parametrize("n", [20, 40, 333])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_features_without_unbiased_self_similarity(self, dtype, n):
        alone = torch.zeros(n, 4, dtype=dtype)
        alone[3] = torch.tensor([0.1, 0.7, -0.3, 0.9])
        equally_far = torch.eye(n, dtype=dtype) * 0.3 + 0.7
        flat = torch.full((n, 3), 0.1, dtype=dtype)
        layers = [images_of(n).to(dtype), alone, equally_far, flat]
        # features as many as the images are never multiplied with each other
        ways = (True, False) if n < 100 else (False,)
        for found in self.both(layers, (slice(0, 1), slice(1, 4)), ways=ways):
            assert np.isnan(ratio(found.hsic())[0, 1:]).all()
            assert np.isfinite(ratio(found.hsic())[0, 0])
            assert (np.diagonal(found.left_out_hsic(), axis1=1, axis2=2)[:, 1:] == 0).all()
            assert (found.left_out_hsic()[:, 0, 0] > 0).all()


@pytest.mark.parametrize("mean", [0.0, 3e3])
def test_single_precision_with_a_large_common_mean(mean):
    """The features are exact in both precisions, so that only the arithmetic differs."""
    features = [(images_of(300, size, seed, np.float32) * 64).round() / 64 + mean for seed, size in enumerate((20, 90))]
    for way in (True, False):
        found = [
            full_batch.of_grams(
                [LayerGram.of(centred(each.to(dtype, copy=True)), Kernel(), HERE) for each in features],
                (slice(0, 1), slice(1, 2)),
                features=way,
            )
            for dtype in (torch.float32, torch.float64)
        ]
        for bias in ("unbiased", "biased"):
            single, double = (ratio(each.hsic(bias))[0, 1] for each in found)
            assert single == pytest.approx(double, abs=1e-6)
            parts = [ratio(each.left_out_hsic(bias))[:, 0, 1] for each in found]
            np.testing.assert_allclose(*parts, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e15, 1e30])
def test_features_beyond_the_range_of_float32_products(scale):
    class Scaled(nn.Module):
        def forward(self, x):
            return x * scale

    images = images_of(24, dtype=np.float32)
    other = FeatureExtractor("b", net(1, dtype=torch.float32), LAYERS)
    plain, scaled = (
        mx.cka(FeatureExtractor("a", nn.Sequential(each), {"x": "0"}), other, data=data_of(images), estimator="full")
        for each in (nn.Identity(), Scaled())
    )
    np.testing.assert_allclose(scaled.matrix, plain.matrix, atol=1e-6)
    np.testing.assert_allclose(scaled.cells["z"], plain.cells["z"], rtol=1e-4)


@pytest.mark.parametrize("memory", [0, 40 * 8 * 20], ids=["all in files", "some in files"])
@pytest.mark.parametrize("known", [True, False], ids=["data set", "batches"])
def test_files_and_memory_give_the_same(memory, known):
    images = images_of(40)
    data = data_of(images) if known else images.split(7)
    results = [mx.cka(*pair(), data=data, estimator="full", batch_size=7, memory=each) for each in (memory, 2**30)]
    pd.testing.assert_frame_equal(results[0].cells, results[1].cells)
    pd.testing.assert_frame_equal(results[0].layers, results[1].layers)
    whole = mx.cka(*pair(), data=data_of(images), estimator="full", batch_size=40)
    np.testing.assert_allclose(results[0].cells[COLUMNS], whole.cells[COLUMNS], rtol=1e-12)


def test_files_share_their_room(monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=40 * 8 * (7 + 30 + 39)))
    a, b = pair()
    two = FeatureExtractor("a", a.module, {"first": "0", "second": "1"})
    assert mx.cka(two, data=data_of(images_of(40)), estimator="full", memory=0).matrix.shape == (2, 2)
    with pytest.raises(UsageError, match=r"^features of one layer need 0\.0 GiB, .* has 0\.0 left; use fewer images"):
        mx.cka(two, b, data=data_of(images_of(40)), estimator="full", memory=0)


def test_no_room_for_files(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=2**30 * 3 // 2))
    images = torch.zeros(4, 1, dtype=torch.float64).expand(4, 2**26)
    subject = FeatureExtractor("a", nn.Sequential(nn.Identity()), {"x": "0"})
    message = (
        r"^features of one layer need 2\.0 GiB, .* has 1\.5 left; use fewer images or layers, pool over tokens, or"
    )
    with pytest.raises(UsageError, match=message):
        mx.cka(subject, data=data_of(images), estimator="full", memory=0)
    assert list(tmp_path.iterdir()) == []


def test_files_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mx.cka(*pair(), data=data_of(images_of(40)), estimator="full", memory=0)
    assert list(tmp_path.iterdir()) == []


def test_short_batches_count_too():
    images = images_of(21)
    found = mx.cka(*pair(), data=data_of(images), estimator="full", batch_size=10)
    assert set(found.cells["n"]) == {21}
    assert found.warnings == ()


class Broken(nn.Module):
    """Constant features, features that aren't finite for large inputs, and a part that never runs."""

    def __init__(self):
        super().__init__()
        self.good, self.flat, self.bad, self.idle = net(0)[0], nn.Identity(), nn.Identity(), nn.Identity()

    def forward(self, x):
        self.flat(torch.full((len(x), 4), 0.3))
        self.bad(torch.where(x[:, :1] > 9, torch.nan, x))
        return self.good(x)


@pytest.mark.parametrize("memory", [0, 2**30])
def test_layers_without_similarity_are_undefined_alone(memory):
    images = images_of(30)
    images[13, 0] = images[25, 0] = 10.0
    names = ("flat", "bad", "good", "idle")
    subject = FeatureExtractor("net", Broken(), {name: name for name in names})
    other = pair()[1]
    found = mx.cka(subject, other, data=data_of(images), estimator="full", batch_size=8, memory=memory)
    statuses = {
        "flat": "constant features",
        "bad": "not finite for image 13",
        "good": "ok",
        "idle": "never ran",
    }
    assert dict(zip(found.layers["layer"], found.layers["status"], strict=True)) == statuses | dict.fromkeys(
        LAYERS, "ok"
    )
    assert found.matrix.loc[["flat", "bad", "idle"]].isna().all(axis=None)
    alone = mx.cka(FeatureExtractor("net", Broken(), {"good": "good"}), other, data=data_of(images), estimator="full")
    np.testing.assert_allclose(found.matrix.loc["good"], alone.matrix.loc["good"], atol=1e-14)


def test_the_bandwidth_is_that_of_evenly_spaced_images(monkeypatch):
    monkeypatch.setattr(layer_grams, "_SUBSET", 10)
    images = images_of(45)
    images[1::9] += 30
    subject = FeatureExtractor("a", nn.Sequential(nn.Identity()), {"x": "0"})
    found = mx.cka(subject, pair()[1], data=data_of(images), estimator="full", kernel="rbf", bandwidth=0.7).matrix
    sigma = 0.7 * _median(images[[i * 45 // 10 for i in range(10)]])
    assert sigma < 0.95 * 0.7 * _median(images)
    other = features_of(pair()[1].module, images)[0]
    width = 0.7 * _median(other[[i * 45 // 10 for i in range(10)]])
    k, ell = (torch.exp(-(torch.cdist(x, x) ** 2) / (2 * s**2)) for x, s in ((images, sigma), (other, width)))
    expected = naive.minibatch_cka([k], [ell], gram=lambda matrix: matrix)
    assert found.iloc[0, 0] == pytest.approx(expected, abs=1e-12)


def _median(x):
    distances = sorted(math.dist(a, b) for a, b in itertools.combinations(x.tolist(), 2))
    return distances[(len(distances) - 1) // 2]


def test_a_median_distance_of_zero_is_no_kernel():
    images = images_of(30)
    images[:25] = images[0]
    subject = FeatureExtractor("a", nn.Sequential(nn.Identity()), {"x": "0"})
    found, once = (
        mx.cka(subject, data=data_of(images), kernel="rbf", estimator=estimator, batch_size=30)
        for estimator in ("full", "minibatch")
    )
    assert found.layers["status"].tolist() == once.layers["status"].tolist() == [NO_SCALE]
    assert found.cells["value"].isna().all()
    assert once.cells["value"].isna().all()


@pytest.mark.parametrize("estimator", ["full", "full-biased", "minibatch", "minibatch-biased"])
@pytest.mark.parametrize("sizes", [(1500, 200), (3, 1)])
def test_constant_layers_have_no_similarity(estimator, sizes):
    """Not even the biased one, whose rounding errors once gave 1.3 between two of them."""
    generator = torch.Generator().manual_seed(0)
    flat = [torch.randn(1, size, generator=generator).repeat(257, 1) for size in sizes]
    module = nn.Module()
    module.constant, module.other, module.real = nn.Identity(), nn.Identity(), nn.Identity()
    module.forward = lambda x: [module.constant(flat[0][: len(x)]), module.other(flat[1][: len(x)]), module.real(x)]
    network = FeatureExtractor("a", module, {name: name for name in ("constant", "other", "real")})
    result = mx.cka(network, data=data_of(images_of(257, dtype=np.float32)), estimator=estimator)
    assert result.layers["status"].tolist() == ["constant features", "constant features", "ok"]
    assert result.matrix.notna().sum(axis=None) == 1
    assert set(result.cells["status"]) == {"constant features", "ok"}


class TestRequests:
    def test_several_processes(self, monkeypatch):
        monkeypatch.setattr(distributed, "world", lambda: distributed.World(0, 2))
        with pytest.raises(UsageError, match=r"^full-data estimators run in one process; use a mini-batch estimator"):
            mx.cka(*pair(), data=data_of(images_of(9)), estimator="full")

    def test_a_tolerance(self):
        with pytest.raises(UsageError, match=r"^full-data estimators can't stop early; leave the tolerance out$"):
            mx.cka(*pair(), data=data_of(images_of(9)), estimator="full", tolerance=0.1)

    @pytest.mark.parametrize("count", [0, 3])
    def test_too_few_images(self, count):
        with pytest.raises(UsageError, match=rf"^HSIC_1 needs at least 4 images, got {count}$"):
            mx.cka(*pair(), data=data_of(images_of(count)), estimator="full")

    def test_features_that_change_their_size(self):
        subject = FeatureExtractor("a", nn.Sequential(nn.Identity()), {"x": "0"})
        message = (
            r"^a: features of layer 0 have size 6 in batch 1, 5 before; pool them over tokens, or use a mini-batch"
        )
        with pytest.raises(DataError, match=message):
            mx.cka(subject, data=[images_of(8), images_of(8, 6)], estimator="full")

    def test_no_finite_features(self):
        images = images_of(9)
        images[2, 1] = math.nan
        with pytest.raises(DataError, match=r"^a: features of first are not finite for image 2, and no layer has"):
            mx.cka(*pair(), data=data_of(images), estimator="full")

    def test_progress_counts_batches(self):
        calls = []
        mx.cka(
            *pair(), data=data_of(images_of(9)), estimator="full", batch_size=4, progress=lambda *at: calls.append(at)
        )
        assert calls == [(1, 3), (2, 3), (3, 3)]
