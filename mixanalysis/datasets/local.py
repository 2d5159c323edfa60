"""Data sets from files that the user has: `KIND:DIR`, or `KIND/SCALE:DIR` for another scale of the pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from mixanalysis.datasets import cifar, folder, mnist, stl10
from mixanalysis.datasets.dataset import SYMMETRIC, UNIT, Dataset, Scale, Shape, Split
from mixanalysis.datasets.official import Raw
from mixanalysis.errors import DataError
from mixanalysis.files import Stamp, stamp
from mixanalysis.selection import did_you_mean

IMAGENET = Scale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Kind(NamedTuple):
    """How files of a kind are found and read.

    Attributes:
        paths: the files of a split.
        read: what they hold.
        standard: the usual mean and standard deviation of the pixels.
    """

    paths: Callable[[Path, Split], list[Path]]
    read: Callable[..., Raw]
    standard: Scale


_EMNIST_SCALE = Scale((0.1751,), (0.3332,))


def _idx(files: mnist.Files, standard: Scale) -> Kind:
    return Kind(files.paths, files.read, standard)


KINDS = {
    "mnist": _idx(mnist.Files(mnist.MNIST), Scale((0.1307,), (0.3081,))),
    "fashion-mnist": _idx(mnist.Files(mnist.FASHION), Scale((0.2860,), (0.3530,))),
    "kmnist": _idx(mnist.Files(mnist.KUZUSHIJI), Scale((0.1918,), (0.3483,))),
    "emnist": _idx(mnist.Files(mnist.EXTENDED), _EMNIST_SCALE),
    "cifar10": Kind(cifar.paths_10, cifar.read_10, Scale((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))),
    "cifar100": Kind(cifar.paths_100, cifar.read_100, Scale((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))),
    "stl10": Kind(stl10.paths, stl10.read, Scale((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713))),
    "folder": Kind(folder.paths, folder.read, IMAGENET),
}
"""Every kind by its name; the standard scale of grey images in a folder is the mean over ImageNet's colours."""

_VARIANTS = {f"emnist-{name}": _idx(mnist.Files(mnist.EXTENDED, name), _EMNIST_SCALE) for name in mnist.VARIANTS}

SCALES = ("symmetric", "unit", "standard")
"""Bytes to [-1, 1] (the default), to [0, 1], or less the kind's mean and over its standard deviation."""


def is_local(name: str) -> bool:
    """Return whether a name is that of files: KIND:DIR or KIND/SCALE:DIR."""
    return name.partition(":")[0].partition("/")[0] in {*KINDS, *_VARIANTS} and ":" in name


def open_local(name: str, split: Split, shape: Shape | None = None) -> Dataset:
    """The data set of that name; read again only after its files have changed.

    Args:
        name: KIND:DIR with a key of `KINDS`, or KIND/SCALE:DIR with one of `SCALES`.
        split: "train" or "test".
        shape: what images of a folder are brought to; the others keep their size.

    Returns:
        The data set.

    Raises:
        DataError: the scale is unknown, or files are missing, damaged, or of another kind.
    """
    kind_and_scale, _, directory = name.partition(":")
    kind, _, scale = kind_and_scale.partition("/")
    if (scale or "symmetric") not in SCALES:
        raise DataError(
            f"{name}: unknown scale {scale!r} of the pixels; known are {', '.join(SCALES)}{did_you_mean(scale, SCALES)}"
        )
    reader = {**KINDS, **_VARIANTS}[kind]
    files = reader.paths(Path(directory), split)
    stamps = tuple(map(stamp, files))
    raw = _read(kind, directory, split, shape if kind == "folder" else None, stamps)
    channels = raw.pixels.shape[1]
    return Dataset(
        name,
        split,
        raw.pixels,
        raw.labels,
        raw.classes,
        resizable=True,
        note=raw.note,
        scale=_scale(reader, scale or "symmetric", channels),
        files=stamps,
    )


def _scale(kind: Kind, name: str, channels: int) -> Scale:
    if name != "standard":
        return SYMMETRIC if name == "symmetric" else UNIT
    if len(kind.standard.mean) in (1, channels):
        return kind.standard
    mean, std = ((sum(values) / len(values),) for values in kind.standard)
    return Scale(mean, std)


@lru_cache(maxsize=4)
def _read(kind: str, directory: str, split: Split, shape: Shape | None, _stamps: tuple[Stamp, ...]) -> Raw:
    """Return the data set; only its bytes are kept: a split of CIFAR-10 is 150 MB."""
    more = () if shape is None else (shape,)
    return {**KINDS, **_VARIANTS}[kind].read(Path(directory), split, *more)
