"""The embedded digits: what they are, how they are resized, and that their licence travels with them."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
import torch

import mixanalysis as mx
import naive
from mixanalysis.errors import DataError

FINGERPRINTS = {
    "train": "801b6a89e3ee1948cbb12cee38fc47e332679b9211af8deaa743c81e583e022b",
    "test": "d11dd78bf6f9c87dc44cfd1149e48ab3b6ec411a4a508bc6ac934e4726dfbe41",
}
UCI_COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
"""Images of each digit in the test part of the UCI repository."""

splits = pytest.mark.parametrize("split", FINGERPRINTS)


def digits(split="test"):
    return mx.open_dataset("digits", split)


def class_means(images, labels):
    return torch.stack([images[labels == digit].mean(dim=0).flatten() for digit in range(10)])


@splits
def test_fingerprint_is_pinned(split):
    assert digits(split).fingerprint == FINGERPRINTS[split]


@pytest.mark.parametrize(("split", "count"), [("train", 1437), ("test", 360)])
def test_sizes(split, count):
    data = digits(split)
    assert (data.name, data.split, len(data), data.classes) == ("digits", split, count, 10)
    assert data.images.shape == (count, 1, 8, 8)
    assert data.images.dtype == torch.float32
    assert data.labels.shape == (count,)
    assert data.labels.dtype == torch.int64
    assert data.resizable


def test_all_images_of_the_repository_are_there_once():
    labels = torch.cat([digits("train").labels, digits("test").labels])
    assert torch.bincount(labels).tolist() == UCI_COUNTS
    images = torch.cat([digits("train").images, digits("test").images]).flatten(1)
    assert len(torch.unique(images, dim=0)) == 1797


@splits
def test_values_are_the_sixteen_grey_levels(split):
    levels = (digits(split).images + 1) * 8
    assert torch.equal(levels, levels.round())
    assert (levels.min(), levels.max()) == (0, 16)
    # ink on the middle of the image, none on the left margin
    assert float(digits(split).images[..., 3:5].mean()) > 0 > float(digits(split).images[..., 0].mean())


def test_nearest_neighbours_agree_on_the_labels():
    train, test = digits("train"), digits("test")
    nearest = torch.cdist(test.images.flatten(1), train.images.flatten(1)).argmin(dim=1)
    assert float((train.labels[nearest] == test.labels).double().mean()) > 0.97


def test_twice_the_size_is_bilinear():
    data = digits().first(5)
    resized = data.at((1, 16, 16))
    expected = np.stack([naive.doubled(image.numpy()) for image in data.images[:, 0]])
    np.testing.assert_allclose(resized.images[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("size", [16, 32, 24])
def test_resizing_keeps_the_images(size):
    data = digits()
    resized = data.at((1, size, size))
    assert resized.images.shape == (360, 1, size, size)
    assert -1 <= float(resized.images.min()) < float(resized.images.max()) <= 1
    assert torch.equal(resized.labels, data.labels)
    assert (resized.name, resized.split, resized.classes) == ("digits", "test", 10)
    shrunk = torch.nn.functional.adaptive_avg_pool2d(resized.images, 8)
    for original, again in zip(class_means(data.images, data.labels), class_means(shrunk, data.labels), strict=True):
        assert float(torch.corrcoef(torch.stack([original, again]))[0, 1]) > 0.97


def test_colours_repeat_the_grey_value():
    data = digits().first(6)
    coloured = data.at((3, 16, 24)).images
    grey = data.at((1, 16, 24)).images
    assert coloured.shape == (6, 3, 16, 24)
    assert all(torch.equal(coloured[:, colour], grey[:, 0]) for colour in range(3))
    assert torch.equal(data.at((3, 8, 8)).images[:, 2], data.images[:, 0])


def test_the_own_shape_costs_nothing():
    data = digits()
    assert data.at((1, 8, 8)) is data


def test_other_shapes_are_other_data():
    data = digits().first(6)
    assert len({data.at(shape).fingerprint for shape in [(1, 8, 8), (1, 16, 16), (3, 8, 8)]}) == 3


def test_two_colours_cannot_become_three():
    coloured = digits().first(4).at((2, 8, 8))
    with pytest.raises(DataError, match=r"digits: its images have shape 2 x 8 x 8, the network takes 3 x 8 x 8"):
        coloured.at((3, 8, 8))


def test_licence_lies_beside_the_data():
    folder = files("mixanalysis.datasets")
    assert (folder / "digits.npz").is_file()
    text = (folder / "LICENSE-digits.txt").read_text(encoding="utf-8")
    for part in ("CC BY 4.0", "Alpaydin", "10.24432/C50P49", "Changes:"):
        assert part in text
