"""A data set: images in a fixed order, with labels where there are any, and a fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mixanalysis.errors import DataError

Split = Literal["train", "test"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images in a fixed order.

    Attributes:
        name: as the user named it.
        split: "train" or "test".
        images: float32, shape (N, channels, height, width), values in [-1, 1] for the embedded data.
        labels: int64, shape (N,), or None.
        classes: number of classes, 0 without labels.
        resizable: whether the images may be resized and their grey value repeated over colours.
    """

    name: str
    split: Split
    images: Tensor
    labels: Tensor | None
    classes: int
    resizable: bool = False

    def __len__(self) -> int:
        return len(self.images)

    def first(self, limit: int | None) -> Dataset:
        """The first `limit` images, or all of them for None.

        Raises:
            DataError: the limit is below one.
        """
        if limit is None or limit >= len(self):
            return self
        if limit < 1:
            raise DataError(f"{self.name}: --limit must be at least 1, got {limit}")
        labels = None if self.labels is None else self.labels[:limit]
        return Dataset(self.name, self.split, self.images[:limit], labels, self.classes, self.resizable)

    def at(self, shape: tuple[int, int, int]) -> Dataset:
        """The same images as a network of input shape (channels, height, width) takes them.

        Raises:
            DataError: the images have another shape and aren't resizable.
        """
        own = (self.images.shape[1], self.images.shape[2], self.images.shape[3])
        if own == shape:
            return self
        if not self.resizable or (own[0] != shape[0] and own[0] != 1):
            raise DataError(
                f"{self.name}: its images have shape {_shape(own)}, the network takes {_shape(shape)}; "
                "give data of that shape (--data FILE.npz)"
            )
        images = self.images
        if own[1:] != shape[1:]:
            images = F.interpolate(images, size=shape[1:], mode="bilinear", align_corners=False, antialias=True)
        images = images.expand(-1, shape[0], -1, -1).contiguous()
        return Dataset(self.name, self.split, images, self.labels, self.classes, self.resizable)

    def batches(self, size: int) -> Iterator[Tensor]:
        """Images in order, `size` at a time; the last batch may be shorter.

        Raises:
            DataError: the size is below one.
        """
        if size < 1:
            raise DataError(f"--batch-size must be at least 1, got {size}")
        yield from self.images.split(size)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over shape, pixel values and labels, in order."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        digest.update(self.images.contiguous().numpy().tobytes())
        if self.labels is not None:
            digest.update(self.labels.numpy().tobytes())
        return digest.hexdigest()


def standardised(images: Tensor) -> Tensor:
    """Map pixel values in [0, 1] to [-1, 1]."""
    return images.to(torch.float32) * 2 - 1


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
