"""Masked weights on disk: which stored tensors make up which weight, and its connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mixanalysis.checkpoints.containers import Container

SPARSE_PARTS = ("values", "columns", "starts", "shape")
"""Our own sparse form of a weight W: W.values, W.columns (CSR, both of length nnz), W.starts, W.shape."""


class SparseStored(NamedTuple):
    """A weight stored as `SPARSE_PARTS`; explicit zeros are connections."""

    name: str


class PrunedPair(NamedTuple):
    """A weight stored by torch.nn.utils.prune as name_orig and name_mask."""

    name: str


class Plain(NamedTuple):
    """A weight stored as it is."""

    name: str


Stored = SparseStored | PrunedPair | Plain


def resolve(container: Container) -> dict[str, Stored]:
    """Map each weight's name to the way in which it is stored, in the order of the file."""
    names = set(container.names())
    resolved: dict[str, Stored] = {}
    for name in container.names():
        base, _, part = name.rpartition(".")
        if part in SPARSE_PARTS and all(f"{base}.{other}" in names for other in SPARSE_PARTS):
            resolved[base] = SparseStored(base)
        elif name.endswith("_orig") and f"{name.removesuffix('_orig')}_mask" in names:
            plain = name.removesuffix("_orig")
            resolved[plain] = PrunedPair(plain)
        elif name.endswith("_mask") and f"{name.removesuffix('_mask')}_orig" in names:
            continue
        else:
            resolved[name] = Plain(name)
    return resolved


def pack(weight: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
    """The parts that store weight * mask sparsely; connections of value zero are kept.

    Args:
        weight: shape (rows, columns).
        mask: bool, the same shape.
    """
    rows, columns = torch.nonzero(mask, as_tuple=True)
    counts = torch.bincount(rows, minlength=mask.shape[0])
    return {
        "values": weight[rows, columns].contiguous(),
        "columns": columns.to(torch.int32),
        "starts": torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]),
        "shape": torch.tensor(mask.shape),
    }


def shape_of(stored: Tensor) -> tuple[int, ...]:
    """The shape that the part `shape` says."""
    return tuple(stored.long().flatten().tolist())


def unpack(parts: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
    """Rows, columns, values and shape of a weight stored by `pack`.

    Raises:
        ValueError: the parts contradict each other.
    """
    values, columns, starts = parts["values"], parts["columns"].long(), parts["starts"].long()
    sizes = shape_of(parts["shape"])
    if len(sizes) != 2 or min(sizes) < 1 or starts.shape != (sizes[0] + 1,) or not values.ndim == columns.ndim == 1:
        msg = "its shape, starts and values don't belong together"
        raise ValueError(msg)
    counts = starts.diff()
    consistent = (
        int(starts[0]) == 0
        and bool((counts >= 0).all())
        and int(starts[-1]) == len(values) == len(columns)
        and (len(columns) == 0 or 0 <= int(columns.min()) <= int(columns.max()) < sizes[1])
    )
    if not consistent:
        msg = "its starts or columns point outside of the matrix"
        raise ValueError(msg)
    rows = torch.repeat_interleave(torch.arange(sizes[0]), counts)
    if not bool(((rows.diff() > 0) | (columns.diff() > 0)).all()):
        msg = "the columns of a row don't ascend"
        raise ValueError(msg)
    return rows, columns, values, (sizes[0], sizes[1])
