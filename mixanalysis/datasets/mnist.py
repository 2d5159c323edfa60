"""MNIST and the data sets that share its file format (IDX): Fashion-MNIST, KMNIST and EMNIST."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mixanalysis.datasets.dataset import Split
from mixanalysis.datasets.official import Raw, Source, compared, content, find
from mixanalysis.errors import DataError

MNIST = Source(
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
FASHION = Source(
    "Fashion-MNIST",
    "github.com/zalandoresearch/fashion-mnist",
    "the four files *-ubyte.gz (on Debian: the package dataset-fashion-mnist)",
    ("FashionMNIST/raw", "raw", "fashion-mnist", "data/fashion"),
    {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
)
KUZUSHIJI = Source(
    "KMNIST",
    "codh.rois.ac.jp/kmnist",
    "the four files *-ubyte.gz",
    ("KMNIST/raw", "raw"),
    {},
    packed={
        "train-images-idx3-ubyte": "bdb82020997e1d708af4cf47b453dcf7",
        "train-labels-idx1-ubyte": "e144d726b3acfaa3e44228e80efcd344",
        "t10k-images-idx3-ubyte": "5c965bf0a639b31b8f53240b1b52f4d7",
        "t10k-labels-idx1-ubyte": "7320c461ea6c1c855c0b718fb2a4b134",
    },
)
EXTENDED = Source(
    "EMNIST",
    "nist.gov/itl/products-and-services/emnist-dataset",
    "gzip.zip",
    ("EMNIST/raw", "raw", "gzip"),
    {},
)
VARIANTS = ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")
"""Ways in which EMNIST's characters are divided into classes, each with files of its own."""

_IDX = ("images-idx3-ubyte", "labels-idx1-ubyte")


class Files(NamedTuple):
    """A data set of IDX files.

    Attributes:
        source: where its files are described, and their sums.
        variant: of EMNIST: one of `VARIANTS`, or "" for the only one in the folder.
    """

    source: Source
    variant: str = ""

    def names(self, directory: Path, split: Split) -> tuple[str, str]:
        """Names of the images and of the labels of a split.

        A folder with several variants of EMNIST, of which none was chosen, is a DataError.

        Returns:
            Two names of files.
        """
        if self.source is not EXTENDED:
            stem = {"train": "train", "test": "t10k"}[split]
        else:
            stem = f"emnist-{self.variant or self._only_variant(directory)}-{split}"
        images, labels = (f"{stem}-{ending}" for ending in _IDX)
        return images, labels

    def _only_variant(self, directory: Path) -> str:
        places = [directory, *(directory / name for name in self.source.folders)]
        present = [name for name in VARIANTS if any(next(place.glob(f"emnist-{name}-*"), None) for place in places)]
        if len(present) > 1:
            choices = " or ".join(f"emnist-{name}:{directory}" for name in present)
            raise DataError(f"{directory}: holds several variants of EMNIST; use {choices}")
        return present[0] if present else VARIANTS[0]

    def paths(self, directory: Path, split: Split) -> list[Path]:
        """The files of a split.

        A missing file is a DataError.

        Returns:
            Paths of images and labels.
        """
        return find(self.source, directory, self.names(directory, split))

    def read(self, directory: Path, split: Split) -> Raw:
        """Grey images and their labels.

        A file that is missing, damaged or of another kind is a DataError, and so are files that don't belong together.

        EMNIST's images are stored transposed, and stay so: torchvision gives them in the same way.

        Returns:
            Pixels as bytes, labels and the number of classes.
        """
        return _read(self.source, dict(zip(self.paths(directory, split), self.names(directory, split), strict=True)))


def _read(source: Source, files: dict[Path, str]) -> Raw:
    contents = {name: content(path) for path, name in files.items()}
    arrays = zip(files, contents.values(), (3, 1), strict=True)
    images, labels = (idx(path, data, axes, source.title) for path, data, axes in arrays)
    if len(images) != len(labels):
        pictures, answers = files
        raise DataError(
            f"{pictures}: holds {len(images)} images, but {answers.name} {len(labels)} labels; get both files again"
        )
    return Raw(
        torch.from_numpy(images[:, None]),
        torch.from_numpy(labels.astype(np.int64)),
        int(labels.max()) + 1,
        compared(source, contents, list(files)),
    )


def idx(path: Path, data: bytes, axes: int, title: str = "MNIST") -> NDArray[np.uint8]:
    """The array of an IDX file of bytes: magic 0x0000080N for N axes, N sizes as big-endian int32, the bytes.

    Args:
        path: for the message.
        data: what the file holds, unpacked.
        axes: how many the array shall have.
        title: name of the data set, for the message.

    Returns:
        The array.

    Raises:
        DataError: it holds another number of axes or bytes, or no entry.
    """
    header = 4 + 4 * axes
    magic = bytes((0, 0, 8, axes))
    if data[:4] != magic:
        raise DataError(
            f"{path}: starts with 0x{data[:4].hex()}, not the 0x{magic.hex()} of an IDX file of bytes with {axes} "
            f"{'axis' if axes == 1 else 'axes'}; get {title}'s file of that name"
        )
    shape = tuple(np.frombuffer(data[4:header], ">i4").tolist()) if len(data) >= header else ()
    expected = header + math.prod(shape)
    if len(shape) != axes or min(shape) < 1 or len(data) != expected:
        wanted = f"{expected} for its sizes {' x '.join(map(str, shape))}" if shape else f"at least {header}"
        raise DataError(f"{path}: holds {len(data)} bytes, expected {wanted}; get the file again")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()
