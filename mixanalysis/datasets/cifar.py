"""CIFAR-10 and CIFAR-100 in their binary versions: a record is its label bytes and 3 x 32 x 32 pixels."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mixanalysis.datasets.dataset import Split
from mixanalysis.datasets.official import Raw, Source, compared, content, find
from mixanalysis.errors import DataError

PIXELS = 3 * 32 * 32
_HOME = "www.cs.toronto.edu/~kriz/cifar.html"


class Cifar(NamedTuple):
    """One of the two data sets.

    Attributes:
        source: its files.
        names: the files of each split.
        labels: number of classes of each label byte; the last one, the fine label, counts.
    """

    source: Source
    names: dict[Split, tuple[str, ...]]
    labels: tuple[int, ...]


CIFAR10 = Cifar(
    Source(
        "CIFAR-10",
        _HOME,
        "cifar-10-binary.tar.gz",
        ("cifar-10-batches-bin",),
        {
            "data_batch_1.bin": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
            "data_batch_2.bin": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
            "data_batch_3.bin": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
            "data_batch_4.bin": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
            "data_batch_5.bin": "26e2849e66a845b7f1e4614ae70f4889ae604628",
            "test_batch.bin": "67eb016db431130d61cd03c7ad570b013799c88c",
        },
        pickled="batches.meta",
    ),
    {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)},
    (10,),
)
CIFAR100 = Cifar(
    Source(
        "CIFAR-100",
        _HOME,
        "cifar-100-binary.tar.gz",
        ("cifar-100-binary",),
        {
            "train.bin": "e207cd2e05b73b1393c74c7f5e7bea451d63e08e",
            "test.bin": "8fb6623e830365ff53cf14adec797474f5478006",
        },
        pickled="meta",
    ),
    {"train": ("train.bin",), "test": ("test.bin",)},
    (20, 100),
)


def paths(kind: Cifar, directory: Path, split: Split) -> list[Path]:
    """The files of a split.

    A missing file is a DataError, and so is the version for Python alone.

    Returns:
        Paths, in the order in which they are read.
    """
    return find(kind.source, directory, kind.names[split])


def read(kind: Cifar, directory: Path, split: Split) -> Raw:
    """Colour images of 32 x 32 pixels and their labels, the fine ones of CIFAR-100.

    A file that is missing, damaged or not of the binary version is a DataError.

    Returns:
        Pixels as bytes, labels and the number of classes.
    """
    files = paths(kind, directory, split)
    contents = dict(zip(kind.names[split], map(content, files), strict=True))
    parts = [_records(kind, path, data) for path, data in zip(files, contents.values(), strict=True)]
    records = np.concatenate(parts)
    first = len(kind.labels)
    pixels = np.ascontiguousarray(records[:, first:]).reshape(-1, 3, 32, 32)
    labels = torch.from_numpy(records[:, first - 1].astype(np.int64))
    return Raw(torch.from_numpy(pixels), labels, kind.labels[-1], compared(kind.source, contents))


def _records(kind: Cifar, path: Path, data: bytes) -> NDArray[np.uint8]:
    title, bound = kind.source.title, np.array(kind.labels)
    size = len(bound) + PIXELS
    again = f"get {kind.source.archive}, described at {kind.source.home}"
    if not data or len(data) % size:
        raise DataError(
            f"{path}: holds {len(data)} bytes, not a multiple of the {size} of a record of {title}'s binary version; "
            f"it is truncated or another file: {again}"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, size)
    bad = np.flatnonzero((records[:, : len(bound)] >= bound).any(axis=1))
    if len(bad):
        found = ", ".join(map(str, records[bad[0], : len(bound)]))
        raise DataError(f"{path}: image {bad[0]} has the label {found}, out of the range of {title}: {again}")
    return records


paths_10, read_10 = partial(paths, CIFAR10), partial(read, CIFAR10)
paths_100, read_100 = partial(paths, CIFAR100), partial(read, CIFAR100)
