"""Masks that a module keeps as buffers beside its weights: ``fc.mask``, ``fc.weight_mask``, apex's mma masks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mixanalysis.checkpoints.lazy_tensors import Entry
from mixanalysis.checkpoints.weights import MaskBuffer, Stored
from mixanalysis.errors import CheckpointError

_MASK = re.compile(r"_*(mma_)?masks?(?![a-z])_*", re.IGNORECASE)
"""The part of a buffer's name that says that it is a mask; the rest, if any, names the parameter."""


class Found(NamedTuple):
    """A buffer named and shaped like the mask of a weight.

    Attributes:
        weight: name of the weight.
        mask: the mask, or None where its values are not those of one.
        note: what is to be said about it, or "".
    """

    weight: str
    mask: MaskBuffer | None
    note: str


def mask_buffers(stored: Mapping[str, Stored]) -> dict[str, Found]:
    """Find the buffers that are masks of weights beside them.

    A buffer counts by its name and shape; its values are read, as they decide whether it is one: 0 and 1 (or False and
    True), or 0 and another number, by which the kept weights are then multiplied. A mask whose ones are exactly the
    weight's zeros marks what was removed.

    Args:
        stored: the tensors of a state dict by name.

    Returns:
        The masks by name of their buffers; other tensors are left out.
    """
    found = {}
    for name, buffer in stored.items():
        owner = next((each for each in _owners(name) if each != name and _fits(stored, each, buffer)), None)
        if owner is not None:
            found[name] = _judged(buffer, stored[owner])
    return found


def _owners(name: str) -> Iterator[str]:
    """Names that the weight of a mask of that name may have."""
    parent, _, leaf = name.rpartition(".")
    if not _MASK.search(leaf):
        return
    rest = _MASK.sub("_", leaf).strip("_")
    below = f"{parent}." if parent else ""
    if rest:
        yield from (f"{below}{rest}", f"{below}{rest}.weight")
    else:
        yield parent
    yield f"{below}weight"


def _fits(stored: Mapping[str, Stored], owner: str, buffer: Stored) -> bool:
    weight = stored.get(owner)
    if weight is None or not isinstance(weight.entry, Entry) or not isinstance(buffer.entry, Entry):
        return False
    dtype = weight.entry.dtype
    return weight.shape == buffer.shape and len(weight.shape) > 0 and dtype is not None and dtype.is_floating_point


def _judged(buffer: Stored, weight: Stored) -> Found:
    try:
        values, weights = buffer.read(), weight.read()
    except CheckpointError:
        return Found(weight.name, None, f"{buffer.name} not used as a mask: it can't be read, or isn't finite")
    kept = values != 0
    scale = _only_value(values, kept)
    if scale is None:
        reason = "it is zero throughout" if not bool(kept.any()) else "it holds other values than 0 and one more"
        return Found(weight.name, None, f"{buffer.name} not used as a mask: {reason}")
    if not bool(kept.all()) and torch.equal(weights == 0, kept):
        return Found(weight.name, MaskBuffer(buffer, removed=True), f"{buffer.name} marks the removed weights")
    note = f"mask {buffer.name}" if scale == 1 else f"mask {buffer.name}, weights multiplied by its value {scale:.6g}"
    return Found(weight.name, MaskBuffer(buffer, scale), note)


def _only_value(values: Tensor, kept: Tensor) -> float | None:
    """The one value of a mask's kept cells; None for a tensor that is no mask."""
    if not bool(kept.any()):
        return None
    if values.dtype is torch.bool:
        return 1.0
    ones = values[kept]
    value = float(ones.flatten()[0])
    return value if value > 0 and bool((ones == ones.flatten()[0]).all()) else None
