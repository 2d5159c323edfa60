"""Training images changed at random, whole batches at once; every number is drawn from the generator that is given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Augment = Literal["none", "crop-flip", "auto"]
"""Images as they are, `crop_flip`, or `crop_flip` and then `auto`."""

PADDING = 4
"""Pixels of darkness around an image before it is cropped to its size."""

CHANCE = 0.5
"""Probability of a flip, and of each of the two operations of `auto`."""


def augmented(images: Tensor, policy: Augment, dark: Tensor, bright: Tensor, generator: torch.Generator) -> Tensor:
    """A batch by the named policy.

    Args:
        images: float32, shape (B, channels, H, W).
        policy: which changes.
        dark: the value of black, for each channel.
        bright: the value of white, for each channel.
        generator: on the CPU; the same numbers are drawn whatever the images hold and wherever they are.

    Returns:
        Images of the same shape.
    """
    if policy == "none":
        return images
    low, span = (each.view(-1, 1, 1).to(images.device) for each in (dark, bright - dark))
    # black is zero from here on, and white is one
    shades = crop_flip((images - low) / span, generator)
    if policy == "auto":
        shades = auto(shades, generator)
    return shades * span + low


def crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Zeros of `PADDING` pixels around each image, a random crop of its own size, and a mirror image half of the time.

    Args:
        images: shape (B, channels, H, W).
        generator: on the CPU.

    Returns:
        Shape (B, channels, H, W).
    """
    count, _, height, width = images.shape
    offsets = torch.randint(0, 2 * PADDING + 1, (2, count, 1), generator=generator)
    flips = torch.rand(count, 1, generator=generator) < CHANCE
    rows = offsets[0] + torch.arange(height)
    columns = offsets[1] + torch.arange(width)
    columns = torch.where(flips, columns.flip(1), columns)
    padded = F.pad(images, (PADDING,) * 4)
    rows, columns = rows.to(images.device), columns.to(images.device)
    chosen = padded[torch.arange(count, device=images.device)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return chosen.permute(0, 3, 1, 2).contiguous()


def auto(images: Tensor, generator: torch.Generator) -> Tensor:
    """A policy in the manner of AutoAugment, of our own: two operations in a row, each drawn evenly from eleven.

    Each operation is done with probability one half, with an even strength between these bounds: rotation by up to 30
    degrees, shears by up to 0.3, shifts by up to a quarter of the side (all with zeros from outside, bilinear);
    brightness, contrast and saturation times 0.4 to 1.6; solarisation (shades above a threshold of 0.5 to 1 are
    inverted), posterisation to 2 to 6 bits, inversion.

    Args:
        images: shades in [0, 1], shape (B, channels, H, W).
        generator: on the CPU.

    Returns:
        Images of the same shape.
    """
    operations = (*_MOVES, *_SHADES)
    for _ in range(2):
        kind = torch.randint(0, len(operations), (len(images),), generator=generator)
        strength = torch.rand(len(images), generator=generator)
        done = torch.rand(len(images), generator=generator) < CHANCE
        moved = done & (kind < len(_MOVES))
        if moved.any():
            images = images.clone()
            where = moved.nonzero().squeeze(1)
            images[where] = _moved(images[where], kind[where], strength[where])
        for number, shade in enumerate(_SHADES, start=len(_MOVES)):
            where = (done & (kind == number)).nonzero().squeeze(1)
            if len(where):
                images = images.clone()
                chosen = images[where]
                images[where] = shade(chosen, strength[where].to(chosen.device).view(-1, 1, 1, 1)).clamp(0, 1)
    return images


_MOVES = ("rotate", "shear x", "shear y", "shift x", "shift y")
"""In the order of their numbers in `_moved`."""


def _moved(images: Tensor, kind: Tensor, strength: Tensor) -> Tensor:
    """Images sampled along an affine map each, zeros from outside."""
    signed = 2 * strength - 1
    angle = torch.where(kind == 0, signed * math.pi / 6, torch.zeros(()))
    one, zero = torch.ones(()), torch.zeros(())
    shear = [torch.where(kind == number, 0.3 * signed, zero) for number in (1, 2)]
    # grid coordinates run from -1 to 1: half a unit is a quarter of the side
    shift = [torch.where(kind == number, 0.5 * signed, zero) for number in (3, 4)]
    aspect = images.shape[2] / images.shape[3]
    rows = (
        (torch.where(kind == 0, angle.cos(), one), shear[0] - aspect * angle.sin(), shift[0]),
        (shear[1] + angle.sin() / aspect, torch.where(kind == 0, angle.cos(), one), shift[1]),
    )
    maps = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1).to(images.device)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _brightness(images: Tensor, strength: Tensor) -> Tensor:
    return images * _factor(strength)


def _contrast(images: Tensor, strength: Tensor) -> Tensor:
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + _factor(strength) * (images - mean)


def _saturation(images: Tensor, strength: Tensor) -> Tensor:
    grey = images.mean(dim=1, keepdim=True)
    return grey + _factor(strength) * (images - grey)


def _solarise(images: Tensor, strength: Tensor) -> Tensor:
    return torch.where(images > 0.5 + strength / 2, 1 - images, images)


def _posterise(images: Tensor, strength: Tensor) -> Tensor:
    levels = 2 ** (2 + (4 * strength).round())
    return (images * levels).floor().clamp(max=levels - 1) / (levels - 1)


def _invert(images: Tensor, _strength: Tensor) -> Tensor:
    return 1 - images


def _factor(strength: Tensor) -> Tensor:
    return 0.4 + 1.2 * strength


_SHADES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    _brightness,
    _contrast,
    _saturation,
    _solarise,
    _posterise,
    _invert,
)
