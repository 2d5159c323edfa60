"""A family: how its networks are configured, built, and read from their weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from mixanalysis.families.sizes import Sizes
from mixanalysis.network import Config, MixingLayer, Patches, Tap, Weights


@dataclass(frozen=True)
class Family:
    """One name that configurations answer with.

    Attributes:
        config: the frozen dataclass of its configurations.
        module: builds the torch module of a configuration.
        layers: the effective layers, from a configuration and weights under the module's names.
        taps: the mixing blocks of a configuration.
        configure: the configuration from patches, number of classes and sizes; None where a network is only read from
            checkpoints. It raises ValueError where a size is out of range.
    """

    config: type[Any]
    module: Callable[[Any], nn.Module]
    layers: Callable[[Any, Weights], tuple[MixingLayer, ...]]
    taps: Callable[[Any], tuple[Tap, ...]]
    configure: Callable[[Patches, int, Sizes], Config] | None = None
