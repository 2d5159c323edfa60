"""What layouts read alike: patch embeddings, numbers of blocks, names that differ."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.layouts.dialect import GUESSED


def matrix_shape(checkpoint: Checkpoint, name: str) -> tuple[int, int]:
    """Shape of a matrix.

    Raises:
        ValueError: it has other than two axes.
    """
    shape = checkpoint.shape(name)
    if len(shape) != 2:
        msg = f"{name} of shape {shape} is not a matrix"
        raise ValueError(msg)
    return shape[0], shape[1]


def stem_shape(checkpoint: Checkpoint, name: str) -> tuple[int, int, int]:
    """Channels, colours and patch side of a convolution over square patches.

    Raises:
        ValueError: it isn't one.
    """
    shape = checkpoint.shape(name)
    if len(shape) != 4 or shape[2] != shape[3]:
        msg = f"{name} of shape {shape} is not a square patch embedding"
        raise ValueError(msg)
    return shape[0], shape[1], shape[2]


def square_root(number: int) -> int | None:
    """The whole square root of a number, or None where it has none."""
    root = math.isqrt(number)
    return root if root**2 == number else None


def colours_of(features: int, asked: int | str) -> int:
    """Colours of a square patch, or image, of so many features.

    Args:
        features: pixels times colours.
        asked: the number that is assumed, or `GUESSED`; of three and one never both are possible.

    Raises:
        ValueError: no such patch has so many features.
    """
    for colours in (3, 1) if asked == GUESSED else (int(asked),):
        if features % colours == 0 and square_root(features // colours):
            return colours
    number = "3 or 1" if asked == GUESSED else asked
    msg = f"{features} features are no square of pixels of {number} colours; assume another number (colours=N)"
    raise ValueError(msg)


def depth(checkpoint: Checkpoint, prefix: str) -> int:
    """Number of blocks, counted by the number that follows the prefix.

    Raises:
        ValueError: one is missing before the last.
    """
    pattern = re.compile(re.escape(prefix) + r"([0-9]{1,9})\.")
    blocks = {int(match[1]) for name in checkpoint.names if (match := pattern.match(name))}
    missing = sorted(set(range(len(blocks))) - blocks)
    if missing:
        msg = f"it has {len(blocks)} blocks up to number {max(blocks)}, but no block {missing[0]}"
        raise ValueError(msg)
    return len(blocks)


def classes(checkpoint: Checkpoint, head: str) -> int:
    """Rows of the classifier; 0 where there is none."""
    shape = checkpoint.shape(head) if head in checkpoint else ()
    return shape[0] if shape else 0


def renaming(names: Mapping[str, str]) -> Callable[[str], str]:
    """A function that replaces each part of a name that is a key by its value, in that order."""

    def renamed(name: str) -> str:
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        return name

    return renamed
