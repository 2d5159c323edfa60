"""Augmentation: every outcome is one that the policy allows, and each part of it happens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mixanalysis.datasets import Dataset
from mixanalysis.datasets.dataset import UNIT
from mixanalysis.training import augment
from mixanalysis.training.augment import PADDING, augmented, auto, crop_flip

IMAGES = torch.rand(300, 3, 6, 9, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.1


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def allowed(image):
    """Every crop and its mirror image, cut out one by one."""
    channels, height, width = image.shape
    padded = np.zeros((channels, height + 2 * PADDING, width + 2 * PADDING), np.float32)
    padded[:, PADDING : PADDING + height, PADDING : PADDING + width] = image
    crops = {}
    for top in range(2 * PADDING + 1):
        for left in range(2 * PADDING + 1):
            crop = padded[:, top : top + height, left : left + width]
            crops[top, left, False] = crop
            crops[top, left, True] = crop[:, :, ::-1]
    return crops


def test_crops_and_mirror_images_are_those_by_hand():
    changed = crop_flip(IMAGES, seeded())
    assert changed.shape == IMAGES.shape
    found = set()
    for image, result in zip(IMAGES.numpy(), changed.numpy(), strict=True):
        matches = [place for place, crop in allowed(image).items() if np.array_equal(crop, result)]
        assert len(matches) == 1
        found.add(matches[0])
    assert {top for top, _, _ in found} == {left for _, left, _ in found} == set(range(2 * PADDING + 1))
    assert {flip for _, _, flip in found} == {True, False}


@pytest.mark.parametrize("policy", ["none", "crop-flip", "auto"])
def test_seeds(policy):
    dark, bright = torch.zeros(3), torch.ones(3)
    first, again, other = (augmented(IMAGES, policy, dark, bright, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (policy == "none")
    assert first.shape == IMAGES.shape
    assert IMAGES.is_contiguous()


@pytest.mark.parametrize("policy", ["crop-flip", "auto"])
def test_the_scale_of_the_pixels_does_not_matter(policy):
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.25])
    plain = augmented(IMAGES, policy, torch.zeros(3), torch.ones(3), seeded())
    scaled = (IMAGES - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    changed = augmented(scaled, policy, -mean / std, (1 - mean) / std, seeded())
    close = (changed - (plain - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)).abs() < 1e-4
    # a shade at the edge of a step may round to either side
    assert float(close.double().mean()) > 0.999


def test_auto_changes_images_in_range():
    changed = auto(IMAGES, seeded())
    same = (changed == IMAGES).flatten(1).all(dim=1)
    # both operations are left out a quarter of the time
    assert 0.15 < float(same.double().mean()) < 0.4
    assert 0 <= float(changed.min()) < float(changed.max()) <= 1


def alone(monkeypatch, number, strength):
    """`auto` with this operation at this strength for every image, once."""
    draws = iter([torch.full((len(IMAGES),), float(each)) for each in (strength, 0.0, strength, 1.0)])
    monkeypatch.setattr(augment.torch, "randint", lambda *_, **__: torch.full((len(IMAGES),), number))
    monkeypatch.setattr(augment.torch, "rand", lambda *_, **__: next(draws))
    return auto(IMAGES, seeded())


class TestOperations:
    @pytest.mark.parametrize("number", range(5))
    def test_moves_of_no_strength_change_nothing(self, number, monkeypatch):
        torch.testing.assert_close(alone(monkeypatch, number, 0.5), IMAGES, rtol=0, atol=1e-5)

    @pytest.mark.parametrize(("right", "down"), [(15, 0), (0, 15), (9, -12)])
    def test_rotation_keeps_the_pixels_square(self, right, down):
        images = torch.zeros(1, 1, 41, 61)
        images[:, :, 20 + down, 30 + right] = 1.0
        moved = augment._moved(images, torch.zeros(1, dtype=torch.int64), torch.ones(1))
        row, column = np.unravel_index(int(moved[0, 0].argmax()), (41, 61))
        # turned by 30 degrees around the middle, whatever the sides of the image
        turned = (right + 1j * down) * np.exp(-1j * np.pi / 6)
        assert (column - 30, row - 20) == (pytest.approx(turned.real, abs=1), pytest.approx(turned.imag, abs=1))

    def test_shifts_by_a_quarter_of_the_side(self):
        images = torch.rand(2, 3, 8, 12, generator=seeded())
        ones = torch.ones(2)
        columns = augment._moved(images, torch.full((2,), 3), ones)
        torch.testing.assert_close(columns[..., :9], images[..., 3:], rtol=0, atol=1e-5)
        assert float(columns[..., 9:].abs().max()) < 1e-5
        rows = augment._moved(images, torch.full((2,), 4), 0 * ones)
        torch.testing.assert_close(rows[:, :, 2:], images[:, :, :6], rtol=0, atol=1e-5)

    @pytest.mark.parametrize("number", [1, 2])
    def test_shears_leave_the_middle_row_or_column(self, number):
        images = torch.rand(1, 1, 9, 9, generator=seeded())
        sheared = augment._moved(images, torch.full((1,), number), torch.ones(1))
        middle = (0, 0, 4) if number == 1 else (0, 0, slice(None), 4)
        torch.testing.assert_close(sheared[middle], images[middle], rtol=0, atol=1e-5)
        assert not torch.allclose(sheared, images, atol=1e-2)

    def test_shades(self, monkeypatch):
        grey = IMAGES.mean(dim=1, keepdim=True)
        mean = IMAGES.mean(dim=(1, 2, 3), keepdim=True)
        expected = {
            5: IMAGES * 1.6,
            6: mean + 1.6 * (IMAGES - mean),
            7: grey + 1.6 * (IMAGES - grey),
            8: IMAGES,
            9: (IMAGES * 64).floor() / 63,
            10: 1 - IMAGES,
        }
        for number, images in expected.items():
            torch.testing.assert_close(alone(monkeypatch, number, 1.0), images.clamp(0, 1), rtol=0, atol=1e-6)
        solarised = alone(monkeypatch, 8, 0.0)
        torch.testing.assert_close(solarised, torch.minimum(IMAGES, 1 - IMAGES), rtol=0, atol=1e-6)


class TestShades:
    def test_of_bytes(self):
        pixels = torch.full((2, 3, 4, 4), 7, dtype=torch.uint8)
        dark, bright = Dataset("x", "train", pixels, None, 0).shades
        assert (dark.tolist(), bright.tolist()) == ([-1] * 3, [1] * 3)
        dark, bright = Dataset("x", "train", pixels, None, 0, scale=UNIT).shades
        assert (dark.tolist(), bright.tolist()) == ([0] * 3, [1] * 3)

    def test_of_numbers(self):
        data = Dataset("x", "train", IMAGES * torch.tensor([1.0, 2.0, 3.0]).view(-1, 1, 1), None, 0)
        dark, bright = data.shades
        assert torch.equal(dark, data.images.amin(dim=(0, 2, 3)))
        assert torch.equal(bright, data.images.amax(dim=(0, 2, 3)))

    def test_of_grey_images_in_colour(self):
        data = Dataset("x", "train", torch.zeros(2, 1, 4, 4, dtype=torch.uint8), None, 0, resizable=True).at((3, 4, 4))
        assert [each.shape for each in data.shades] == [(3,), (3,)]
