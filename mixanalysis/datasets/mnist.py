"""MNIST, and whatever else is stored in files of its format (IDX) and names."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mixanalysis.datasets.dataset import Split
from mixanalysis.datasets.official import Raw, Source, compared, content, find
from mixanalysis.errors import DataError

SOURCE = Source(
    "MNIST",
    "yann.lecun.com/exdb/mnist",
    "the four files *-ubyte or *-ubyte.gz",
    ("MNIST/raw", "raw"),
    {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
)
_NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def paths(directory: Path, split: Split) -> list[Path]:
    """The files of a split.

    Raises:
        DataError: one is missing.
    """
    return find(SOURCE, directory, _NAMES[split])


def read(directory: Path, split: Split) -> Raw:
    """Grey images and their labels.

    Raises:
        DataError: a file is missing, damaged or of another kind, or they don't belong together.
    """
    files = dict(zip(paths(directory, split), _NAMES[split], strict=True))
    contents = {name: content(path) for path, name in files.items()}
    images, labels = (idx(path, data, axes) for path, data, axes in zip(files, contents.values(), (3, 1), strict=True))
    if len(images) != len(labels):
        pictures, answers = files
        raise DataError(
            f"{pictures}: holds {len(images)} images, but {answers.name} {len(labels)} labels; get both files again"
        )
    return Raw(
        torch.from_numpy(images[:, None]),
        torch.from_numpy(labels.astype(np.int64)),
        int(labels.max()) + 1,
        compared(SOURCE, contents),
    )


def idx(path: Path, data: bytes, axes: int) -> NDArray[np.uint8]:
    """The array of an IDX file of bytes: magic 0x0000080N for N axes, N sizes as big-endian int32, the bytes.

    Args:
        path: for the message.
        data: what the file holds, unpacked.
        axes: how many the array shall have.

    Raises:
        DataError: it holds another number of axes or bytes, or no entry.
    """
    header = 4 + 4 * axes
    magic = bytes((0, 0, 8, axes))
    if data[:4] != magic:
        raise DataError(
            f"{path}: starts with 0x{data[:4].hex()}, not the 0x{magic.hex()} of an IDX file of bytes with {axes} "
            f"{'axis' if axes == 1 else 'axes'}; get {SOURCE.title}'s file of that name"
        )
    shape = tuple(np.frombuffer(data[4:header], ">i4").tolist()) if len(data) >= header else ()
    expected = header + math.prod(shape)
    if len(shape) != axes or min(shape) < 1 or len(data) != expected:
        wanted = f"{expected} for its sizes {' x '.join(map(str, shape))}" if shape else f"at least {header}"
        raise DataError(f"{path}: holds {len(data)} bytes, expected {wanted}; get the file again")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()
