"""Features of all layers for all examples: in memory, or beyond a budget in memory-mapped files."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mixanalysis.datasets import Dataset
from mixanalysis.errors import DataError, UsageError
from mixanalysis.features import Batch
from mixanalysis.similarity.estimators.kernels import SMALLEST_BATCH
from mixanalysis.similarity.estimators.observed_layers import INPUT, checked
from mixanalysis.similarity.estimators.plan import Plan
from mixanalysis.similarity.progress import Progress
from mixanalysis.similarity.sources.batches import RawBatch, batches_of, inputs, raw_batches
from mixanalysis.similarity.sources.source import Layer, Source

_ROWS = 1024
"""Rows that are centred at a time, so that files needn't fit into memory."""

_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}

_FAR = 30.0
"""An image whose features are so many times farther from the mean than the median image's may pull the mean along."""

_RANGE = 2.0**30
"""Centred features whose largest entry is beyond this, or below its inverse, are scaled by a power of two."""


@dataclass
class Budget:
    """Where arrays go.

    Attributes:
        memory: bytes of arrays in memory; those for which there is no room lie in files.
        folder: for these files, which are never removed here.
        used: bytes of arrays in memory so far.
        room: bytes that are left for files; None before the first.
        files: how many there are.
    """

    memory: int
    folder: Path
    used: int = 0
    room: int | None = None
    files: int = 0

    def array(self, rows: int, like: Tensor) -> Tensor:
        """An empty array with the columns, the dtype and, in memory, the device of another.

        Returns:
            Shape (rows, columns); its content is arbitrary.

        Raises:
            UsageError: there is no room on the disk.
        """
        size = rows * like.shape[1]
        needed = size * like.element_size()
        if self.used + needed <= self.memory:
            self.used += needed
            if like.device.type != "cpu":
                return like.new_empty(rows, like.shape[1])
            # numpy asks for huge pages, which are faster to fill and to read
            return torch.from_numpy(np.empty((rows, like.shape[1]), _NUMPY[like.dtype]))
        if self.room is None:
            self.room = shutil.disk_usage(self.folder).free
        message = (
            f"features of one layer need {needed / 2**30:.1f} GiB, {self.folder.parent} has {self.room / 2**30:.1f}"
            " left; use fewer images or layers, pool over tokens, or set TMPDIR to a larger disk"
        )
        if needed > self.room:
            raise UsageError(message)
        self.room -= needed
        self.files += 1
        path = self.folder / f"{self.files}.features"
        # writing to a mapped file on a disk that is full by then would kill the process
        try:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, needed)
        except OSError:
            raise UsageError(message) from None
        return torch.from_file(str(path), shared=True, size=size, dtype=like.dtype).view(rows, like.shape[1])


@dataclass
class FeatureBuffer:
    """One layer's features, written batch by batch.

    Attributes:
        budget: where the array goes.
        expected: how many rows will come, 0 where that isn't known.
        array: shape (at least the rows written, d); None before the first.
    """

    budget: Budget
    expected: int
    array: Tensor | None = None

    def write(self, first: int, features: Tensor) -> bool:
        """Return whether rows were kept: they must have as many columns as those before."""
        last = first + len(features)
        if self.array is None:
            self.array = self.budget.array(max(last, self.expected), features)
        if self.array.shape[1] != features.shape[1]:
            return False
        if len(self.array) < last:
            longer = self.budget.array(max(last, 2 * len(self.array)), features)
            longer[:first] = self.array[:first]
            self.array = longer
        self.array[first:last] = features
        return True


@dataclass(frozen=True, eq=False)
class FeatureBuffers:
    """What a pass over the data has kept.

    Attributes:
        layers: of each network.
        features: for each layer of all networks, shape (n, d), centred, scaled by a power of two where products would
            leave the range of float32; zeros of shape (n, 1) for layers without features.
        reasons: for a layer's position among all, the batch and why it has no features.
    """

    layers: tuple[tuple[Layer, ...], ...]
    features: tuple[Tensor, ...]
    reasons: Mapping[int, tuple[int, str]]


@dataclass
class _Collector:
    """One network's features."""

    source: Source
    budget: Budget
    expected: int
    kept: list[FeatureBuffer] = field(default_factory=list)

    def sink(self, raw: RawBatch) -> Callable[[Tensor], Tensor | None]:
        """Return a function that keeps each layer's features, in their order, and gives their sum if it is finite."""
        position = -1

        def receive(features: Tensor) -> Tensor | None:
            nonlocal position
            position += 1
            if position == len(self.kept):
                self.kept.append(FeatureBuffer(self.budget, self.expected))
            if not self.kept[position].write(raw.first, features):
                known = self.kept[position].array
                message = (
                    f"{self.source.label}: features of layer {position} have size {features.shape[1]} in batch "
                    f"{raw.index}, {0 if known is None else known.shape[1]} before; pool them over tokens, or use a "
                    "mini-batch estimator"
                )
                raise DataError(message)
            total = features.sum()
            # the sum of finite features may overflow
            return total if bool(total.isfinite()) or bool(features.isfinite().all()) else None

        return receive


def collect(
    sources: Sequence[Source],
    data: Dataset | Sequence[Batch],
    plan: Plan,
    budget: Budget,
    progress: Progress | None = None,
) -> FeatureBuffers:
    """Run all networks on all batches and keep their features, centred.

    Layers or sizes that change from batch to batch are a DataError, and so are networks without finite features.

    Returns:
        The features of all layers.

    Raises:
        UsageError: there are fewer than four examples, or no room for their features.
    """
    expected = len(data) if isinstance(data, Dataset) else 0
    collectors = [_Collector(source, budget, expected) for source in sources]
    covariate = FeatureBuffer(budget, expected)
    layers: tuple[tuple[Layer, ...], ...] | None = None
    reasons: dict[int, tuple[int, str]] = {}
    examples, total = 0, batches_of(data, plan.batch_size)
    for raw in raw_batches(data, plan.batch_size):
        observations = [each.source.observe(raw, each.sink(raw)) for each in collectors]
        if plan.estimator.covariate:
            covariate.write(raw.first, inputs(raw))
        now, undefined = checked(sources, observations, layers, raw.index)
        layers = layers or now
        reasons = {position: (raw.index, reason) for position, reason in undefined.items()} | reasons
        examples += raw.examples
        if progress is not None:
            progress(raw.index + 1, max(total, raw.index + 1))
    if layers is None or examples < SMALLEST_BATCH:
        raise UsageError(f"HSIC_1 needs at least {SMALLEST_BATCH} images, got {examples}")
    arrays_of_layers: list[Tensor | None] = []
    for part, each in zip(layers, collectors, strict=True):
        # layers that never ran stand last
        arrays = [kept.array for kept in each.kept]
        arrays_of_layers += [*arrays, *[None] * (len(part) - len(arrays))]
    if plan.estimator.covariate:
        layers = (*layers, INPUT)
        arrays_of_layers.append(covariate.array)
    usable = [None if position in reasons else array for position, array in enumerate(arrays_of_layers)]
    like = next(array for array in usable if array is not None)
    features = [like.new_zeros(examples, 1) if array is None else centred(array[:examples]) for array in usable]
    return FeatureBuffers(layers, tuple(features), reasons)


def _shift_(features: Tensor, point: Tensor) -> tuple[float, Tensor]:
    """Return the largest entry and the norms of the rows, float64, once a point is subtracted in place."""
    largest, norms = 0.0, []
    for part in features.split(_ROWS):
        torch.sub(part, point, out=part)
        low, high = part.aminmax()
        largest = max(largest, -float(low), float(high))
        norms.append(torch.linalg.vector_norm(part, dim=1, dtype=torch.float64))
    return largest, torch.cat(norms)


def centred(features: Tensor) -> Tensor:
    """Centre features in place, and bring them into the range where products are exact.

    Args:
        features: shape (n, d), overwritten.

    Returns:
        The features; exact zeros where all examples are equal.
    """
    if all(torch.equal(part, features[:1].expand_as(part)) for part in features.split(_ROWS)):
        return features.zero_()
    mean = features.mean(dim=0)
    if not bool(mean.isfinite().all()):
        # their sum has overflowed
        mean = features.mean(dim=0, dtype=torch.float64).to(features.dtype)
    largest, norms = _shift_(features, mean)
    if float(norms.max()) > max(_FAR, len(features) / 10) * float(norms.median()):
        # the mean lies where a far image pulls it; HSIC is the same about any point, and exact about the others
        near = norms <= 2 * norms.median()
        largest, _ = _shift_(features, features[near].mean(dim=0))
    if largest > 0 and not 1 / _RANGE < largest < _RANGE:
        for part in features.split(_ROWS):
            torch.mul(part, 2.0 ** -math.frexp(largest)[1], out=part)
    return features
