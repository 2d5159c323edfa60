"""Batches of the data, before a network's own image size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from mixanalysis.datasets import Dataset
from mixanalysis.features import Batch, examples, pooled, tensors

Shape = tuple[int, int, int]
"""(channels, height, width) of one image."""


@dataclass(frozen=True, eq=False)
class RawBatch:
    """A batch of the data, before a network's own image size.

    Attributes:
        index: its number, from 0.
        first: number of its first example.
        examples: how many it has.
        content: images of a data set, or a batch as it was given.
    """

    index: int
    first: int
    examples: int
    content: Dataset | Batch

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over dtypes, shapes and values of what is called with, 32 bytes."""
        content = self.content.images if isinstance(self.content, Dataset) else self.content
        digest = hashlib.sha256()
        for tensor in tensors(content[0] if isinstance(content, list | tuple) else content):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        return digest.digest()

    def at(self, shape: Shape | None) -> Batch:
        """Return the batch as a network of that input shape takes it; None gives it as it is."""
        if not isinstance(self.content, Dataset):
            return self.content
        return self.content.images if shape is None else self.content.at(shape).images


def raw_batches(data: Dataset | Sequence[Batch], batch_size: int) -> Iterator[RawBatch]:
    """Batches in order: of `batch_size` images of a data set, or those that a sequence or a loader gives.

    Yields:
        Each batch, as it is before a network's own image size.
    """
    first = 0
    for index, content in enumerate(_parts(data, batch_size) if isinstance(data, Dataset) else data):
        count = len(content) if isinstance(content, Dataset) else examples(content)
        yield RawBatch(index, first, count, content)
        first += count


def _parts(data: Dataset, size: int) -> Iterator[Dataset]:
    for first in range(0, len(data), size):
        yield replace(data, pixels=data.pixels[first : first + size], labels=None)


def inputs(raw: RawBatch) -> Tensor:
    """Return the inputs themselves, as features of shape (n, d)."""
    batch = raw.at(None)
    inner = batch[0] if isinstance(batch, Sequence) else batch
    tensors = [inner] if isinstance(inner, Tensor) else [v for v in inner.values() if isinstance(v, Tensor)]
    return pooled(tensors[0], "flatten")


def batches_of(data: Dataset | Sequence[Batch], batch_size: int) -> int:
    """Return how many batches there will be; 0 where the data don't tell."""
    if isinstance(data, Dataset):
        return -(-len(data) // batch_size)
    try:
        return len(data)
    except TypeError:
        return 0
