"""Parts of every family's configuration: the patches of its images, and strict JSON in and out."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Gelu = Literal["erf", "tanh", "identity"]
"""Exact GELU x Phi(x) ("erf", PyTorch and timm), its tanh approximation (Flax), or none at all (linear Mixers)."""

Permutation = Literal["none", "random"]
"""Normal mixing layers, or each between two independent frozen uniform permutations (RP, HK Def. 5.1)."""

C = TypeVar("C")


@dataclass(frozen=True)
class Patches:
    """How an image becomes tokens: non-overlapping square patches in raster order.

    Attributes:
        height: image height in pixels.
        width: image width in pixels.
        channels: colour channels of the image.
        size: side of a patch in pixels; it divides height and width.
    """

    height: int
    width: int
    channels: int
    size: int

    def __post_init__(self) -> None:
        """Check the sizes."""
        positive(self, "height", "width", "channels", "size")
        if self.height % self.size or self.width % self.size:
            msg = f"patches of {self.size} pixels don't divide an image of {self.height} x {self.width}"
            raise ValueError(msg)

    @property
    def count(self) -> int:
        """Number of patches of an image, S0."""
        return (self.height // self.size) * (self.width // self.size)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.channels, self.height, self.width


def positive(config: object, *names: str) -> None:
    """Raise ValueError for the first of the named fields that is below one."""
    for name in names:
        if getattr(config, name) < 1:
            msg = f"{name} must be at least 1, got {getattr(config, name)}"
            raise ValueError(msg)


def hidden_size(expansion: float, size: int) -> int:
    """Hidden size of an expansion gamma = hidden / size, rounded to an integer.

    Returns:
        At least one unit.

    Raises:
        ValueError: the expansion is not positive, or gives no hidden unit.

    Examples:
        >>> hidden_size(0.5, 49)
        24
    """
    hidden = round(expansion * size)
    if hidden < 1:
        msg = f"an expansion of {expansion} of {size} features leaves no hidden unit; use a larger expansion"
        raise ValueError(msg)
    return hidden


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as JSON-ready data."""
    return dataclasses.asdict(config)


def from_dict(cls: type[C], data: object, where: str = "config") -> C:
    """The configuration that `to_dict` made.

    Args:
        cls: a frozen dataclass of numbers, strings, booleans, tuples of one kind of these and nested dataclasses.
        data: what JSON gave.
        where: name of the value, for the message.

    Returns:
        An instance of that class, checked as its constructor does.

    Raises:
        ValueError: a key is unknown or missing, or a value has the wrong type or is out of range.
    """
    if not isinstance(data, Mapping):
        msg = f"{where} must be a table of names and values, got {type(data).__name__}"
        raise ValueError(msg)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(fields))
    missing = sorted(
        name for name, field in fields.items() if name not in data and field.default is dataclasses.MISSING
    )
    if unknown or missing:
        parts = [f"unknown {', '.join(unknown)}"] * bool(unknown) + [f"missing {', '.join(missing)}"] * bool(missing)
        msg = f"{where} of {cls.__name__}: {'; '.join(parts)}"
        raise ValueError(msg)
    hints = typing.get_type_hints(cls)
    return cls(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in data.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast("type[Any]", hint), value, where)
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            msg = f"{where} must be one of {', '.join(map(repr, typing.get_args(hint)))}, got {value!r}"
            raise ValueError(msg)
        return value
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            msg = f"{where} must be a list, got {value!r}"
            raise ValueError(msg)
        return tuple(_value(typing.get_args(hint)[0], each, f"{where}[{index}]") for index, each in enumerate(value))
    accepted = hint.__args__ if isinstance(hint, types.UnionType) else (hint,)
    if float in accepted and type(value) is int:
        return float(value)
    if type(value) not in accepted:
        msg = f"{where} must be {' or '.join(kind.__name__ for kind in accepted)}, got {value!r}"
        raise ValueError(msg)
    return value
