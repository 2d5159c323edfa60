"""Evaluation data in a deterministic order, with a fingerprint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from mixanalysis.datasets.arrays import read_npy, read_npz
from mixanalysis.datasets.dataset import Dataset, Split
from mixanalysis.datasets.digits import digits
from mixanalysis.datasets.local import KINDS, is_local, open_local
from mixanalysis.errors import DataError
from mixanalysis.selection import did_you_mean

EMBEDDED = ("digits", "noise")
"""Data sets that need no files."""

RESIZED = "resized to each network's input size"
RECOLOURED = "converted between grey and RGB as each network takes them"

NOISE_IMAGES = 512
"""Images of the noise data set, unless `--limit` says less."""


def open_dataset(
    name: str,
    split: Split = "test",
    *,
    shape: tuple[int, int, int] | None = None,
    seed: int = 0,
    resize: bool = False,
    colour: bool = False,
) -> Dataset:
    """Open a data set by name.

    A name without a data set, and a file that is missing or can't be read, are a DataError.

    Args:
        name: "digits" (embedded), "noise" (independent standard Gaussian pixels), files that the user has
            (mnist:DIR, fashion-mnist:DIR, kmnist:DIR, emnist:DIR, cifar10:DIR, cifar100:DIR, stl10:DIR, folder:DIR;
            see `local`), or the path of a .npz or .npy file.
        split: "train" or "test".
        shape: (channels, height, width) of the noise images, and what images of a folder are scaled to and cropped;
            others keep their own.
        seed: random seed of the noise.
        resize: resize images to each network's input size (bilinear, antialiased), also where data aren't usually.
        colour: convert between grey and RGB where a network takes the other: luma of ITU-R BT.601, or grey repeated.

    Returns:
        The data set.
    """
    dataset = _opened(name, split, shape, seed)
    asked = [words for words, wanted in ((RESIZED, resize), (RECOLOURED, colour)) if wanted]
    if not asked:
        return dataset
    note = "; ".join(part for part in (dataset.note, *asked) if part)
    return replace(dataset, resizable=dataset.resizable or resize, recolourable=colour, note=note)


def _opened(name: str, split: Split, shape: tuple[int, int, int] | None, seed: int) -> Dataset:
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
    if name.endswith(".npy"):
        return read_npy(Path(name), split)
    if Path(name).is_dir():
        kinds = ", ".join(f"{kind}:{name}" for kind in KINDS)
        raise DataError(f"{name}: is a folder; say what it holds: {kinds}")
    files = ", ".join(f"{kind}:DIR" for kind in KINDS)
    hint = did_you_mean(name.partition(":")[0].partition("/")[0], [*EMBEDDED, *KINDS])
    raise DataError(f"unknown data set {name!r}; use digits, noise, {files}, or the path of a .npz or .npy file{hint}")


__all__ = ["Dataset", "Split", "open_dataset"]
