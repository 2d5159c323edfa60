"""One stored tensor, known by its header until it is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

MEBIBYTE = 2**20

FLOAT8 = frozenset({torch.float8_e4m3fn, torch.float8_e5m2})
"""Dtypes of eight bits, read as float32, which holds all their values."""

READ_DTYPES = frozenset(
    {
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    }
)
"""The dtypes whose values are read; tensors of others are named, and refused when they are asked for."""


class DamagedError(ValueError):
    """A file contradicts itself; whoever knows its path says so once."""


@dataclass(frozen=True, eq=False, slots=True)
class Entry:
    """A tensor on disk.

    Attributes:
        shape: its sizes.
        dtype: its dtype, or None where it is one that isn't read.
        kind: what a dtype that isn't read is called, for messages.
        load: reads it.
        quantised: whether it is stored in eight bits, which usually needs scales; `dtype` is that of what `load` gives.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype | None
    kind: str
    load: Callable[[], Tensor]
    quantised: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class SparseEntry:
    """A sparse tensor on disk.

    Attributes:
        layout: "coo", "csr", "csc", "bsr" or "bsc".
        shape: sizes of the whole tensor.
        indices: coordinates (COO, shape (axes, nnz)), or the compressed and the plain indices of the others.
        values: shape (nnz,), or (blocks, rows, columns) for block layouts.
    """

    layout: str
    shape: tuple[int, ...]
    indices: tuple[Entry, ...]
    values: Entry


AnyEntry = Entry | SparseEntry


def unread(shape: tuple[int, ...], kind: str) -> Entry:
    """A tensor of a kind whose values aren't read."""
    return Entry(shape, None, kind, _unread)


def _unread() -> NoReturn:
    msg = "is of a kind that isn't read"
    raise DamagedError(msg)


def sizes(values: object, *, file_bytes: int, itemsize: int = 1) -> tuple[int, ...]:
    """A shape that a file states, checked.

    Args:
        values: what the file says.
        file_bytes: size of the file; no dense tensor is larger than the file that holds it (or a mebibyte).
        itemsize: bytes of an element.

    Returns:
        The shape as a tuple of integers.

    Raises:
        DamagedError: it isn't a list of sizes, or the tensor would be larger than its file.
    """
    if not isinstance(values, tuple | list) or len(values) > 64:
        msg = "a tensor's shape is no short list of numbers"
        raise DamagedError(msg)
    if not all(type(value) is int and 0 <= value < 2**48 for value in values):
        msg = f"a tensor has a size that none can have: {_short(values)}"
        raise DamagedError(msg)
    if math.prod(values) * itemsize > max(file_bytes, MEBIBYTE):
        msg = f"a tensor of shape {_short(values)} is larger than the file that holds it"
        raise DamagedError(msg)
    return tuple(values)


def _short(values: tuple[object, ...] | list[object]) -> str:
    return f"({', '.join(str(value)[:24] if type(value) is int else type(value).__name__ for value in values[:8])})"
