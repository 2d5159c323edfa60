"""What a weight of the network is, however it is stored: its values, and the connections that a mask keeps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from mixanalysis.checkpoints.lazy_tensors import AnyEntry, DamagedError, Entry
from mixanalysis.errors import CheckpointError, NotFiniteError
from mixanalysis.network import Support
from mixanalysis.operators.base import DENSE_LIMIT


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor of the file, under its name there.

    Attributes:
        path: the file.
        name: the tensor's name.
        entry: where it is.
    """

    path: Path
    name: str
    entry: AnyEntry

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.entry.shape

    @property
    def dtype(self) -> torch.dtype:
        """Its dtype.

        Raises:
            CheckpointError: it is one that isn't read.
        """
        values = self.entry if isinstance(self.entry, Entry) else self.entry.values
        if values.dtype is None:
            raise CheckpointError(f"{self.path}: tensor {self.name} has {values.kind}, which isn't read")
        return values.dtype

    def read(self) -> Tensor:
        """Its values.

        Returns:
            The values as a tensor.

        Raises:
            CheckpointError: it isn't read, is sparse, is damaged, or holds NaN or infinite values.
        """
        if not isinstance(self.entry, Entry):
            raise CheckpointError(f"{self.path}: tensor {self.name} is sparse where a dense one is expected")
        return self.finite(self.load(self.entry))

    def load(self, entry: Entry) -> Tensor:
        """A part of it."""
        if entry.dtype is None:
            raise CheckpointError(f"{self.path}: tensor {self.name} has {entry.kind}, which isn't read")
        try:
            return entry.load()
        except DamagedError as error:
            raise CheckpointError(f"{self.path}: tensor {self.name}: {error}") from None

    def finite(self, tensor: Tensor) -> Tensor:
        """The same tensor, if no value is NaN or infinite."""
        if tensor.is_floating_point() and not _finite(tensor):
            bad = int((~tensor.isfinite()).sum())
            message = (
                f"{self.path}: tensor {self.name} holds {bad} NaN or infinite values of {tensor.numel()}; "
                "the training diverged or the file is damaged"
            )
            raise NotFiniteError(message)
        return tensor

    def mask(self) -> Tensor:
        """Its values as a mask, True where a connection is kept.

        Returns:
            Bool, of the tensor's shape.

        Raises:
            CheckpointError: it holds other values than 0 and 1.
        """
        values = self.read()
        kept = values != 0
        if values.dtype is not torch.bool and not torch.equal(values, kept.to(values.dtype)):
            message = (
                f"{self.path}: tensor {self.name} stands where a mask is expected, but holds other values than 0 and 1"
            )
            raise CheckpointError(message)
        return kept


def _finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite: either shows in the extremes, which are cheaper to find."""
    return tensor.numel() == 0 or all(bool(extreme.isfinite()) for extreme in torch.aminmax(tensor))


class Weight(ABC):
    """A weight of the network."""

    masked = True

    @property
    def fixed_shape(self) -> tuple[int, ...]:
        """Its shape where that is known without reading, or ()."""
        return self.shape

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Its dtype."""

    @abstractmethod
    def tensor(self) -> Tensor:
        """Its values, zero off the mask."""

    @abstractmethod
    def support(self) -> Support | None:
        """Its connections; None without a mask, and for one that isn't a matrix."""

    def kept(self) -> Tensor | None:
        """Where its mask keeps connections, of its shape; None where no mask is stored as such."""
        return None

    @abstractmethod
    def connections(self) -> int:
        """Number of weights that the mask keeps; all of them without a mask."""


@dataclass(frozen=True, eq=False)
class Plain(Weight):
    """A weight stored as it is."""

    stored: Stored
    masked = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.stored.shape

    @property
    def dtype(self) -> torch.dtype:
        """Its dtype."""
        return self.stored.dtype

    def tensor(self) -> Tensor:
        """Its values."""
        return self.stored.read()

    def support(self) -> Support | None:
        """None: it has no mask."""
        return None

    def connections(self) -> int:
        """All of them."""
        return torch.Size(self.shape).numel()


@dataclass(frozen=True, eq=False)
class MaskBuffer:
    """A mask that a module keeps as a buffer beside its weight.

    Attributes:
        stored: the buffer.
        scale: its value where it isn't zero.
        removed: whether it marks the weights that were removed, not those that are kept.
    """

    stored: Stored
    scale: float = 1.0
    removed: bool = False

    @property
    def path(self) -> Path:
        """The file."""
        return self.stored.path

    @property
    def name(self) -> str:
        """Name of the buffer."""
        return self.stored.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the buffer."""
        return self.stored.shape

    def mask(self) -> Tensor:
        """The mask, True where a connection is kept.

        Returns:
            Bool, of the weight's shape.
        """
        marked = self.stored.read() != 0
        return ~marked if self.removed else marked


@dataclass(frozen=True, eq=False)
class MaskedWeight(Weight):
    """A weight whose masks are stored beside it; a connection is kept where all masks keep it.

    Attributes:
        weight: the values, of which those off the mask don't count.
        masks: of the same shape.
    """

    weight: Weight
    masks: tuple[Stored | MaskBuffer, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.weight.shape

    @property
    def dtype(self) -> torch.dtype:
        """Its dtype."""
        return self.weight.dtype

    def tensor(self) -> Tensor:
        """Its values, zero off the mask."""
        return self._scaled(self.weight.tensor()).where(self.kept(), 0)

    def support(self) -> Support | None:
        """Its connections, those of value zero too."""
        if len(self.shape) != 2:
            return None
        weight, mask = self._scaled(self.weight.tensor()), self.kept()
        rows, columns = torch.nonzero(mask, as_tuple=True)
        return Support(rows, columns, weight[rows, columns])

    def connections(self) -> int:
        """Number of weights that the masks keep."""
        return int(torch.count_nonzero(self.kept()))

    def kept(self) -> Tensor:
        """Where all masks keep connections."""
        kept = None
        for mask in self.masks:
            if mask.shape != self.shape:
                of = self.weight.stored.name if isinstance(self.weight, Plain) else "its weight"
                message = f"{mask.path}: {mask.name} and {of} differ in shape: {mask.shape} and {self.shape}"
                raise CheckpointError(message)
            kept = mask.mask() if kept is None else kept & mask.mask()
        assert kept is not None
        return kept

    def _scaled(self, values: Tensor) -> Tensor:
        scale = math.prod(mask.scale for mask in self.masks if isinstance(mask, MaskBuffer))
        return values if scale == 1 else values * scale


@dataclass(frozen=True, eq=False)
class ZerosAsMask(Weight):
    """A weight without a mask, whose exact zeros are taken for one."""

    weight: Weight

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.weight.shape

    @property
    def dtype(self) -> torch.dtype:
        """Its dtype."""
        return self.weight.dtype

    def tensor(self) -> Tensor:
        """Its values."""
        return self.weight.tensor()

    def support(self) -> Support | None:
        """Where it isn't zero; None where it isn't a matrix."""
        if len(self.shape) != 2:
            return None
        weight = self.weight.tensor()
        rows, columns = torch.nonzero(weight, as_tuple=True)
        return Support(rows, columns, weight[rows, columns])

    def connections(self) -> int:
        """Number of its values that aren't zero."""
        return int(torch.count_nonzero(self.weight.tensor()))

    def kept(self) -> Tensor:
        """Where it isn't zero."""
        return self.weight.tensor() != 0


@dataclass(frozen=True, eq=False)
class Unknown(Weight):
    """A weight that the file holds in parts whose meaning isn't known."""

    stored: Stored
    reason: str
    masked = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the part that is named like the weight."""
        return self.stored.shape

    @property
    def dtype(self) -> torch.dtype:
        """Never known."""
        return self._refuse()

    def tensor(self) -> Tensor:
        """Never known."""
        return self._refuse()

    def support(self) -> Support | None:
        """Never known."""
        return self._refuse()

    def connections(self) -> int:
        """All that its shape has."""
        return torch.Size(self.shape).numel()

    def _refuse(self) -> NoReturn:
        raise CheckpointError(f"{self.stored.path}: {self.stored.name} {self.reason}")


def made_dense(path: Path, name: str, support: Support, shape: tuple[int, int]) -> Tensor:
    """A matrix with the values of its connections.

    Returns:
        Shape `shape`, zero where there is no connection.

    Raises:
        CheckpointError: it is too large.
    """
    if shape[0] * shape[1] > DENSE_LIMIT:
        raise CheckpointError(f"{path}: {name} of shape {shape[0]} x {shape[1]} is too large to be made dense")
    dense = torch.zeros(shape, dtype=support.values.dtype)
    dense[support.rows, support.columns] = support.values
    return dense
