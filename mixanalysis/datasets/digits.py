"""The 1797 handwritten digits of the UCI repository, 8 x 8 pixels, embedded in the package (CC BY 4.0)."""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np
import torch

from mixanalysis.datasets.dataset import Dataset, Split, standardised

TRAIN = 1437
"""Images of the training set; the remaining 360 are the test set. The stored order is shuffled."""


def digits(split: Split) -> Dataset:
    """Return the training or test images, pixel values 0 .. 16 mapped to [-1, 1]."""
    with (
        as_file(files("mixanalysis.datasets") / "digits.npz") as path,
        np.load(path, allow_pickle=False) as arrays,
    ):
        images = standardised(torch.from_numpy(arrays["images"]).float().div(16).unsqueeze(1))
        labels = torch.from_numpy(arrays["labels"]).long()
    part = slice(None, TRAIN) if split == "train" else slice(TRAIN, None)
    return Dataset("digits", split, images[part], labels[part], classes=10, resizable=True)
