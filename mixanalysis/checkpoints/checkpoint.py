"""The checkpoint as the layouts see it: a read-only table of named, finite tensors, with masks resolved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mixanalysis import files
from mixanalysis.checkpoints import masks
from mixanalysis.checkpoints.containers import Container
from mixanalysis.checkpoints.lazy_tensors import DamagedError
from mixanalysis.checkpoints.opening import open_container
from mixanalysis.checkpoints.record import record
from mixanalysis.checkpoints.state_dicts import Unwrapped, Weights, unwrap
from mixanalysis.checkpoints.weights import MaskedWeight, Stored, Weight, ZerosAsMask
from mixanalysis.errors import CheckpointError
from mixanalysis.network import Support


class Checkpoint:
    """Named tensors of one checkpoint, read lazily, one at a time.

    Attributes:
        path: the file or folder, or the name on the hub.
        format: kind of container.
        wrapper: how the weights were nested and prefixed, and which they are where there are two kinds, or "none".
        metadata: text that the container carries beside the tensors; of a folder's config.json, the whole text under
            that name.
        record: text, numbers and truth values that stand beside the weights, such as "epoch" and "args.model".
        ignored: entries that are not tensors of the network's state.
        weights: which weights were asked for: "auto", "raw" or "ema".
    """

    def __init__(self, path: Path, container: Container, weights: Weights = "auto") -> None:
        self.path, self.weights = path, weights
        self.format = container.format
        self.metadata: Mapping[str, str] = container.metadata
        self._files = container.files
        try:
            found = unwrap(container.content, weights)
            resolved = masks.resolve({name: Stored(path, name, entry) for name, entry in found.table.items()})
        except DamagedError as error:
            raise CheckpointError(f"{path}: {error}") from None
        found.steps[:0] = container.steps
        self._weights: dict[str, Weight] = dict(resolved.weights)
        self._inferred: tuple[str, ...] = ()
        notes = [*resolved.notes, *self._add_masks(found)]
        self.wrapper = "; ".join([found.wrapper, *notes])
        self.ignored = tuple(found.beside)
        self.record = record(found.extras, self.metadata)

    def _add_masks(self, found: Unwrapped) -> list[str]:
        """Give weights the masks that stand beside the state dict; say where they were, or why they aren't used."""
        notes = []
        shapes = {name: weight.fixed_shape for name, weight in self._weights.items()}
        for listed in masks.beside(found.extras, shapes):
            if listed.problem:
                notes.append(f"masks in {listed.where} not used: {listed.problem}")
                continue
            for name, entry in listed.masks.items():
                mask = Stored(self.path, f"{listed.where} > {name}", entry)
                self._weights[name] = MaskedWeight(self._weights[name], (mask,))
            notes.append(f"masks from {listed.where}")
            found.beside = [name for name in found.beside if name != listed.where]
        return notes

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the weights, in the order of the file."""
        return tuple(self._weights)

    def __reduce__(self) -> tuple[Any, ...]:
        # another process opens the file anew
        return _reopened, (self.path, self.weights, self._inferred)

    def __contains__(self, name: object) -> bool:
        return name in self._weights

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a weight; reads at most the few numbers of a sparse weight's shape."""
        return self._weights[name].shape

    def masked(self, name: str) -> bool:
        """Whether a weight is stored with a mask."""
        return self._weights[name].masked

    def dtype(self, name: str) -> torch.dtype:
        """Dtype of a weight.

        Raises:
            CheckpointError: it is one that isn't read.
        """
        return self._weights[name].dtype

    def tensor(self, name: str) -> Tensor:
        """A weight, zero off its mask.

        Raises:
            KeyError: there is no such weight.
            CheckpointError: it is damaged, too large to be dense, or holds NaN or infinite values.
        """
        return self._weights[name].tensor()

    def support(self, name: str) -> Support | None:
        """The connections of a masked weight; None for a weight without a mask, and for one that isn't a matrix.

        Raises:
            KeyError: there is no such weight.
            CheckpointError: it is damaged, or holds NaN or infinite values.
        """
        return self._weights[name].support()

    def connections(self, name: str) -> int:
        """Number of weights that the mask keeps; all of them without a mask."""
        return self._weights[name].connections()

    def with_inferred_masks(self, names: Iterable[str]) -> Checkpoint:
        """The same checkpoint with the exact zeros of some weights taken for masks, which `wrapper` then says.

        For layouts of projects that keep their masks as zeros alone. A weight that has a mask keeps that one.

        Args:
            names: weights of this checkpoint.

        Raises:
            KeyError: there is no such weight.
        """
        wanted = [name for name in names if not self.masked(name)]
        other = copy(self)
        other._weights = self._weights | {name: ZerosAsMask(self._weights[name]) for name in wanted}
        other._inferred = (*self._inferred, *wanted)
        if wanted:
            other.wrapper = f"{self.wrapper}; zeros taken for the masks of {', '.join(wanted)}"
        return other

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file.

        Where several files were read, of the lines "digest  name" of each file, in the order in which they were opened:
        what `sha256sum` prints for them in their folder.
        """
        return _digest(self._files)


def _digest(paths: tuple[Path, ...]) -> str:
    if len(paths) == 1:
        return files.sha256(paths[0])
    lines = "".join(f"{files.sha256(path)}  {path.name}\n" for path in paths)
    return hashlib.sha256(lines.encode()).hexdigest()


def open_checkpoint(path: str | Path, weights: Weights = "auto") -> Checkpoint:
    """Open a checkpoint; tensors are read when asked for, and no code in it is ever run.

    Args:
        path: a file of safetensors, torch.save or numpy.savez, a TorchScript archive, a folder with one checkpoint
            (one file or several, of a trainer, DeepSpeed or torch.distributed.checkpoint), or
            ``hf://owner/name[@revision][/file]``.
        weights: which weights to take where the file holds raw and averaged (EMA) ones: "auto" takes the averaged
            ones, which are what a training evaluates and publishes; "raw" and "ema" insist.

    Raises:
        CheckpointError: the file is missing, unreadable, truncated, of a kind that isn't read, would need code to be
            run, or doesn't hold the weights that are asked for.
        UsageError: `weights` is none of its three values, or the name on the hub is none.
    """
    path, container = open_container(path)
    return Checkpoint(path, container, weights)


def _reopened(path: Path, weights: Weights, inferred: tuple[str, ...]) -> Checkpoint:
    checkpoint = open_checkpoint(path, weights)
    return checkpoint.with_inferred_masks(inferred) if inferred else checkpoint
