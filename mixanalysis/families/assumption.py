"""Kinds of things that tensors can't tell, and how a value is read from text; without torch, for declarations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Assumption(NamedTuple):
    """One thing that tensors can't tell.

    Attributes:
        values: what it may be, in words.
        read: makes the value from what was given, text or not; raises ValueError or KeyError for any other.
    """

    values: str
    read: Callable[[object], Any]


def choice(*words: str) -> Assumption:
    """One of several words."""

    def read(given: object) -> str:
        if given not in words:
            raise ValueError
        return str(given)

    return Assumption(" or ".join(words), read)


def either(first: Assumption, second: Assumption) -> Assumption:
    """A value of the first, or else of the second; for a name of which several families have values."""

    def read(given: object) -> Any:
        try:
            return first.read(given)
        except (ValueError, KeyError):
            return second.read(given)

    words = dict.fromkeys((*first.values.split(" or "), *second.values.split(" or ")))
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


NUMBER = Assumption("a positive number such as 1e-5", _number)
COUNT = Assumption("a positive integer", _count)
TRUTH = Assumption("yes or no", _truth)
