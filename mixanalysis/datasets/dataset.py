"""A data set: images in a fixed order, with labels where there are any, and a fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mixanalysis.errors import DataError
from mixanalysis.files import Stamp

Split = Literal["train", "test"]

Shape = tuple[int, int, int]
"""(channels, height, width) of one image."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey value (ITU-R BT.601)."""

_CHUNK = 1024
"""Images that are converted at once where all of them are wanted."""


class Scale(NamedTuple):
    """What bytes become: (byte/255 - mean)/std.

    Attributes:
        mean: for each channel, or one for all.
        std: for each channel, or one for all.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


SYMMETRIC = Scale((0.5,), (0.5,))
"""[0, 255] to [-1, 1], the default."""

UNIT = Scale((0.0,), (1.0,))
"""[0, 255] to [0, 1]."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images in a fixed order.

    Bytes stay bytes until they are asked for: `batches`, `take` and `images` scale them and bring them to `target`.

    Attributes:
        name: as the user named it.
        split: "train" or "test".
        pixels: shape (N, channels, height, width); float32 as a network takes them, or uint8 for `scale`.
        labels: int64, shape (N,), or None.
        classes: number of classes, 0 without labels.
        resizable: True where the images may be resized and their grey value repeated over colours.
        recolourable: True where RGB may become grey and grey RGB.
        note: what is to be said about the files, such as whether they are the official ones.
        scale: of bytes.
        target: shape that the images are resized to; None keeps their own.
        files: those that were read, as they were before.
    """

    name: str
    split: Split
    pixels: Tensor
    labels: Tensor | None
    classes: int
    resizable: bool = False
    recolourable: bool = False
    note: str = ""
    scale: Scale = SYMMETRIC
    target: Shape | None = None
    files: tuple[Stamp, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> Shape:
        """(channels, height, width) of one image."""
        return self.target or _shape(self.pixels)

    @cached_property
    def images(self) -> Tensor:
        """All images, float32, shape (N, channels, height, width); bytes are mapped to [-1, 1] by default."""
        if self.pixels.dtype != torch.uint8 and self.target is None:
            return self.pixels
        return torch.cat([self._converted(part) for part in self.pixels.split(_CHUNK)])

    def take(self, index: Tensor) -> Tensor:
        """Return the images at these places, float32, shape (len(index), channels, height, width)."""
        return self._converted(self.pixels[index])

    @cached_property
    def shades(self) -> tuple[Tensor, Tensor]:
        """The values of black and white for each channel, as a network takes them.

        Those of the bytes 0 and 255; of floating-point pixels the smallest and the largest that occur.
        """
        if self.pixels.dtype == torch.uint8:
            channels = self.pixels.shape[1]
            mean, std = (torch.tensor(values).expand(channels) for values in self.scale)
            dark, bright = -mean / std, (1 - mean) / std
        else:
            dark, bright = self.pixels.amin(dim=(0, 2, 3)), self.pixels.amax(dim=(0, 2, 3))
        return dark.expand(self.shape[0]), bright.expand(self.shape[0])

    def first(self, limit: int | None) -> Dataset:
        """The first `limit` images, or all of them for None.

        Returns:
            A data set that shares the pixels.

        Raises:
            DataError: the limit is below one.
        """
        if limit is None or limit >= len(self):
            return self
        if limit < 1:
            raise DataError(f"{self.name}: --limit must be at least 1, got {limit}")
        labels = None if self.labels is None else self.labels[:limit]
        return replace(self, pixels=self.pixels[:limit], labels=labels)

    def at(self, shape: Shape) -> Dataset:
        """The same images as a network of input shape (channels, height, width) takes them.

        Resizing is bilinear and antialiased, and happens when the images are asked for.

        Returns:
            A data set that shares the pixels.

        Raises:
            DataError: the images have another shape and aren't resizable.
        """
        own = self.shape
        if own == shape:
            return self
        if (refusal := self._refusal(own, shape)) is not None:
            raise DataError(
                f"{self.name}: its images have shape {_text(own)}, the network takes {_text(shape)}; {refusal}"
            )
        # from an image that was resized before, its pixels have to be taken as they are now
        return replace(self if self.target is None else self.settled(), target=shape)

    def _refusal(self, own: Shape, shape: Shape) -> str | None:
        """Return what to do where images of one shape don't become those of another; None where they do."""
        if own[1:] != shape[1:] and not self.resizable:
            return "give data of that shape (--data FILE.npz), or resize these (--resize)"
        if own[0] == shape[0] or (self.resizable and own[0] == 1):
            return None
        if self.recolourable and {own[0], shape[0]} == {1, 3}:
            return None
        if {own[0], shape[0]} == {1, 3}:
            return "give data of that shape (--data FILE.npz), or convert the colours (--colour)"
        return "give data of that shape (--data FILE.npz)"

    def settled(self) -> Dataset:
        """Return the images with any resizing done once and for all."""
        return self if self.target is None else replace(self, pixels=self.images, target=None)

    def batches(self, size: int) -> Iterator[Tensor]:
        """Images in order, `size` at a time; the last batch may be shorter.

        Yields:
            Float32 images, shape (at most size, channels, height, width).

        Raises:
            DataError: the size is below one.
        """
        if size < 1:
            raise DataError(f"--batch-size must be at least 1, got {size}")
        yield from map(self._converted, self.pixels.split(size))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over shape, pixel values and labels, in order, as a network takes them."""
        shape = (len(self), *(self.target or self.pixels.shape[1:]))
        digest = hashlib.sha256(repr(shape).encode())
        for part in self.batches(_CHUNK):
            digest.update(part.contiguous().numpy().tobytes())
        if self.labels is not None:
            digest.update(self.labels.numpy().tobytes())
        return digest.hexdigest()

    def _converted(self, pixels: Tensor) -> Tensor:
        if pixels.dtype == torch.uint8:
            mean, std = (torch.tensor(values, device=pixels.device).view(-1, 1, 1) for values in self.scale)
            pixels = pixels.to(torch.float32).div_(255).sub_(mean).div_(std)
        if self.target is None:
            return pixels
        channels, *size = self.target
        if list(pixels.shape[2:]) != size:
            pixels = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True)
        if channels == 1 and pixels.shape[1] == len(LUMA):
            pixels = torch.einsum("nchw,c->nhw", pixels, pixels.new_tensor(LUMA))[:, None]
        return pixels.expand(-1, channels, -1, -1).contiguous()


def standardised(images: Tensor) -> Tensor:
    """Return pixel values in [0, 1] mapped to [-1, 1]."""
    return images.to(torch.float32) * 2 - 1


def _shape(pixels: Tensor) -> Shape:
    return (pixels.shape[1], pixels.shape[2], pixels.shape[3])


def _text(shape: Shape) -> str:
    return " x ".join(map(str, shape))
