"""Images from a .npz file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch

from mixanalysis.datasets.dataset import Dataset, Split, standardised
from mixanalysis.errors import DataError


def read_npz(path: Path, split: Split) -> Dataset:
    """Images, and labels where there are any, from arrays of these names.

    `images_train` and `images_test` with `labels_train` and `labels_test`, or `images` and `labels` for one set
    that serves as both. Images have shape (N, channels, height, width) or (N, height, width); bytes are mapped
    from [0, 255] to [-1, 1], floating-point values are taken as they are.

    Raises:
        DataError: the file can't be read, or its arrays have no such names, shapes or types.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = list(arrays.files)
            suffix = f"_{split}" if f"images_{split}" in names else ""
            if f"images{suffix}" not in names:
                raise DataError(
                    f"{path}: holds {', '.join(names) or 'no array'}, but neither images_{split} nor images"
                )
            images = arrays[f"images{suffix}"]
            labels = arrays[f"labels{suffix}"] if f"labels{suffix}" in names else None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give the path of a .npz file with images") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(f"{path}: not a .npz file of plain arrays: {error}") from None
    return Dataset(str(path), split, _images(path, images), *_labels(path, labels, len(images)))


def _images(path: Path, images: np.ndarray) -> torch.Tensor:
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or 0 in images.shape:
        raise DataError(
            f"{path}: images must have shape (N, channels, height, width) or (N, height, width), got {images.shape}"
        )
    if images.dtype == np.uint8:
        return standardised(torch.from_numpy(images).float().div(255))
    if not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"{path}: images must be bytes or floating-point numbers, got {images.dtype}")
    bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
    if len(bad):
        raise DataError(f"{path}: image {bad[0]} holds NaN or infinite values ({len(bad)} images do)")
    return torch.from_numpy(images.astype(np.float32))


def _labels(path: Path, labels: np.ndarray | None, count: int) -> tuple[torch.Tensor | None, int]:
    if labels is None:
        return None, 0
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise DataError(f"{path}: labels must be {count} integers from 0, got {labels.dtype} of shape {labels.shape}")
    return torch.from_numpy(labels.astype(np.int64)), int(labels.max()) + 1
