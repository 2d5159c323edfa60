"""What is compared: a module with the taps whose outputs are its layers' features, observed batch by batch."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from mixanalysis.datasets import Dataset
from mixanalysis.errors import DataError, MixanalysisError, NothingToAnalyseError, UsageError
from mixanalysis.features import (
    POOLINGS,
    Batch,
    Call,
    Pooling,
    Position,
    capturing,
    examples,
    module_paths,
    pooled,
    run,
    tap_paths,
    tensors,
)
from mixanalysis.network import Network
from mixanalysis.selection import closest_names
from mixanalysis.similarity.microbatch import out_of_memory, run_in_parts

Shape = tuple[int, int, int]
"""(channels, height, width) of one image."""

Control = Literal["", "floor", "ceiling"]
"""What a network stands for: a floor (untrained), a ceiling (other seed), or itself."""


@dataclass(frozen=True, eq=False)
class FeatureExtractor:
    """A module whose layers are compared.

    Attributes:
        label: name of the network, unique among those compared.
        module: any torch module that maps a batch to anything.
        paths: for each layer's label, the path of the submodule whose output is its feature.
        roles: for each layer's label, what it mixes; "" where unknown.
        input_shape: (channels, height, width) of its images, or None to take the data as they are.
        features: which tensors these are, for the table.
        pooling: what of an example's features is kept.
        config: the network's configuration, where it is known.
        seed: of its training, where that is recorded.
        trained: whether it was trained at all, None where that isn't recorded.
        control: what it stands for.
        density: mean density p of its mixing layers, None where that isn't known.
        at_a_time: for each batch that didn't fit into memory as a whole, how many examples ran at a time.
    """

    label: str
    module: nn.Module
    paths: Mapping[str, str]
    roles: Mapping[str, str] = field(default_factory=dict)
    input_shape: Shape | None = None
    features: str = "module outputs"
    pooling: Pooling = "flatten"
    config: object = None
    seed: int | None = None
    trained: bool | None = None
    control: Control = ""
    density: float | None = None
    at_a_time: dict[int, int] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the pooling."""
        if self.pooling not in POOLINGS:
            raise UsageError(f"pooling must be one of {', '.join(POOLINGS)}, got {self.pooling!r}")

    @classmethod
    def of(
        cls,
        network: Network,
        position: Position = "before-skip",
        layers: Callable[[str], bool] = lambda _name: True,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        pooling: Pooling = "flatten",
        control: Control = "",
    ) -> FeatureExtractor:
        """A network's mixing blocks, those that `layers` keeps by their names.

        Raises:
            NothingToAnalyseError: no block is kept.
        """
        paths = {name: path for name, path in tap_paths(network, position).items() if layers(name)}
        if not paths:
            some = closest_names((tap.name for tap in network.taps), layers)
            raise NothingToAnalyseError(f"{network.label}: no block left to analyse; blocks are {some}")
        module = network.module()
        if device != "cpu" or dtype is not None:
            module = copy.deepcopy(module).to(device, dtype)
        return cls(
            network.label,
            module,
            paths,
            {tap.name: tap.role for tap in network.taps},
            network.config.input_shape,
            f"block outputs {position.replace('-', ' ')}",
            pooling,
            network.config,
            network.provenance.training.get("seed"),
            network.trained,
            control,
            network.density,
        )

    @classmethod
    def module_of(
        cls, label: str, module: nn.Module, patterns: Sequence[str] = (), pooling: Pooling = "flatten"
    ) -> FeatureExtractor:
        """Any module, with taps at the submodules that match patterns; at all that have no parts by default.

        Raises:
            UsageError: no submodule matches.
        """
        return cls(label, module, module_paths(module, patterns), pooling=pooling)

    @property
    def description(self) -> str:
        """Which tensors are compared, and what of them is kept."""
        return f"{self.features}, {POOLINGS[self.pooling]}"

    @property
    def in_parts(self) -> str:
        """What is to be said of batches that didn't fit into memory as a whole; nothing where all did."""
        if not self.at_a_time:
            return ""
        count, size = len(self.at_a_time), min(self.at_a_time.values())
        return (
            f"{self.label}: {count} batches needed more memory than there is and ran in parts of {size} or more "
            "images, which gives the same features; a smaller --batch-size is faster"
        )

    def observe(self, raw: RawBatch, make: Callable[[Tensor], Tensor | None]) -> Observation:
        """Run on one batch and make something of every layer's features as soon as they are there.

        Args:
            raw: the batch.
            make: from features of shape (n, d); None where they aren't finite.

        Raises:
            UsageError: a tap gives no row of features for each example, or none of the modules ever ran.
            DataError: the module fails on the batch.
        """
        batch = raw.at(self.input_shape)
        values: dict[Call, Tensor | None] = {}
        sizes: dict[Call, int] = {}
        reasons: dict[Call, str] = {}

        def receive(call: Call, features: Tensor) -> None:
            try:
                values[call] = make(features)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                message = f"{self.label}: out of memory for the Gram matrix of {call.label}; use a smaller --batch-size"
                raise DataError(message) from error
            sizes[call] = features.shape[1]
            if values[call] is None:
                reasons[call] = why_not_finite(features, raw.first)

        def anew(call: Call, features: Tensor) -> None:
            # before the memory was too small some layers may have been there
            if call not in values:
                receive(call, features)

        if not self._fits(raw) or (aliases := self._whole(raw, batch, receive)) is None:
            aliases = self._in_parts(raw, batch, anew)
        repeated = {call.label for call in [*values, *aliases] if call.run > 0}

        def name(call: Call) -> str:
            return f"{call.label}#{call.run}" if call.label in repeated else call.label

        layers = []
        for call in values:
            others = tuple(name(other) for other, same in aliases.items() if same == call)
            layers.append(Layer(name(call), self.roles.get(call.label, ""), sizes[call], others))
        idle = self.paths.keys() - {call.label for call in [*values, *aliases]}
        if not layers:
            raise UsageError(f"{self.label}: none of the modules {', '.join(sorted(idle)[:4])} ever ran")
        undefined = {position: reasons[call] for position, call in enumerate(values) if call in reasons}
        for label in self.paths:
            if label in idle:
                undefined[len(layers)] = "never ran"
                layers.append(Layer(label, self.roles.get(label, ""), 0))
        return Observation(tuple(layers), (*values.values(), *[None] * len(idle)), undefined)

    def _fits(self, raw: RawBatch) -> bool:
        return not self.at_a_time or raw.examples <= min(self.at_a_time.values())

    def _whole(
        self, raw: RawBatch, batch: Batch, receive: Callable[[Call, Tensor], None]
    ) -> Mapping[Call, Call] | None:
        """Run a batch; None where the memory is too small for that."""
        with self._telling(raw, batch):
            try:
                with capturing(self.module, self.paths, receive, pooling=self.pooling, batch=batch) as aliases:
                    run(self.module, batch)
                return aliases
            except Exception as error:
                if not out_of_memory(error):
                    raise
        # the error's frames held the tensors of the failed run
        torch.cuda.empty_cache()
        return None

    def _in_parts(self, raw: RawBatch, batch: Batch, receive: Callable[[Call, Tensor], None]) -> Mapping[Call, Call]:
        size = min(self.at_a_time.values(), default=raw.examples // 2)
        with self._telling(raw, batch):
            try:
                aliases, size = run_in_parts(self.module, self.paths, batch, receive, self.pooling, size)
            except DataError as error:
                raise DataError(f"{self.label}: batch {raw.index}: {error}") from error
        self.at_a_time[raw.index] = size
        return aliases

    @contextlib.contextmanager
    def _telling(self, raw: RawBatch, batch: Batch) -> Iterator[None]:
        try:
            yield
        except MixanalysisError:
            raise
        except Exception as error:  # the user's own code may raise anything
            reason = (str(error).splitlines() or [""])[0]
            shape = f" of shape {_shape(batch)}" if isinstance(batch, Tensor) else ""
            message = f"{self.label}: fails on batch {raw.index}{shape}: {type(error).__name__}: {reason}"
            raise DataError(message) from error


def why_not_finite(features: Tensor, first: int) -> str:
    """Why nothing finite can be made of features; `first` is the number of their first example."""
    rows = torch.nonzero(~features.isfinite().all(dim=1)).flatten()
    return f"not finite for image {first + int(rows[0])}" if len(rows) else "too large for float64"


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape))


class Layer(NamedTuple):
    """A layer as it was found in the first batch.

    Attributes:
        name: label of its tap, with # and the number of the run where the module runs several times.
        role: what it mixes, "" where unknown.
        size: features of one example.
        aliases: other taps that gave the very same tensor.
    """

    name: str
    role: str
    size: int
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Observation:
    """One subject's layers for one batch.

    Attributes:
        layers: in the order in which they ran; those that never ran come last.
        values: for each layer, whatever was made of its features; None where a reason is given.
        reasons: for a layer's position, why it has no similarity.
    """

    layers: tuple[Layer, ...]
    values: tuple[Tensor | None, ...]
    reasons: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class RawBatch:
    """A batch of the data, before a network's own image size.

    Attributes:
        index: its number, from 0.
        first: number of its first example.
        examples: how many it has.
        content: images of a data set, or a batch as it was given.
    """

    index: int
    first: int
    examples: int
    content: Dataset | Batch

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over dtypes, shapes and values of what is called with, 32 bytes."""
        content = self.content.images if isinstance(self.content, Dataset) else self.content
        found = hashlib.sha256()
        for tensor in tensors(content[0] if isinstance(content, list | tuple) else content):
            found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        return found.digest()

    def at(self, shape: Shape | None) -> Batch:
        """The batch as a network of that input shape takes it; None gives it as it is."""
        if not isinstance(self.content, Dataset):
            return self.content
        return self.content.images if shape is None else self.content.at(shape).images


def raw_batches(data: Dataset | Sequence[Batch], batch_size: int) -> Iterator[RawBatch]:
    """Batches in order: of `batch_size` images of a data set, or those that a sequence or a loader gives."""
    first = 0
    for index, content in enumerate(_parts(data, batch_size) if isinstance(data, Dataset) else data):
        count = len(content) if isinstance(content, Dataset) else examples(content)
        yield RawBatch(index, first, count, content)
        first += count


def _parts(data: Dataset, size: int) -> Iterator[Dataset]:
    for first in range(0, len(data), size):
        yield replace(data, pixels=data.pixels[first : first + size], labels=None)


def inputs(raw: RawBatch) -> Tensor:
    """The inputs themselves, as features of shape (n, d)."""
    batch = raw.at(None)
    inner = batch[0] if isinstance(batch, Sequence) else batch
    tensors = [inner] if isinstance(inner, Tensor) else [v for v in inner.values() if isinstance(v, Tensor)]
    return pooled(tensors[0], "flatten")
