"""STL-10 in its binary form; the unlabelled images aren't needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mixanalysis.datasets.dataset import Split
from mixanalysis.datasets.official import Raw, Source, compared, content, find
from mixanalysis.errors import DataError

SIDE, CLASSES = 96, 10

SOURCE = Source(
    "STL-10",
    "cs.stanford.edu/~acoates/stl10",
    "stl10_binary.tar.gz",
    ("stl10_binary",),
    {
        "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
        "train_y.bin": "5a34089d4802c674881badbb80307741",
        "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
        "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
    },
)


def paths(directory: Path, split: Split) -> list[Path]:
    """The files of a split.

    A missing file is a DataError.

    Returns:
        Paths of images and labels.
    """
    return find(SOURCE, directory, (f"{split}_X.bin", f"{split}_y.bin"))


def read(directory: Path, split: Split) -> Raw:
    """Colour images of 96 x 96 pixels, stored column by column, and their labels, stored from 1.

    Returns:
        Pixels as bytes, labels and the number of classes.

    Raises:
        DataError: a file is missing or damaged, or they don't belong together.
    """
    pictures, answers = paths(directory, split)
    images, labels = content(pictures), content(answers)
    again = f"get {SOURCE.archive}, described at {SOURCE.home}"
    size = 3 * SIDE * SIDE
    if not images or len(images) % size:
        raise DataError(
            f"{pictures}: holds {len(images)} bytes, not a multiple of the {size} of an image; it is truncated or "
            f"another file: {again}"
        )
    if len(images) // size != len(labels):
        raise DataError(
            f"{pictures}: holds {len(images) // size} images, but {answers.name} {len(labels)} labels; {again}"
        )
    classes = np.frombuffer(labels, np.uint8).astype(np.int64) - 1
    bad = np.flatnonzero((classes < 0) | (classes >= CLASSES))
    if len(bad):
        raise DataError(f"{answers}: image {bad[0]} has the label {classes[bad[0]] + 1}, not 1 .. {CLASSES}; {again}")
    columns = np.frombuffer(images, np.uint8).reshape(-1, 3, SIDE, SIDE)
    pixels = torch.from_numpy(np.ascontiguousarray(columns.swapaxes(2, 3)))
    note = compared(SOURCE, {f"{split}_X.bin": images, f"{split}_y.bin": labels})
    return Raw(pixels, torch.from_numpy(classes), CLASSES, note)
