"""The checkpoint as the layouts see it: a read-only table of named, finite tensors, with masks resolved."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mixanalysis import files
from mixanalysis.checkpoints import folders, hub
from mixanalysis.checkpoints.computed_weights import LowRankUpdate
from mixanalysis.checkpoints.containers import Container, open_file
from mixanalysis.checkpoints.external_masks import ExternalMasks, external_masks
from mixanalysis.checkpoints.lazy_tensors import AnyEntry, DamagedError, Entry, SparseEntry
from mixanalysis.checkpoints.record import record
from mixanalysis.checkpoints.resolve import resolve
from mixanalysis.checkpoints.sparse_weights import SparseTensor
from mixanalysis.checkpoints.state_dicts import Weights, unwrap
from mixanalysis.checkpoints.weights import MaskedWeight, Plain, Stored, Weight, ZerosAsMask
from mixanalysis.errors import CheckpointError, UsageError
from mixanalysis.network import Support

ZEROS = 0.05
"""Share of exact zeros beyond which they aren't there by accident."""


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
        key: where the table of weights is, if the user said so.
    """

    def __init__(self, path: Path, container: Container, weights: Weights = "auto", key: str = "") -> None:
        self.path, self.weights, self.key = path, weights, key
        self.format = container.format
        self.metadata: Mapping[str, str] = container.metadata
        self._files = container.files
        try:
            self._unwrapped = unwrap(container.content, weights, key)
            resolved = resolve(self._stored(self._unwrapped.table))
        except DamagedError as error:
            raise CheckpointError(f"{path}: {error}") from None
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
        self._unwrapped.steps[:0] = container.steps
        self._prefixes: tuple[str, ...] = ()
        self._inferred: tuple[str, ...] = ()
        masks = self._external_masks(resolved.weights)
        self._weights: dict[str, Weight] = _masked(path, resolved.weights, masks)
        self.wrapper = "; ".join([self._unwrapped.wrapper, *resolved.notes, *map(_told, masks)])
        used = {group.where for group in masks if not group.problem}
        self.ignored = (*(name for name in self._unwrapped.beside if name not in used), *resolved.parts)
        self.record = record(self._unwrapped.extras, self.metadata)

    def _stored(self, table: Mapping[str, AnyEntry]) -> dict[str, Stored]:
        return {name: Stored(self.path, name, entry) for name, entry in table.items()}

    def _external_masks(self, weights: Mapping[str, Weight]) -> list[ExternalMasks]:
        return external_masks(self._unwrapped.extras, {name: weight.fixed_shape for name, weight in weights.items()})

    def readings(self) -> Iterator[Checkpoint]:
        """The ways to read the names, for a user's own network: with prefixes left on, masks as tensors of their own.

        Yields:
            This checkpoint; then with one prefix more of those that were taken off, each with its tensors as weights
            (masked, normed) and as they are stored.
        """
        yield self
        for table in reversed(self._unwrapped.stages):
            stored = self._stored(table)
            plain = {name: _unresolved(each) for name, each in stored.items()}
            for weights in (self._resolved(stored), plain):
                if weights:
                    other = copy(self)
                    other._weights = weights
                    yield other

    def _resolved(self, stored: Mapping[str, Stored]) -> dict[str, Weight]:
        try:
            weights = resolve(stored).weights
        except DamagedError:
            return {}
        return _masked(self.path, weights, self._external_masks(weights))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the weights, in the order of the file."""
        return tuple(self._weights)

    def __reduce__(self) -> tuple[Any, ...]:
        # another process opens the file anew
        return _reopened, (self.path, self.weights, self.key, self._prefixes, self._inferred)

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

        Returns:
            The torch dtype.

        Raises:
            CheckpointError: it is one that isn't read.
        """
        return self._weights[name].dtype

    def unreadable(self, name: str) -> str:
        """What a tensor has in place of a dtype that is read, such as "the dtype complex64"; or nothing."""
        weight = self._weights[name]
        if not isinstance(weight, Plain):
            return ""
        entry = weight.stored.entry
        return entry.kind if isinstance(entry, Entry) and entry.dtype is None else ""

    def quantised(self, name: str) -> bool:
        """Whether a tensor holds integers or numbers of eight bits, which usually need scales."""
        weight = self._weights[name]
        if not isinstance(weight, Plain) or not isinstance(weight.stored.entry, Entry):
            return False
        entry = weight.stored.entry
        return entry.quantised or (entry.dtype is not None and not entry.dtype.is_floating_point)

    def kept(self, name: str) -> Tensor | None:
        """Where a masked weight of any shape has connections, True there; None without a mask.

        Returns:
            Bool, of the weight's shape, or None.

        Raises:
            KeyError: there is no such weight.
            CheckpointError: it is damaged.
        """
        return self._weights[name].kept()

    def factors(self, name: str) -> tuple[Tensor, Tensor] | None:
        """The two factors of a low-rank update; None for any other weight.

        Returns:
            The left and the right factor, or None.

        Raises:
            KeyError: there is no such weight.
            CheckpointError: it is damaged.
        """
        weight = self._weights[name]
        return weight.factors() if isinstance(weight, LowRankUpdate) else None

    def buffer(self, name: str) -> Tensor:
        """A tensor that is no weight, such as a causal mask; infinite values are no sign of damage there.

        Returns:
            The tensor as it is stored.

        Raises:
            KeyError: there is no such tensor.
            CheckpointError: it is damaged.
        """
        weight = self._weights[name]
        if isinstance(weight, Plain) and isinstance(weight.stored.entry, Entry):
            return weight.stored.load(weight.stored.entry)
        return weight.tensor()

    def tensor(self, name: str) -> Tensor:
        """A weight, zero off its mask.

        Returns:
            The dense weight.

        Raises:
            KeyError: there is no such weight.
            CheckpointError: it is damaged, too large to be dense, or holds NaN or infinite values.
        """
        return self._weights[name].tensor()

    def support(self, name: str) -> Support | None:
        """The connections of a masked weight; None for a weight without a mask, and for one that isn't a matrix.

        Returns:
            The places and values of the connections, or None.

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

        Returns:
            A checkpoint whose weights of these names are masked.

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

    def with_zeros_masked(self) -> Checkpoint:
        """Take the exact zeros of every weight without a mask for one, where they are more than 5% of it.

        Returns:
            A checkpoint whose `wrapper` names these weights.

        Raises:
            CheckpointError: a weight is damaged.
        """
        return self.with_inferred_masks(name for name in self.names if self._pruned(name))

    def _pruned(self, name: str) -> bool:
        weight = self._weights[name]
        if not isinstance(weight, Plain) or len(weight.shape) < 2 or not self._is_float(name):
            return False
        values = weight.tensor()
        return int(torch.count_nonzero(values)) < (1 - ZEROS) * values.numel()

    def _is_float(self, name: str) -> bool:
        return not self.unreadable(name) and self.dtype(name).is_floating_point

    def below(self, prefix: str) -> Checkpoint:
        """Keep the tensors below a prefix of their names alone, without it.

        Args:
            prefix: such as "backbone"; the dot after it may be left out.

        Returns:
            A checkpoint whose other tensors are listed in `ignored`.

        Raises:
            UsageError: there is no tensor of such a name.
        """
        prefix = prefix if prefix.endswith(".") else f"{prefix}."
        weights = {name.removeprefix(prefix): each for name, each in self._weights.items() if name.startswith(prefix)}
        if not weights:
            raise UsageError(f"{self.path}: no tensor's name begins with {prefix}{self._prefixes_told()}")
        other = copy(self)
        other._weights = weights
        other._prefixes = (*self._prefixes, prefix)
        other._inferred = tuple(name.removeprefix(prefix) for name in self._inferred if name.startswith(prefix))
        other.ignored = (*self.ignored, *(name for name in self._weights if not name.startswith(prefix)))
        first, *notes = self.wrapper.split("; ")
        other.wrapper = "; ".join([prefix if first == "none" else f"{first} > {prefix}", *notes])
        return other

    @property
    def heads(self) -> Mapping[str, int]:
        """First parts of the names, up to their dots, with the number of tensors below each."""
        return Counter(f"{name.partition('.')[0]}." for name in self._weights if "." in name)

    def _prefixes_told(self) -> str:
        heads = [f"{head} ({count})" for head, count in Counter(self.heads).most_common(5)]
        return f"; names begin with {', '.join(heads)}" if heads else ""

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


def open_checkpoint(path: str | Path, weights: Weights = "auto", *, key: str = "", prefix: str = "") -> Checkpoint:
    """Open a checkpoint; tensors are read when asked for, and no code in it is ever run.

    Args:
        path: a file of safetensors, torch.save or numpy.savez, a TorchScript archive, a folder with one checkpoint
            (one file or several, of a trainer, DeepSpeed or torch.distributed.checkpoint), or
            ``hf://owner/name[@revision][/file]``.
        weights: which weights to take where the file holds raw and averaged (EMA) ones: "auto" takes the averaged
            ones, which are what a training evaluates and publishes; "raw" and "ema" insist.
        key: where in the file the table of weights is, keys joined by dots, such as "trainer.network"; found by the
            usual keys by default.
        prefix: take the tensors below this prefix of their names alone, such as "backbone"; all by default.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: the file is missing, unreadable, truncated, of a kind that isn't read, would need code to be
            run, or doesn't hold the weights that are asked for.
        UsageError: `weights` is none of its three values, the name on the hub is none, or there are no weights under
            `key` or `prefix`.
    """
    path, container = _container(path)
    checkpoint = Checkpoint(path, container, weights, key)
    return checkpoint.below(prefix) if prefix else checkpoint


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a checkpoint, as its `sha256`, whatever part of it is read.

    Args:
        path: as `open_checkpoint` takes it.

    Returns:
        The digest in hexadecimal.
    """
    return _digest(_container(path)[1].files)


def _container(source: str | Path) -> tuple[Path, Container]:
    """The path to show, and what is there."""
    if (name := hub.parse(source)) is not None:
        return name.path, hub.open_hub(name)
    path = Path(source)
    if path.is_dir():
        return path, folders.open_folder(path)
    if path.name.endswith(folders.INDEX_ENDING):
        return path, folders.open_index(path)
    return path, open_file(path)


def _reopened(
    path: Path, weights: Weights, key: str, prefixes: tuple[str, ...], inferred: tuple[str, ...]
) -> Checkpoint:
    checkpoint = open_checkpoint(path, weights, key=key)
    for prefix in prefixes:
        checkpoint = checkpoint.below(prefix)
    return checkpoint.with_inferred_masks(inferred) if inferred else checkpoint


def _unresolved(stored: Stored) -> Weight:
    return SparseTensor(stored, stored.entry) if isinstance(stored.entry, SparseEntry) else Plain(stored)


def _masked(path: Path, weights: Mapping[str, Weight], masks: Iterable[ExternalMasks]) -> dict[str, Weight]:
    """The weights, those with external masks masked."""
    masked = dict(weights)
    for group in masks:
        for name, entry in group.masks.items():
            masked[name] = MaskedWeight(masked[name], (Stored(path, f"{group.where} > {name}", entry),))
    return masked


def _told(masks: ExternalMasks) -> str:
    return f"masks in {masks.where} not used: {masks.problem}" if masks.problem else f"masks from {masks.where}"
