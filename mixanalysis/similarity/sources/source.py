"""A source of features, and what it gives for a batch: a network's layers, with what was made of their features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from mixanalysis.similarity.estimators.kernels import NO_SCALE, in_range
from mixanalysis.similarity.sources.batches import RawBatch

Control = Literal["", "floor", "ceiling"]
"""What a network stands for: a floor (untrained), a ceiling (other seed), or itself."""


class Layer(NamedTuple):
    """A layer as it is in the first batch.

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
    """A network's layers for one batch.

    Attributes:
        layers: in the order in which they ran; those that never ran come last.
        values: for each layer, whatever was made of its features; None where a reason is given.
        reasons: for a layer's position, why it has no similarity.
    """

    layers: tuple[Layer, ...]
    values: tuple[Tensor | None, ...]
    reasons: Mapping[int, str]


class Source(Protocol):
    """Where a network's features come from, batch by batch: a module that runs, or a file that was kept."""

    @property
    def label(self) -> str:
        """Name of the network."""

    @property
    def description(self) -> str:
        """Which tensors are compared, and what of them is kept."""

    @property
    def config(self) -> object:
        """The network's configuration, None where it isn't known."""

    @property
    def seed(self) -> int | None:
        """Of its training."""

    @property
    def trained(self) -> bool | None:
        """Whether it was trained at all."""

    @property
    def control(self) -> Control:
        """What it stands for."""

    @property
    def density(self) -> float | None:
        """Mean density p of its mixing layers."""

    def observe(self, raw: RawBatch, make: Callable[[Tensor], Tensor | None]) -> Observation:
        """Its layers for one batch, with what `make` made of their features."""


def why_no_gram(features: Tensor, first: int) -> str:
    """Say why there is no Gram matrix of features.

    Args:
        features: shape (n, d).
        first: number of their first example.

    Returns:
        What they are.
    """
    rows = torch.nonzero(~features.isfinite().all(dim=1)).flatten()
    if len(rows):
        return f"not finite for image {first + int(rows[0])}"
    centred = features.double() - features.double().mean(dim=0)
    trace = float(centred.square().sum())
    if in_range(trace):
        return NO_SCALE
    return f"too {'large' if trace > 1 else 'small'} for float64"
