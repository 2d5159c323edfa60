"""Shapes that layouts read alike: patch embeddings, numbers of blocks, names that differ."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.families.assume import GUESSED


def vector_size(checkpoint: Checkpoint, name: str) -> int:
    """Length of a vector.

    Returns:
        Entries, at least one.

    Raises:
        ValueError: there is none of that name, it has other than one axis, or no entries.
    """
    return _shape(checkpoint, name, 1, "a vector")[0]


def matrix_shape(checkpoint: Checkpoint, name: str) -> tuple[int, int]:
    """Shape of a matrix.

    Returns:
        Rows and columns, both at least one.

    Raises:
        ValueError: there is none of that name, it has other than two axes, or no entries.
    """
    rows, columns = _shape(checkpoint, name, 2, "a matrix")
    return rows, columns


def pointwise_shape(checkpoint: Checkpoint, name: str) -> tuple[int, int]:
    """Outputs and inputs, those of one group, of a convolution of kernel 1 x 1.

    Returns:
        Both at least one.

    Raises:
        ValueError: there is none of that name.
    """
    outputs, inputs, *kernel = _shape(checkpoint, name, 4, "a 1 x 1 convolution")
    if kernel != [1, 1]:
        msg = f"{name} of shape {checkpoint.shape(name)} is not a 1 x 1 convolution"
        raise ValueError(msg)
    return outputs, inputs


def _shape(checkpoint: Checkpoint, name: str, axes: int, what: str) -> tuple[int, ...]:
    if name not in checkpoint:
        msg = f"{name} is missing"
        raise ValueError(msg)
    shape = checkpoint.shape(name)
    if len(shape) != axes or 0 in shape:
        msg = f"{name} of shape {shape} is not {what}"
        raise ValueError(msg)
    return shape


def stem_shape(checkpoint: Checkpoint, name: str) -> tuple[int, int, int]:
    """Channels, colours and patch side of a convolution over square patches.

    Returns:
        The three numbers in that order.

    Raises:
        ValueError: it isn't one.
    """
    channels, colours, height, width = _shape(checkpoint, name, 4, "a square patch embedding")
    if height != width:
        msg = f"{name} of shape {checkpoint.shape(name)} is not a square patch embedding"
        raise ValueError(msg)
    return channels, colours, height


def square_root(number: int) -> int | None:
    """The whole square root of a number, or None where it has none."""
    root = math.isqrt(number)
    return root if root**2 == number else None


def colours_of(features: int, asked: int | str) -> int:
    """Colours of a square patch, or image, of so many features.

    Args:
        features: pixels times colours.
        asked: the number that is assumed, or `GUESSED`; of three and one never both are possible.

    Returns:
        Three where that is possible, else one; or the number that is assumed.

    Raises:
        ValueError: no such patch has so many features.

    Examples:
        >>> colours_of(192, GUESSED), colours_of(64, GUESSED), colours_of(50, 2)
        (3, 1, 2)
    """
    for colours in (3, 1) if asked == GUESSED else (int(asked),):
        if features % colours == 0 and square_root(features // colours):
            return colours
    number = "3 or 1" if asked == GUESSED else asked
    msg = f"{features} features are no square of pixels of {number} colours; assume another number (colours=N)"
    raise ValueError(msg)


def depth(checkpoint: Checkpoint, before: str, after: str = "", first: int = 0) -> int:
    """Number of blocks, counted by their numbers in names.

    Args:
        checkpoint: the tensors.
        before: what stands before the number.
        after: what follows it and a dot.
        first: number of the first block.

    Returns:
        Blocks from the first to the last number.

    Raises:
        ValueError: there is none, or one is missing before the last.
    """
    pattern = re.compile(re.escape(before) + r"([0-9]{1,9})\." + re.escape(after))
    numbers = {int(match[1]) for name in checkpoint.names if (match := pattern.match(name))}
    missing = sorted(set(range(first, first + len(numbers))) - numbers)
    if missing or not numbers:
        upto = f" up to number {max(numbers)}" if numbers else ""
        msg = f"it has {len(numbers)} blocks{upto}, but no block {missing[0] if missing else first}"
        raise ValueError(msg)
    return len(numbers)


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
