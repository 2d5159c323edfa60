"""What tensors can't tell: the names by which it is assumed, and the values that each may have."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from mixanalysis.errors import UsageError
from mixanalysis.network import Patches
from mixanalysis.selection import did_you_mean

Image = tuple[int, int] | Literal["square"]
"""(height, width) in pixels, or a square image whose side follows from the number of patches."""

GUESSED = "3, or 1 where 3 is impossible"
"""Colours of a patch embedding whose weight is a matrix."""


class Assumption(NamedTuple):
    """One thing that tensors can't tell.

    Attributes:
        values: what it may be, in words.
        read: makes the value from what was given, text or not; raises ValueError for any other.
    """

    values: str
    read: Callable[[object], Any]


def _choice(*words: str) -> Assumption:
    def read(given: object) -> str:
        if given not in words:
            raise ValueError
        return str(given)

    return Assumption(" or ".join(words), read)


def _number(given: object) -> float:
    value = float(str(given))
    if not 0 < value < math.inf:
        raise ValueError
    return value


def _count(given: object) -> int:
    value = int(str(given))
    if value < 1:
        raise ValueError
    return value


def _truth(given: object) -> bool:
    if isinstance(given, bool):
        return given
    return {"yes": True, "no": False}[str(given)]


def _image(given: object) -> Image:
    if given == "square":
        return "square"
    text = "x".join(map(str, given)) if isinstance(given, tuple | list) else str(given)
    match = re.fullmatch(r"([1-9][0-9]{0,8})x([1-9][0-9]{0,8})", text)
    if match is None:
        raise ValueError
    return int(match[1]), int(match[2])


ASSUMPTIONS: dict[str, Assumption] = {
    "gelu": _choice("erf", "tanh", "identity"),
    "norm_eps": Assumption("a positive number such as 1e-5", _number),
    "image": Assumption("HEIGHTxWIDTH in pixels such as 224x160, or square", _image),
    "pooling": _choice("mean", "flatten", "class-token"),
    "colours": Assumption("a positive integer", _count),
    "shuffle": Assumption("yes or no", _truth),
    "mlp": _choice("plain", "asymmetric"),
    "iterations": Assumption("a positive integer", _count),
    "segments": Assumption("a positive integer", _count),
    "activation": _choice("relu", "identity"),
    "parametrisation": _choice("standard", "ntk"),
}
"""Everything that can be assumed, by name; each layout takes some of it, with a default."""


def read(assume: Mapping[str, object]) -> dict[str, Any]:
    """The values of what a user assumes, from Python objects or text.

    Raises:
        UsageError: a name is unknown, or a value isn't one that it may have.
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

    Raises:
        ValueError: an image of that height and width has another number of patches, or the number isn't a square
            where a square image is assumed.
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
