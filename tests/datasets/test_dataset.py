"""Batches, limits, fingerprints and names of data sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import mixanalysis as mx
from mixanalysis.datasets import NOISE_IMAGES, Dataset
from mixanalysis.errors import DataError


def made_up(count=7, *, labels=True):
    images = torch.arange(count * 12, dtype=torch.float32).reshape(count, 3, 2, 2)
    return Dataset("made up", "train", images, torch.arange(count) % 3 if labels else None, 3 if labels else 0)


class TestBatches:
    @pytest.mark.parametrize("size", [1, 3, 7, 100])
    def test_all_images_in_order(self, size):
        data = made_up()
        batches = list(data.batches(size))
        assert torch.equal(torch.cat(batches), data.images)
        assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
        assert 1 <= len(batches[-1]) <= size

    @pytest.mark.parametrize("size", [0, -3])
    def test_size_out_of_range(self, size):
        with pytest.raises(DataError, match=rf"--batch-size must be at least 1, got {size}"):
            list(made_up().batches(size))


class TestFirst:
    def test_images_and_labels(self):
        data = made_up()
        first = data.first(4)
        assert torch.equal(first.images, data.images[:4])
        assert torch.equal(first.labels, data.labels[:4])
        assert (first.name, first.split, first.classes, first.resizable) == ("made up", "train", 3, False)

    def test_without_labels(self):
        assert made_up(labels=False).first(4).labels is None

    @pytest.mark.parametrize("limit", [None, 7, 100])
    def test_all(self, limit):
        data = made_up()
        assert data.first(limit) is data

    @pytest.mark.parametrize("limit", [0, -1])
    def test_limit_out_of_range(self, limit):
        with pytest.raises(DataError, match=rf"made up: --limit must be at least 1, got {limit}"):
            made_up().first(limit)


class TestFingerprint:
    def test_same_content(self):
        assert made_up().fingerprint == made_up().fingerprint

    def test_every_part_counts(self):
        data = made_up()
        changed = data.images.clone()
        changed[6, 2, 1, 1] += 1e-3
        others = [
            Dataset("made up", "train", changed, data.labels, 3),
            Dataset("made up", "train", data.images.flip(0), data.labels, 3),
            Dataset("made up", "train", data.images, data.labels.flip(0), 3),
            Dataset("made up", "train", data.images.reshape(7, 3, 4, 1), data.labels, 3),
            made_up(labels=False),
            data.first(6),
        ]
        assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 7

    def test_name_and_memory_layout_do_not_count(self):
        data = made_up()
        strided = data.images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        assert not strided.is_contiguous()
        assert Dataset("another", "test", strided, data.labels, 3).fingerprint == data.fingerprint


def test_images_of_another_shape():
    message = (
        r"^made up: its images have shape 3 x 2 x 2, the network takes 1 x 8 x 8; "
        r"give data of that shape \(--data FILE.npz\), or resize these \(--resize\)$"
    )
    with pytest.raises(DataError, match=message):
        made_up().at((1, 8, 8))


class TestConversion:
    @staticmethod
    def opened(tmp_path, images, **options):
        np.savez(tmp_path / "a.npz", images=images)
        return mx.open_dataset(str(tmp_path / "a.npz"), **options)

    def test_size_and_colour_on_request(self, tmp_path):
        images = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
        data = self.opened(tmp_path, images, resize=True, colour=True)
        assert (
            data.note
            == "resized to each network's input size; converted between grey and RGB as each network takes them"
        )
        grey = data.at((1, 8, 8)).images
        np.testing.assert_allclose(grey[:, 0], np.einsum("nchw,c->nhw", images, (0.299, 0.587, 0.114)), atol=1e-6)
        expected = F.interpolate(torch.from_numpy(images), (4, 4), mode="bilinear", align_corners=False, antialias=True)
        torch.testing.assert_close(data.at((3, 4, 4)).images, expected)
        # both steps are linear, so their order doesn't matter
        torch.testing.assert_close(
            data.at((1, 4, 4)).images, self.opened(tmp_path, grey, resize=True).at((1, 4, 4)).images
        )

    def test_grey_of_grey_in_colours_is_itself(self, tmp_path):
        images = np.random.default_rng(1).normal(size=(3, 1, 8, 8)).astype(np.float32)
        colours = self.opened(tmp_path, images, colour=True).at((3, 8, 8)).images
        assert torch.equal(colours, torch.from_numpy(images).expand(-1, 3, -1, -1))
        again = self.opened(tmp_path, colours.numpy(), colour=True).at((1, 8, 8)).images
        np.testing.assert_allclose(again, images, atol=1e-6)

    def test_colours_are_not_converted_without_a_word(self, tmp_path):
        data = self.opened(tmp_path, np.zeros((3, 3, 8, 8), np.float32), resize=True)
        with pytest.raises(
            DataError, match=r"3 x 8 x 8, the network takes 1 x 8 x 8; .*convert the colours \(--colour\)"
        ):
            data.at((1, 8, 8))

    def test_two_channels_are_no_colours(self, tmp_path):
        data = self.opened(tmp_path, np.zeros((3, 2, 8, 8), np.float32), resize=True, colour=True)
        with pytest.raises(DataError, match=r"give data of that shape \(--data FILE.npz\)$"):
            data.at((3, 8, 8))


class TestNoise:
    def test_seeds(self):
        def noise(seed):
            return mx.open_dataset("noise", seed=seed).images

        assert torch.equal(noise(3), noise(3))
        assert not torch.equal(noise(3), noise(4))

    def test_the_global_generator_is_not_touched(self):
        state = torch.get_rng_state()
        mx.open_dataset("noise", seed=5)
        assert torch.equal(torch.get_rng_state(), state)

    def test_standard_gaussian_pixels(self):
        data = mx.open_dataset("noise", shape=(3, 8, 12))
        assert data.images.shape == (NOISE_IMAGES, 3, 8, 12)
        assert (data.labels, data.classes, data.resizable) == (None, 0, False)
        pixels = data.images.flatten()
        assert abs(float(pixels.mean())) < 0.02
        assert float(pixels.var()) == pytest.approx(1, abs=0.02)
        assert float((pixels**4).mean()) == pytest.approx(3, abs=0.1)
        correlations = torch.corrcoef(data.images.flatten(1).T).fill_diagonal_(0)
        assert float(correlations.abs().max()) < 6 / NOISE_IMAGES**0.5


def test_unknown_names():
    with pytest.raises(
        DataError, match=r"unknown data set 'mnist'; use digits, noise, mnist:DIR, .*, or the path of a "
    ):
        mx.open_dataset("mnist")
