"""Evaluation data in a deterministic order, with a fingerprint."""

from __future__ import annotations

from pathlib import Path

import torch

from mixanalysis.datasets.dataset import Dataset, Split
from mixanalysis.datasets.digits import digits
from mixanalysis.datasets.local import KINDS, is_local, open_local
from mixanalysis.datasets.npz import read_npz
from mixanalysis.errors import DataError
from mixanalysis.selection import did_you_mean

EMBEDDED = ("digits", "noise")
"""Data sets that need no files."""

NOISE_IMAGES = 512
"""Images of the noise data set, unless `--limit` says less."""


def open_dataset(
    name: str, split: Split = "test", *, shape: tuple[int, int, int] | None = None, seed: int = 0
) -> Dataset:
    """Open a data set by name.

    Args:
        name: "digits" (embedded), "noise" (independent standard Gaussian pixels), files that the user has
            (mnist:DIR, cifar10:DIR, cifar100:DIR, stl10:DIR, folder:DIR; see `local`), or the path of a .npz file.
        split: "train" or "test".
        shape: (channels, height, width) of the noise images, and what images of a folder are scaled to and cropped;
            others keep their own.
        seed: of the noise.

    Raises:
        DataError: there is no such data set, or a file is missing or can't be read.
    """
    if name == "digits":
        return digits(split)
    if name == "noise":
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(NOISE_IMAGES, *(shape or (1, 16, 16)), generator=generator)
        return Dataset("noise", split, images, None, classes=0)
    if is_local(name):
        return open_local(name, split, shape)
    if name.endswith(".npz"):
        return read_npz(Path(name), split)
    files = ", ".join(f"{kind}:DIR" for kind in KINDS)
    hint = did_you_mean(name.partition(":")[0].partition("/")[0], [*EMBEDDED, *KINDS])
    raise DataError(f"unknown data set {name!r}; use digits, noise, {files}, or the path of a .npz file{hint}")


__all__ = ["Dataset", "Split", "open_dataset"]
