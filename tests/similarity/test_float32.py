"""Features in float32 have the CKA of the same numbers in float64, however far one image is from all others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import mixanalysis as mx
from mixanalysis.datasets import Dataset
from mixanalysis.similarity import FeatureExtractor, Stored, rbf_cka, store
from mixanalysis.similarity.sources.feature_files.read import replay


class Table(nn.Module):
    """Gives rows of a table, by their numbers."""

    def __init__(self, rows):
        super().__init__()
        self.rows, self.inner = rows, nn.Identity()

    def forward(self, numbers):
        return self.inner(self.rows[numbers[:, 0].long()])


def extractor(label, rows):
    return FeatureExtractor(label, Table(rows), {"x": "inner"})


def numbers(count, size):
    return [torch.arange(first, min(first + size, count))[:, None] for first in range(0, count, size)]


def tables(count, times):
    """Two related layers; the first image is so many times farther than the others in one of them."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, 64))
    y = x + 0.7 * rng.standard_normal((count, 64))
    x[0] *= times * 8 / np.linalg.norm(x[0])
    return torch.from_numpy(x).float(), torch.from_numpy(y).float()


def compared(x, y, data, estimator, kernel):
    return mx.cka(extractor("a", x), extractor("b", y), data=data, estimator=estimator, kernel=kernel)


@pytest.mark.parametrize("times", [1.0, 1e2, 2e4, 3e4, 1e5, 1e6])
@pytest.mark.parametrize("estimator", ["minibatch", "minibatch-biased", "full", "full-biased"])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_a_far_away_image(times, estimator, kernel):
    count = 96
    x, y = tables(count, times)
    data = numbers(count, 32)
    single = compared(x, y, data, estimator, kernel)
    double = compared(x.double(), y.double(), data, estimator, kernel)
    for column in ("value", "unbiased", "biased", "low", "high"):
        np.testing.assert_allclose(single.cells[column], double.cells[column], rtol=1e-4, atol=1e-4)
    assert single.cells["status"].tolist() == ["ok"]
    np.testing.assert_allclose(single.layers["top_share"], double.layers["top_share"], rtol=1e-3)


@pytest.mark.parametrize("estimator", ["minibatch", "full"])
def test_influential_images_are_told(estimator):
    x, y = tables(256, 1e5)
    warnings = compared(x, y, numbers(256, 64), estimator, "linear").warnings
    assert any("of 256 images carry" in warning for warning in warnings), warnings


def test_plain_arrays():
    x, y = tables(64, 1e5)
    for way in (mx.linear_cka, rbf_cka):
        assert way(x, y) == pytest.approx(way(x.double(), y.double()), abs=1e-5)


def test_one_batch_of_which_nothing_is_left_is_told():
    """Beyond what float64 can carry the batch still isn't left out without a word."""
    x, y = (each.double() for each in tables(96, 1))
    x[0] *= 1e18
    warnings = compared(x, y, numbers(96, 32), "minibatch", "linear").warnings
    assert any("a: x: 1 of 3 batches adds nothing" in warning for warning in warnings), warnings


def test_stored_gram_matrices_that_float32_cannot_carry_have_a_status(tmp_path):
    x, y = tables(96, 1e6)
    data = Dataset("numbers", "test", torch.cat(numbers(96, 32)).float(), None, classes=0)
    files = []
    for label, rows in (("a", x), ("b", y)):
        files.append(tmp_path / f"{label}.features.safetensors")
        store(extractor(label, rows), data, files[-1], batch_size=32)
    sources = [Stored.open(file) for file in files]
    result = mx.cka(*sources, data=replay(sources), batch_size=32)
    assert result.cells["value"].isna().all()
    assert "float32" in result.layers["status"][0]
    assert result.layers["status"][1] == "ok"
