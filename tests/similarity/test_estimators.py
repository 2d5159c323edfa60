"""Kernels, biases and covariates of CKA through whole networks; and what independent features give."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import mixanalysis as mx
import naive
from mixanalysis.datasets import Dataset
from mixanalysis.errors import UsageError
from mixanalysis.similarity import Estimator, FeatureExtractor

LAYERS = {"first": "0", "act": "1", "last": "2"}
SIZE = 11


def data_of(images):
    return Dataset("made up", "test", images, None, classes=0)


def images_of(count, size=5, seed=3):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, size)))


def subject(label, seed, width=8):
    torch.manual_seed(seed)
    return FeatureExtractor(label, nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 3)).double(), LAYERS)


def features_of(each, batches):
    """For each layer its features, batch by batch."""
    with torch.no_grad():
        ran = [list(itertools.accumulate(each.module, lambda x, part: part(x), initial=batch))[1:] for batch in batches]
    return [[layers[place] for layers in ran] for place in range(3)]


def pair_and_features(count=27):
    a, b, images = subject("a", 0), subject("b", 1, 12), images_of(count)
    return (a, b), data_of(images), [features_of(each, images.split(SIZE)) for each in (a, b)]


GRAMS = {
    "linear": (("linear", 1.0), lambda x: naive.matrix(x) @ naive.matrix(x).T),
    "rbf": (("rbf", 1.0), lambda x: naive.rbf_gram(x, 1.0)),
    "narrow rbf": (("rbf", 0.4), lambda x: naive.rbf_gram(x, 0.4)),
}


@pytest.mark.parametrize(("kernel", "gram"), GRAMS.values(), ids=GRAMS)
@pytest.mark.parametrize("bias", ["unbiased", "biased"])
def test_kernels_and_biases_are_their_definitions(kernel, gram, bias):
    subjects, data, taken = pair_and_features()
    name = "minibatch" if bias == "unbiased" else "minibatch-biased"
    cells = mx.cka(*subjects, data=data, batch_size=SIZE, estimator=name, kernel=kernel[0], bandwidth=kernel[1]).cells
    for row in cells.to_dict(orient="records"):
        batches = taken[0][row["index_a"]], taken[1][row["index_b"]]
        found = {each: naive.minibatch_cka(*batches, each, gram) for each in ("unbiased", "biased")}
        assert row["value"] == pytest.approx(found[bias], abs=1e-12)
        assert {each: row[each] for each in found} == pytest.approx(found, abs=1e-12)

        def over(chosen, batches=batches):
            return naive.minibatch_cka(*[[side[i] for i in chosen] for side in batches], bias, gram)

        assert (row["low"], row["high"]) == pytest.approx(naive.jackknife_interval(range(3), over), abs=1e-10)
    kind = kernel[0] if kernel[0] == "linear" else f"rbf({kernel[1]:g} median)"
    assert set(cells["estimator"]) == {f"cka/kernel={kind}/hsic={bias}/batches=mean"}


def test_the_input_is_regressed_out():
    subjects, data, taken = pair_and_features()
    result = mx.cka(*subjects, data=data, batch_size=SIZE, covariate="input")
    plain = mx.cka(*subjects, data=data, batch_size=SIZE)
    inputs = data.images.split(SIZE)
    expected = [[naive.deconfounded_cka(x, y, inputs) for y in taken[1]] for x in taken[0]]
    np.testing.assert_allclose(result.matrix, expected, rtol=0, atol=1e-11)
    assert np.abs(result.matrix.to_numpy() - plain.matrix.to_numpy()).min() > 1e-3
    assert result.cells["z"].isna().all()
    assert set(result.cells["estimator"]) == {"cka/kernel=linear/hsic=unbiased/batches=mean/without=input"}
    assert result.cells["low"].notna().all()
    assert list(result.matrix.index) == list(LAYERS)


def test_the_input_without_itself_is_nothing():
    turns = nn.Sequential(*(nn.Linear(5, 5) for _ in range(8))).double()
    for turn in turns:
        nn.init.orthogonal_(turn.weight, gain=1.7)
    same = FeatureExtractor("same", turns, {str(place): str(place) for place in range(8)})
    for estimator in ("minibatch", "minibatch-biased", "full"):
        cells = mx.cka(
            same, subject("b", 1), data=data_of(images_of(22)), batch_size=SIZE, covariate="input", estimator=estimator
        ).cells
        assert cells["value"].isna().all()
        assert set(cells["status"]) == {"no self-similarity"}


class TestIndependent:
    """Two networks that see independent halves of the input."""

    @staticmethod
    def run(estimator, sizes=(40, 90), n=64, batches=40, kernel="linear"):
        class Half(nn.Module):
            def __init__(self, part):
                super().__init__()
                self.part = part

            def forward(self, x):
                return x[:, self.part]

        images = images_of(n * batches, sum(sizes))
        parts = (slice(0, sizes[0]), slice(sizes[0], sum(sizes)))
        subjects = [FeatureExtractor(str(i), nn.Sequential(Half(part)), {"x": "0"}) for i, part in enumerate(parts)]
        (row,) = mx.cka(
            *subjects, data=data_of(images), batch_size=n, estimator=estimator, kernel=kernel
        ).cells.to_dict(orient="records")
        return row

    @pytest.mark.parametrize("kernel", ["linear", "rbf"])
    def test_the_unbiased_estimator_gives_nothing(self, kernel):
        row = self.run("minibatch", kernel=kernel)
        deviation = math.sqrt(2 / (64 * 61) / 40)
        assert abs(row["value"]) < 4 * deviation
        assert abs(row["z"]) < 4
        assert row["independent"] == 0

    def test_over_all_images_too(self):
        row = self.run("full", batches=8)
        n = 64 * 8
        assert abs(row["value"]) < 4 * math.sqrt(2 / (n * (n - 3)))
        assert row["independent"] == 0

    @pytest.mark.parametrize("sizes", [(40, 90), (300, 20)])
    def test_the_biased_estimator_gives_what_its_formula_says(self, sizes):
        row = self.run("minibatch-biased", sizes)
        assert row["independent"] == pytest.approx(1 / math.sqrt((1 + 64 / sizes[0]) * (1 + 64 / sizes[1])), rel=1e-12)
        assert row["value"] == pytest.approx(row["independent"], abs=0.02)
        assert abs(row["unbiased"]) < 0.02 < row["biased"]

    def test_over_all_images_its_formula_is_of_all(self):
        row = self.run("full-biased", batches=8)
        assert row["independent"] == pytest.approx(1 / math.sqrt((1 + 512 / 40) * (1 + 512 / 90)), rel=1e-12)
        assert row["value"] == pytest.approx(row["independent"], abs=0.02)

    def test_no_formula_is_known(self):
        assert math.isnan(self.run("minibatch-biased", batches=2, kernel="rbf")["independent"])
        assert math.isnan(Estimator.of("minibatch-biased", covariate="input").independent(64, 40, 90))
        assert math.isnan(Estimator.of("minibatch-biased").independent(64, 0, 90))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (
            {"estimator": "debiased"},
            r"^unknown estimator 'debiased'; known are minibatch, minibatch-biased, full, full-b",
        ),
        ({"kernel": "cosine"}, r"^kernel must be \"linear\" or \"rbf\", got 'cosine'$"),
        ({"kernel": "rbf", "bandwidth": 0.0}, r"^the bandwidth must be a positive share of the median distance, got 0"),
        ({"covariate": "labels"}, r"^what is regressed out must be 'input' or nothing, got 'labels'$"),
    ],
    ids=["estimator", "kernel", "bandwidth", "covariate"],
)
def test_unknown_choices(choices, message):
    with pytest.raises(UsageError, match=message):
        mx.cka(subject("a", 0), data=data_of(images_of(9)), **choices)
