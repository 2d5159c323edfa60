"""What is compared: a module with the taps whose outputs are its layers' features, observed batch by batch."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mixanalysis.errors import DataError, MixanalysisError, NothingToAnalyseError, UsageError
from mixanalysis.features import (
    POOLINGS,
    Axes,
    Batch,
    Call,
    Pooling,
    Position,
    capturing,
    module_paths,
    run,
    tap_paths,
)
from mixanalysis.network import Network
from mixanalysis.selection import closest_names
from mixanalysis.similarity.sources.batches import RawBatch, Shape
from mixanalysis.similarity.sources.example_axis import example_places
from mixanalysis.similarity.sources.microbatch import out_of_memory, run_in_parts
from mixanalysis.similarity.sources.source import Control, Layer, Observation, why_no_gram


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
        batch_axis: axis of examples in outputs of three or more axes; None to find it by trial runs on a few examples.
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
    batch_axis: int | None = None
    at_a_time: dict[int, int] = field(default_factory=dict, init=False, repr=False)
    _axes: list[Axes] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the pooling.

        Raises:
            UsageError: the pooling is unknown.
        """
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

        Returns:
            The extractor; its module is a copy where device or dtype are given.

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
            batch_axis=0,
        )

    @classmethod
    def module_of(
        cls,
        label: str,
        module: nn.Module,
        patterns: Sequence[str] = (),
        pooling: Pooling = "flatten",
        batch_axis: int | None = None,
    ) -> FeatureExtractor:
        """Any module, with taps at the submodules that match patterns; at all that have no parts by default.

        Patterns that match nothing are a UsageError.

        Args:
            label: name of the network.
            module: maps a batch to anything.
            patterns: of submodules.
            pooling: what of an example's features is kept.
            batch_axis: axis of examples in outputs of three or more axes; found by trial runs by default.

        Returns:
            The extractor.
        """
        return cls(label, module, module_paths(module, patterns), pooling=pooling, batch_axis=batch_axis)

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

        A module that fails on the batch is a DataError.

        Args:
            raw: the batch.
            make: from features of shape (n, d); None where they aren't finite.

        Returns:
            The layers, and what was made of each.

        Raises:
            UsageError: a tap gives no row of features for each example, or none of the modules ever ran.
        """
        batch = raw.at(self.input_shape)
        axes = self._known_axes(batch)
        refused = axes.refused = {}
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
                reasons[call] = why_no_gram(features, raw.first)

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
        if not layers and refused:
            raise UsageError(f"{self.label}: {next(iter(refused.values()))}")
        idle = self.paths.keys() - {call.label for call in [*values, *aliases]}
        if not layers:
            raise UsageError(f"{self.label}: none of the modules {', '.join(sorted(idle)[:4])} ever ran")
        undefined = {position: reasons[call] for position, call in enumerate(values) if call in reasons}
        for label in self.paths:
            if label in idle:
                told = [reason for call, reason in refused.items() if call.label == label]
                undefined[len(layers)] = _status(told[0]) if told else "never ran"
                layers.append(Layer(label, self.roles.get(label, ""), 0))
        return Observation(tuple(layers), (*values.values(), *[None] * len(idle)), undefined)

    def _known_axes(self, batch: Batch) -> Axes:
        """Return where the examples are in the outputs, found with the first batch."""
        if not self._axes:
            places = None if self.batch_axis is not None else example_places(self.module, self.paths, batch)
            sure = self.batch_axis is not None
            self._axes.append(Axes(places or {}, self.batch_axis, {}, sure))
        return self._axes[0]

    def _fits(self, raw: RawBatch) -> bool:
        return not self.at_a_time or raw.examples <= min(self.at_a_time.values())

    def _whole(
        self, raw: RawBatch, batch: Batch, receive: Callable[[Call, Tensor], None]
    ) -> Mapping[Call, Call] | None:
        """Return which calls repeat others once a batch has run; None where the memory is too small for that."""
        with self._telling(raw, batch):
            try:
                options: Any = {"pooling": self.pooling, "batch": batch, "axes": self._known_axes(batch)}
                with capturing(self.module, self.paths, receive, **options) as aliases:
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
                axes = self._known_axes(batch)
                aliases, size = run_in_parts(self.module, self.paths, batch, receive, self.pooling, size, axes)
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


def _status(message: str) -> str:
    """Return the status of a layer whose tap gives no row of features per example: the message's middle."""
    return message.partition(" gives ")[2].partition(";")[0].join(("without a row per image: gives ", ""))


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape))
