"""Everything that tensors can't tell: the names by which it is assumed, and the values that each may have."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from mixanalysis.errors import UsageError
from mixanalysis.families import DECLARATIONS
from mixanalysis.families.assumption import COUNT, NUMBER, Assumption, choice, either
from mixanalysis.network import Patches
from mixanalysis.selection import did_you_mean

Image = tuple[int, int] | Literal["square"]
"""(height, width) in pixels, or a square image whose side follows from the number of patches."""

GUESSED = "3, or 1 where 3 is impossible"
"""Colours of a patch embedding whose weight is a matrix."""


def _image(given: object) -> Image:
    if given == "square":
        return "square"
    text = "x".join(map(str, given)) if isinstance(given, tuple | list) else str(given)
    match = re.fullmatch(r"([1-9][0-9]{0,8})x([1-9][0-9]{0,8})", text)
    if match is None:
        raise ValueError
    return int(match[1]), int(match[2])


_SHARED = {
    "gelu": choice("erf", "tanh", "identity"),
    "norm_eps": NUMBER,
    "image": Assumption("HEIGHTxWIDTH in pixels such as 224x160, or square", _image),
    "pooling": choice("mean", "flatten", "class-token"),
    "colours": COUNT,
}


def _with_those_of_families(known: dict[str, Assumption]) -> dict[str, Assumption]:
    for declared in DECLARATIONS.values():
        for name, assumption in declared.assumptions.items():
            known[name] = either(known[name], assumption) if name in known else assumption
    return known


ASSUMPTIONS = _with_those_of_families(_SHARED.copy())
"""Everything that can be assumed, by name; each layout takes some of it, with a default."""


def read(assume: Mapping[str, object]) -> dict[str, Any]:
    """The values of what a user assumes, from Python objects or text.

    Returns:
        Values by the names of `ASSUMPTIONS`.

    Raises:
        UsageError: a name is unknown, or a value isn't one that it may have.

    Examples:
        >>> read({"norm_eps": "1e-5", "image": "224x160"})
        {'norm_eps': 1e-05, 'image': (224, 160)}
    """
    values = {}
    for name, given in assume.items():
        if name not in ASSUMPTIONS:
            known = "; ".join(f"{name} ({assumption.values})" for name, assumption in ASSUMPTIONS.items())
            raise UsageError(f"unknown assumption {name!r}; known are {known}{did_you_mean(name, ASSUMPTIONS)}")
        try:
            values[name] = ASSUMPTIONS[name].read(given)
        except (ValueError, KeyError):
            raise UsageError(f"assumed {name} must be {ASSUMPTIONS[name].values}, got {given!r}") from None
    return values


def patches_of(count: int, size: int, channels: int, image: Image) -> Patches:
    """The patches of images of which only their number is known.

    Args:
        count: patches of an image, S0.
        size: side of a patch in pixels.
        channels: colour channels.
        image: what is assumed of their height and width.

    Returns:
        Patches whose `count` is that number.

    Raises:
        ValueError: an image of that height and width has another number of patches, or the number isn't a square
            where a square image is assumed.

    Examples:
        >>> patches_of(6, 4, 3, (8, 12)).input_shape
        (3, 8, 12)
        >>> patches_of(9, 4, 3, "square").input_shape
        (3, 12, 12)
    """
    if image == "square":
        side = math.isqrt(count)
        if side**2 != count:
            msg = (
                f"{count} patches are not a square number, so that the image's height and width can't be told; "
                "assume them (image=HEIGHTxWIDTH)"
            )
            raise ValueError(msg)
        image = (side * size, side * size)
    patches = Patches(*image, channels, size)
    if patches.count != count:
        msg = (
            f"an image of {image[0]} x {image[1]} has {patches.count} patches of {size} pixels, but the network mixes "
            f"{count}"
        )
        raise ValueError(msg)
    return patches
