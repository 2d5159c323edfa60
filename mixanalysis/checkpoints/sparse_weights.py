"""Weights stored by their connections: our own form, torch's sparse tensors, and bit masks."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from mixanalysis.checkpoints.lazy_tensors import SparseEntry
from mixanalysis.checkpoints.weights import Stored, Weight, made_dense
from mixanalysis.errors import CheckpointError
from mixanalysis.network import Support
from mixanalysis.operators.base import DENSE_LIMIT

SPARSE_PARTS = ("values", "columns", "starts", "shape")
"""Our own sparse form of a weight W: W.values, W.columns (CSR, both of length nnz), W.starts, W.shape."""

BITMASK_PARTS = ("compressed", "bitmask", "shape", "row_offsets")
"""The sparse form of compressed-tensors: non-zeros row by row, and a bit a cell, lowest bit first."""


@dataclass(frozen=True, eq=False)
class _InParts(Weight):
    """A matrix whose connections and shape are tensors of their own.

    Attributes:
        name: of the weight.
        parts: its tensors by the names of the parts, "shape" among them.
    """

    name: str
    parts: Mapping[str, Stored]

    values: ClassVar[str]
    """Name of the part that holds the connections' values."""

    @property
    def fixed_shape(self) -> tuple[int, ...]:
        """Not known without reading."""
        return ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, which is a small tensor of its own."""
        return shape_of(self.parts["shape"])

    @property
    def dtype(self) -> torch.dtype:
        """Its dtype."""
        return self.parts[self.values].dtype

    @abstractmethod
    def support(self) -> Support:
        """Its connections."""

    def tensor(self) -> Tensor:
        """Its values, made dense."""
        support, shape = self.support(), self.shape
        return made_dense(self.parts["shape"].path, self.name, support, (shape[0], shape[1]))

    def connections(self) -> int:
        """Number of its values."""
        return math.prod(self.parts[self.values].shape)


class OwnSparse(_InParts):
    """A matrix stored as `SPARSE_PARTS`; explicit zeros are connections."""

    values = "values"

    def support(self) -> Support:
        """Its connections."""
        try:
            rows, columns, values, _ = unpack({part: stored.read() for part, stored in self.parts.items()})
        except ValueError as error:
            raise CheckpointError(f"{self.parts['shape'].path}: sparse weight {self.name}: {error}") from None
        return Support(rows, columns, values)


def pack(weight: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
    """The parts that store weight * mask sparsely; connections of value zero are kept.

    Args:
        weight: shape (rows, columns).
        mask: bool, the same shape.

    Returns:
        Tensors by the names of the parts.
    """
    rows, columns = torch.nonzero(mask, as_tuple=True)
    counts = torch.bincount(rows, minlength=mask.shape[0])
    return {
        "values": weight[rows, columns].contiguous(),
        "columns": columns.to(torch.int32),
        "starts": torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]),
        "shape": torch.tensor(mask.shape),
    }


def shape_of(stored: Stored) -> tuple[int, ...]:
    """The shape that a part `shape` says.

    Returns:
        The shape as a tuple of integers.

    Raises:
        CheckpointError: it isn't a short list of integers.
    """
    if math.prod(stored.shape) > 64 or stored.dtype.is_floating_point:
        raise CheckpointError(f"{stored.path}: tensor {stored.name} is no shape")
    return tuple(stored.read().long().flatten().tolist())


def unpack(parts: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
    """Rows, columns, values and shape of a weight stored by `pack`.

    Returns:
        Row indices, column indices, values (one per connection) and the shape.

    Raises:
        ValueError: the parts contradict each other.
    """
    values, columns, starts = parts["values"], parts["columns"].long(), parts["starts"].long()
    sizes = tuple(parts["shape"].long().flatten().tolist())
    if len(sizes) != 2 or min(sizes) < 1 or starts.shape != (sizes[0] + 1,) or not values.ndim == columns.ndim == 1:
        msg = "its shape, starts and values don't belong together"
        raise ValueError(msg)
    rows = _rows(starts, columns, len(values), sizes[1])
    if not bool(((rows.diff() > 0) | (columns.diff() > 0)).all()):
        msg = "the columns of a row don't ascend"
        raise ValueError(msg)
    return rows, columns, values, (sizes[0], sizes[1])


def _rows(starts: Tensor, columns: Tensor, count: int, limit: int) -> Tensor:
    """The row of each entry of a compressed matrix.

    Returns:
        Row indices, one per entry.

    Raises:
        ValueError: starts or columns point outside of it.
    """
    counts = starts.diff()
    consistent = (
        len(starts) > 0
        and int(starts[0]) == 0
        and bool((counts >= 0).all())
        and int(starts[-1]) == count == len(columns)
        and _within(columns, limit)
    )
    if not consistent:
        msg = "its starts or columns point outside of the matrix"
        raise ValueError(msg)
    return torch.repeat_interleave(torch.arange(len(counts)), counts)


def _within(indices: Tensor, limit: int) -> bool:
    return len(indices) == 0 or 0 <= int(indices.min()) <= int(indices.max()) < limit


class _Coordinates(Protocol):
    def __call__(self, entry: SparseEntry, indices: list[Tensor], values: Tensor) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, eq=False)
class SparseTensor(Weight):
    """A sparse tensor of torch; what it stores are its connections, explicit zeros too."""

    stored: Stored
    entry: SparseEntry

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.entry.shape

    @property
    def dtype(self) -> torch.dtype:
        """Its dtype."""
        return self.stored.dtype

    def tensor(self) -> Tensor:
        """Its values, made dense."""
        cells, values = self._cells()
        if math.prod(self.shape) > DENSE_LIMIT:
            size = " x ".join(map(str, self.shape))
            message = f"{self.stored.path}: {self.stored.name} of shape {size} is too large to be made dense"
            raise CheckpointError(message)
        dense = torch.zeros(math.prod(self.shape), dtype=values.dtype)
        dense[cells] = values
        return dense.reshape(self.shape)

    def support(self) -> Support | None:
        """Its connections, from its indices."""
        if len(self.shape) != 2:
            return None
        cells, values = self._cells()
        return Support(cells // self.shape[1], cells % self.shape[1], values)

    def connections(self) -> int:
        """Number of cells that it stores; what it stores twice counts once."""
        if self.entry.layout == "coo":
            return len(self._cells()[0])
        return math.prod(self.entry.values.shape)

    def _cells(self) -> tuple[Tensor, Tensor]:
        """Numbers of the stored cells in row-major order, ascending, and their values."""
        indices = [self.stored.load(part) for part in self.entry.indices]
        values = self.stored.finite(self.stored.load(self.entry.values))
        try:
            if any(part.is_floating_point() for part in indices):
                msg = "its indices are no integers"
                raise ValueError(msg)
            cells, values = _COORDINATES[self.entry.layout](self.entry, indices, values)
        except ValueError as error:
            raise CheckpointError(f"{self.stored.path}: sparse tensor {self.stored.name}: {error}") from None
        unique, place = torch.unique(cells, return_inverse=True)
        # several values of one cell add up, as in an uncoalesced tensor
        return unique, torch.zeros(len(unique), dtype=values.dtype).index_add(0, place, values)


def _listed(entry: SparseEntry, indices: list[Tensor], values: Tensor) -> tuple[Tensor, Tensor]:
    (places,) = indices
    if places.shape != (len(entry.shape), len(values)) or values.ndim != 1:
        msg = "its indices and values don't belong together"
        raise ValueError(msg)
    cells = torch.zeros(len(values), dtype=torch.int64)
    for axis, size in zip(places.long(), entry.shape, strict=True):
        if not _within(axis, size):
            msg = "its indices point outside of it"
            raise ValueError(msg)
        cells = cells * size + axis
    return cells, values


def _compressed(entry: SparseEntry, indices: list[Tensor], values: Tensor) -> tuple[Tensor, Tensor]:
    starts, others = (part.long() for part in indices)
    by_columns, blocked = entry.layout in ("csc", "bsc"), entry.layout in ("bsr", "bsc")
    if len(entry.shape) != 2 or starts.ndim != 1 or others.ndim != 1 or values.ndim != (3 if blocked else 1):
        msg = "its indices and values don't belong together"
        raise ValueError(msg)
    block = values.shape[1:] if blocked else torch.Size((1, 1))
    if min(block) < 1 or entry.shape[0] % block[0] or entry.shape[1] % block[1]:
        msg = "its blocks don't fill it"
        raise ValueError(msg)
    grid = (entry.shape[0] // block[0], entry.shape[1] // block[1])
    if len(starts) != grid[by_columns] + 1:
        msg = "its indices and values don't belong together"
        raise ValueError(msg)
    owners = _rows(starts, others, len(values), grid[not by_columns])
    rows, columns = (others, owners) if by_columns else (owners, others)
    rows = rows[:, None, None] * block[0] + torch.arange(block[0])[:, None]
    columns = columns[:, None, None] * block[1] + torch.arange(block[1])
    return (rows * entry.shape[1] + columns).flatten(), values.flatten()


_COORDINATES: dict[str, _Coordinates] = {
    "coo": _listed,
    "csr": _compressed,
    "csc": _compressed,
    "bsr": _compressed,
    "bsc": _compressed,
}


class Bitmask(_InParts):
    """A matrix stored as `BITMASK_PARTS`."""

    values = "compressed"

    def support(self) -> Support:
        """Its connections."""
        shape, values, bits = self.shape, self.parts["compressed"].read(), self.parts["bitmask"].read()
        if (
            len(shape) != 2
            or min(shape) < 1
            or bits.shape != (shape[0], -(-shape[1] // 8))
            or bits.dtype != torch.uint8
        ):
            raise self._apart()
        cells = np.unpackbits(bits.numpy(), axis=1, count=shape[1], bitorder="little")
        rows, columns = torch.nonzero(torch.from_numpy(cells), as_tuple=True)
        if values.shape != rows.shape:
            raise self._apart()
        return Support(rows, columns, values)

    def _apart(self) -> CheckpointError:
        path = self.parts["shape"].path
        return CheckpointError(f"{path}: {self.name}: its shape, bit mask and values don't belong together")
