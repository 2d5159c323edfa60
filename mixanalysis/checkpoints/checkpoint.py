"""The checkpoint as the layouts see it: a read-only table of named, finite tensors, with masks resolved."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mixanalysis import files
from mixanalysis.checkpoints import masks
from mixanalysis.checkpoints.containers import Container, open_container
from mixanalysis.checkpoints.masks import Plain, PrunedPair, SparseStored, Stored
from mixanalysis.errors import CheckpointError
from mixanalysis.models import Support
from mixanalysis.operators.base import DENSE_LIMIT


class Checkpoint:
    """Named tensors of one file, read lazily, one at a time.

    Attributes:
        path: the file.
        format: kind of container.
        wrapper: how the weights were nested and prefixed, or "none".
        metadata: text that the container carries beside the tensors.
        ignored: entries of the file that are not tensors of the network's state.
    """

    def __init__(self, path: Path, container: Container) -> None:
        self.path = path
        self.format, self.wrapper = container.format, container.wrapper
        self.metadata: Mapping[str, str] = container.metadata
        self.ignored = container.ignored
        self._container = container
        self._stored: dict[str, Stored] = masks.resolve(container)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the weights, in the order of the file."""
        return tuple(self._stored)

    def __reduce__(self) -> tuple[Any, ...]:
        # another process opens the file anew
        return open_checkpoint, (self.path,)

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a weight; reads at most the two numbers of a sparse weight's shape."""
        match self._stored[name]:
            case SparseStored():
                return masks.shape_of(self._container.read(f"{name}.shape"))
            case PrunedPair():
                return self._container.shape(f"{name}_orig")
            case Plain():
                return self._container.shape(name)

    def masked(self, name: str) -> bool:
        """Whether a weight is stored with a mask."""
        return not isinstance(self._stored[name], Plain)

    def dtype(self, name: str) -> torch.dtype:
        """Dtype of a weight.

        Raises:
            CheckpointError: it is one that isn't read.
        """
        suffix = {SparseStored: ".values", PrunedPair: "_orig", Plain: ""}[type(self._stored[name])]
        return self._container.dtype(name + suffix)

    def tensor(self, name: str) -> Tensor:
        """A weight, zero off its mask.

        Raises:
            KeyError: there is no such weight.
            CheckpointError: it is damaged, too large to be dense, or holds NaN or infinite values.
        """
        match self._stored[name]:
            case Plain():
                return self._read(name)
            case PrunedPair():
                weight, mask = self._pair(name)
                return weight.where(mask, 0)
            case SparseStored():
                support, shape = self._sparse(name), self.shape(name)
                if shape[0] * shape[1] > DENSE_LIMIT:
                    message = f"{self.path}: {name} of shape {shape[0]} x {shape[1]} is too large to be made dense"
                    raise CheckpointError(message)
                dense = torch.zeros(shape, dtype=support.values.dtype)
                dense[support.rows, support.columns] = support.values
                return dense

    def support(self, name: str) -> Support | None:
        """The connections of a masked weight; None for a weight without a mask, and for one that isn't a matrix.

        Raises:
            KeyError: there is no such weight.
            CheckpointError: it is damaged, or holds NaN or infinite values.
        """
        match self._stored[name]:
            case Plain():
                return None
            case PrunedPair():
                weight, mask = self._pair(name)
                if mask.ndim != 2:
                    return None
                rows, columns = torch.nonzero(mask, as_tuple=True)
                return Support(rows, columns, weight[rows, columns])
            case SparseStored():
                return self._sparse(name)

    def connections(self, name: str) -> int:
        """Number of weights that the mask keeps; all of them without a mask."""
        match self._stored[name]:
            case SparseStored():
                return self._container.shape(f"{name}.values")[0]
            case PrunedPair():
                return int(torch.count_nonzero(self._read(f"{name}_mask")))
            case Plain():
                return torch.Size(self.shape(name)).numel()

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return files.sha256(self.path)

    def _pair(self, name: str) -> tuple[Tensor, Tensor]:
        weight, mask = self._read(f"{name}_orig"), self._read(f"{name}_mask") != 0
        if mask.shape != weight.shape:
            shapes = f"{tuple(mask.shape)} and {tuple(weight.shape)}"
            raise CheckpointError(f"{self.path}: {name}_mask and {name}_orig differ in shape: {shapes}")
        return weight, mask

    def _sparse(self, name: str) -> Support:
        parts = {part: self._read(f"{name}.{part}") for part in masks.SPARSE_PARTS}
        try:
            rows, columns, values, _ = masks.unpack(parts)
        except ValueError as error:
            raise CheckpointError(f"{self.path}: sparse weight {name}: {error}") from None
        return Support(rows, columns, values)

    def _read(self, stored: str) -> Tensor:
        tensor = self._container.read(stored)
        if tensor.is_floating_point() and not _finite(tensor):
            bad = int((~tensor.isfinite()).sum())
            message = (
                f"{self.path}: tensor {stored} holds {bad} NaN or infinite values of {tensor.numel()}; "
                "the training diverged or the file is damaged, so there is nothing sound to analyse"
            )
            raise CheckpointError(message)
        return tensor


def _finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite: either shows in the extremes, which are cheaper to find."""
    return tensor.numel() == 0 or all(bool(extreme.isfinite()) for extreme in torch.aminmax(tensor))


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint file; tensors are read when asked for, and no code in it is ever run.

    Args:
        path: a safetensors file or one of torch.save.

    Raises:
        CheckpointError: the file is missing, unreadable, truncated, of a kind that isn't read, or would need
            code to be run.
    """
    path = Path(path)
    return Checkpoint(path, open_container(path))
