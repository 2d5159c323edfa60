"""Images from arrays in .npz and .npy files."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.lib.npyio import NpzFile

from mixanalysis.datasets.dataset import Dataset, Split
from mixanalysis.errors import DataError
from mixanalysis.files import regular_size, stamp

IMAGES = ("images", "x", "X", "data", "arr_0")
"""Names under which an archive's images are looked for, each with the split before, behind, or not at all."""

LABELS = ("labels", "y", "Y", "targets", "target", "arr_1")
"""Names under which its labels are looked for."""

_DAMAGE = (
    ArithmeticError,
    EOFError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy and zipfile raise at damaged files."""

COLOURS = (1, 3)
"""Lengths of an axis of channels."""


def read_npz(path: Path, split: Split) -> Dataset:
    """Images, and labels where there are any, from the arrays of an archive.

    Images are the first array of a name in `IMAGES`, labels of one in `LABELS`; a name with the split, as
    `images_test`, `test_images` or `x_test`, comes before one without, which serves as both splits. For images' axes
    and values see `read_npy`; labels are integers from 0, of shape (N,) or (N, 1).

    Returns:
        The data set, named after the file.

    Raises:
        DataError: the file can't be read, or its arrays have no such names, shapes or types.
    """
    try:
        regular_size(path)
        before = stamp(path)
        # opened here: np.load leaves the file of a damaged archive open
        with path.open("rb") as file, _archive(file) as arrays:
            names = list(arrays.files)
            key, answers = _key(names, IMAGES, split), _key(names, LABELS, split)
            if key is None:
                raise DataError(
                    f"{path}: holds {', '.join(names) or 'no array'}, but no images: none of "
                    f"images_{split}, {', '.join(IMAGES)}"
                )
            images = np.asarray(arrays[key])
            labels = np.asarray(arrays[answers]) if answers is not None else None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give the path of a .npz file with images") from None
    except _DAMAGE as error:
        raise DataError(f"{path}: not a .npz file of plain arrays: {error}") from None
    pixels, note = _images(path, images)
    return Dataset(str(path), split, pixels, *_labels(path, labels, len(images)), note=note, files=(before,))


def read_npy(path: Path, split: Split) -> Dataset:
    """Images without labels from one array, the same for both splits.

    Axes are (N, channels, height, width), (N, height, width, channels) or (N, height, width); the axis of channels is
    the one of 1 or 3 entries, the second where both could be. Bytes are mapped from [0, 255] to [-1, 1],
    floating-point values are taken as they are.

    Returns:
        The data set, named after the file.

    Raises:
        DataError: the file can't be read, or its array has no such shape or type.
    """
    try:
        regular_size(path)
        before = stamp(path)
        with path.open("rb") as file:
            images = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give the path of a .npy file with images") from None
    except _DAMAGE as error:
        raise DataError(f"{path}: not a .npy file of a plain array: {error}") from None
    if isinstance(images, NpzFile):
        raise DataError(f"{path}: holds several arrays; rename it to .npz")
    pixels, note = _images(path, images)
    return Dataset(str(path), split, pixels, None, 0, note=note, files=(before,))


def _key(names: list[str], sought: tuple[str, ...], split: Split) -> str | None:
    """Return the first of the names sought, that of the split before the one for both."""
    candidates = [form for name in sought for form in (f"{name}_{split}", f"{split}_{name}")] + list(sought)
    return next((name for name in candidates if name in names), None)


def _archive(file: BinaryIO) -> NpzFile:
    arrays = np.load(file, allow_pickle=False)
    if not isinstance(arrays, NpzFile):
        msg = "it is a single array without a name"
        raise ValueError(msg)
    return arrays


def _images(path: Path, images: np.ndarray) -> tuple[torch.Tensor, str]:
    """Return pixels of shape (N, channels, height, width), and a note where axes were moved.

    Raises:
        DataError: the array has no such shape or type.
    """
    note = ""
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[1] not in COLOURS and images.shape[3] in COLOURS:
        images, note = np.ascontiguousarray(images.transpose(0, 3, 1, 2)), "channels were the last axis"
    if images.ndim != 4 or 0 in images.shape:
        raise DataError(
            f"{path}: images must have shape (N, channels, height, width), (N, height, width, channels) or "
            f"(N, height, width), got {images.shape}"
        )
    if images.dtype == np.uint8:
        return torch.from_numpy(images), note
    if not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"{path}: images must be bytes or floating-point numbers, got {images.dtype}")
    with np.errstate(over="ignore"):
        images = images.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
    if len(bad):
        raise DataError(f"{path}: image {bad[0]} holds NaN or infinite values in float32 ({len(bad)} images do)")
    return torch.from_numpy(images), note


def _labels(path: Path, labels: np.ndarray | None, count: int) -> tuple[torch.Tensor | None, int]:
    if labels is None:
        return None, 0
    if labels.shape == (count, 1):
        labels = labels[:, 0]
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise DataError(f"{path}: labels must be {count} integers from 0, got {labels.dtype} of shape {labels.shape}")
    return torch.from_numpy(labels.astype(np.int64)), int(labels.max()) + 1
