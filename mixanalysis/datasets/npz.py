"""Images from a .npz file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.lib.npyio import NpzFile

from mixanalysis.datasets.dataset import Dataset, Split
from mixanalysis.errors import DataError
from mixanalysis.files import stamp


def read_npz(path: Path, split: Split) -> Dataset:
    """Images, and labels where there are any, from arrays of these names.

    `images_train` and `images_test` with `labels_train` and `labels_test`, or `images` and `labels` for one set
    that serves as both. Images have shape (N, channels, height, width) or (N, height, width); bytes are mapped
    from [0, 255] to [-1, 1], floating-point values are taken as they are.

    Raises:
        DataError: the file can't be read, or its arrays have no such names, shapes or types.
    """
    try:
        before = stamp(path)
        # opened here: np.load leaves the file of a damaged archive open
        with path.open("rb") as file, _archive(file) as arrays:
            names = list(arrays.files)
            suffix = f"_{split}" if f"images_{split}" in names else ""
            if f"images{suffix}" not in names:
                raise DataError(
                    f"{path}: holds {', '.join(names) or 'no array'}, but neither images_{split} nor images"
                )
            images = np.asarray(arrays[f"images{suffix}"])
            labels = np.asarray(arrays[f"labels{suffix}"]) if f"labels{suffix}" in names else None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give the path of a .npz file with images") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: not a .npz file of plain arrays: {error}") from None
    return Dataset(str(path), split, _images(path, images), *_labels(path, labels, len(images)), files=(before,))


def _archive(file: BinaryIO) -> NpzFile:
    arrays = np.load(file, allow_pickle=False)
    if not isinstance(arrays, NpzFile):
        msg = "it is a single array without a name"
        raise ValueError(msg)
    return arrays


def _images(path: Path, images: np.ndarray) -> torch.Tensor:
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or 0 in images.shape:
        raise DataError(
            f"{path}: images must have shape (N, channels, height, width) or (N, height, width), got {images.shape}"
        )
    if images.dtype == np.uint8:
        return torch.from_numpy(images)
    if not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"{path}: images must be bytes or floating-point numbers, got {images.dtype}")
    with np.errstate(over="ignore"):
        images = images.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
    if len(bad):
        raise DataError(f"{path}: image {bad[0]} holds NaN or infinite values in float32 ({len(bad)} images do)")
    return torch.from_numpy(images)


def _labels(path: Path, labels: np.ndarray | None, count: int) -> tuple[torch.Tensor | None, int]:
    if labels is None:
        return None, 0
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise DataError(f"{path}: labels must be {count} integers from 0, got {labels.dtype} of shape {labels.shape}")
    return torch.from_numpy(labels.astype(np.int64)), int(labels.max()) + 1
