"""A network from a checkpoint: family, configuration, mixing layers as operators, and module."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from mixanalysis import representation
from mixanalysis.network.sparse_linear import csr_matrix
from mixanalysis.operators import Dense, Operator, coordinates

Role = Literal["token", "channel", "patch", "gate", "expert", "dense", "skip"]
"""The axis that a layer mixes: tokens, channels, all entries of a patch, everything ("dense"); or what it is for: a
factor that multiplies another branch ("gate"), one of several maps between which a router chooses ("expert"), the
resizing skip path of a first block."""

Stage = Literal["in", "out"]
"""Input side of a block (m to gamma m, or its only layer), or output side (gamma m to m)."""

UNKNOWN = "unknown"
"""Family of a network whose architecture isn't known, so that only its weights can be analysed."""

ROLES_OF_BASE_BLOCK: tuple[Literal["token", "channel"], ...] = ("token", "channel")


class Support(NamedTuple):
    """The connections of a masked weight: row and column indices and values, each of shape (nnz,)."""

    rows: Tensor
    columns: Tensor
    values: Tensor


class Weights(Protocol):
    """Named tensors, read one at a time; a checkpoint is one."""

    def __contains__(self, name: object) -> bool:
        """True where there is a tensor of that name."""

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name; a masked weight comes with zeros off its mask."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the tensor, without reading it."""

    def connections(self, name: str) -> int:
        """Number of weights that the mask keeps (all of them without a mask)."""

    def support(self, name: str) -> Support | None:
        """The connections of a masked weight, or None for a weight without a mask."""


@dataclass(frozen=True, eq=False)
class MixingLayer:
    """One linear map of a block, as the wide matrix that acts on vec(features).

    vec stacks columns (HK): entry (s, c) of S x C features stands at c S + s.

    Attributes:
        name: the layer's path in the module.
        block: index of the mixing block, from 0.
        role: what it mixes.
        stage: whether it leads into the hidden layer (or is the block's only one), or out of it.
        shape: (rows, columns) of the effective matrix.
        connections: non-zero weights of the effective matrix, by structure and mask.
        declared_variance: variance of the null's i.i.d. entries (all cells of the weight, masked ones too)
            at initialisation, or None when the scheme is not known.
        build: reads the weights and makes the operator.
        build_bias: reads the bias and lifts it to shape (rows,); None without a bias.
        build_at: makes the operator at one example, of a layer whose matrix depends on the network's input; None for
            one whose matrix doesn't.
    """

    name: str
    block: int
    role: Role
    stage: Stage
    shape: tuple[int, int]
    connections: int
    declared_variance: float | None
    build: Callable[[], Operator] = field(repr=False)
    build_bias: Callable[[], Tensor | None] = field(repr=False)
    build_at: Callable[[Tensor], Operator] | None = field(default=None, repr=False)

    @property
    def operator(self) -> Operator:
        """The effective weight, read anew at each call so that one layer is in memory at a time."""
        return self.build()

    def at(self, example: Tensor) -> Operator:
        """The effective weight at one example: as a router, a gate or attention sets it there.

        Args:
            example: one input of the network, of its configuration's `input_shape`.

        Returns:
            The operator of `build_at`; the same `operator` for every example where the layer's matrix depends on none.
        """
        return self.build() if self.build_at is None else self.build_at(example)

    @property
    def bias(self) -> Tensor | None:
        """The effective bias on vec(output), shape (rows,), or None."""
        return self.build_bias()

    @property
    def width(self) -> int:
        """The layer's own effective width: the side of its matrix that isn't hidden."""
        return self.shape[1] if self.stage == "in" else self.shape[0]

    @property
    def expansion(self) -> float:
        """Hidden over input size, gamma, in either direction."""
        rows, columns = self.shape
        return rows / columns if self.stage == "in" else columns / rows

    @property
    def density(self) -> float:
        """Share of cells that are connections, p."""
        return self.connections / (self.shape[0] * self.shape[1])


@dataclass(frozen=True)
class Tap:
    """Where a mixing block's features are read.

    Attributes:
        name: label of the block, unique in its network.
        role: what the block mixes.
        before: path of the module whose output is the block's output just before the skip is added.
        after: path of the module whose output is the block's output after it.
    """

    name: str
    role: Role
    before: str
    after: str


class Assumed(NamedTuple):
    """A value that tensors don't tell, and who said it: the layout, by default, the file's record, or the user."""

    value: Any
    source: Literal["layout", "file", "user"]


@dataclass(frozen=True)
class Provenance:
    """Where a network came from.

    Attributes:
        path: the file.
        format: its container, such as "safetensors".
        wrapper: what stood around the weights, such as "model_state_dict", or "none".
        layout: whose names the tensors have.
        unused: tensors that the layout doesn't use.
        training: the training record that the file carries.
        assumed: what was taken for granted because tensors don't tell it, by name.
    """

    path: Path
    format: str
    wrapper: str
    layout: str
    unused: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    assumed: Mapping[str, Assumed] = field(default_factory=dict)


class Config(Protocol):
    """Questions that every family's configuration answers."""

    @property
    def family(self) -> str:
        """Name of the family."""

    @property
    def width(self) -> int:
        """Effective width m."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""


@dataclass(frozen=True, eq=False)
class Network:
    """A network as the analyses see it.

    Attributes:
        label: short name, from the file.
        config: the family's configuration.
        layers: effective layers in forward order.
        taps: the mixing blocks in forward order.
        parameters: trainable weights that exist; masked-away cells don't count.
        provenance: where it came from.
        make_module: builds the module with its weights.
        weights: its tensors under the module's names; None where its architecture isn't known.
    """

    label: str
    config: Config
    layers: tuple[MixingLayer, ...]
    taps: tuple[Tap, ...]
    parameters: int
    provenance: Provenance
    make_module: Callable[[], nn.Module] = field(repr=False)
    weights: Weights | None = field(default=None, repr=False)

    @property
    def family(self) -> str:
        """Name of the family."""
        return self.config.family

    def __repr__(self) -> str:
        if self.family == UNKNOWN:
            return f"<Network {self.label}: unknown architecture, {len(self.layers)} matrices>"
        sizes = f"m = {self.width}, p = {self.density:.4g}, {len(self.layers)} layers in {len(self.taps)} blocks"
        return f"<Network {self.label}: {self.family}, {sizes}>"

    def _repr_html_(self) -> str:
        lines: list[tuple[str, object]] = [("file", self.provenance.path), ("family", self.family)]
        if self.family != UNKNOWN:
            lines += [
                ("width", f"m = {self.width}"),
                ("density", f"p = {self.density:.4g}"),
                ("expansion", f"γ = {self.expansion:.4g}"),
                ("connections", f"Ω = {self.omega:,.6g}"),
            ]
        for layer in self.layers[: representation.ROWS]:
            lines.append((layer.name, f"{layer.shape[0]} x {layer.shape[1]}, p = {layer.density:.4g}"))
        more = [f"{len(self.layers)} layers in all"] * (len(self.layers) > representation.ROWS)
        return representation.facts(self.label, lines) + representation.notes(more)

    @cached_property
    def _module(self) -> nn.Module:
        return self.make_module().eval()

    def module(self) -> nn.Module:
        """The network as a torch module in eval mode, built once, weights in the checkpoint's dtype."""
        return self._module

    @property
    def trained(self) -> bool | None:
        """True where the training record tells of at least one epoch that was done; None without a record."""
        record = self.provenance.training
        epochs = record.get("epochs_done", record.get("epochs"))
        return None if epochs is None else epochs > 0

    @property
    def mixing_layers(self) -> tuple[MixingLayer, ...]:
        """The layers that count for Omega and p: all but the resizing skip."""
        return tuple(layer for layer in self.layers if layer.role != "skip")

    @property
    def width(self) -> int:
        """Effective width m."""
        return self.config.width

    @property
    def density(self) -> float:
        """Mean density p of the mixing layers; (1/S + 1/C)/2 for a Mixer."""
        layers = self.mixing_layers
        return sum(layer.density for layer in layers) / len(layers)

    @property
    def omega(self) -> float:
        """Average number of connections of a mixing layer, Omega."""
        layers = self.mixing_layers
        return sum(layer.connections for layer in layers) / len(layers)

    @property
    def expansion(self) -> float:
        """The gamma for which Omega = p gamma m^2 holds: the common expansion where the layers share one."""
        return self.omega / (self.density * self.width**2) if self.omega else math.nan

    def expansions(self) -> dict[Role, float]:
        """Expansion of each role's layers in the last block that has it."""
        return {layer.role: layer.expansion for layer in self.mixing_layers}


def block_taps(depth: int, role: Role) -> tuple[Tap, ...]:
    """Taps of `depth` residual blocks that all have the same role."""
    return tuple(Tap(f"{index}", role, f"blocks.{index}.mlp", f"blocks.{index}") for index in range(depth))


def base_block_taps(depth: int) -> tuple[Tap, ...]:
    """Taps of `depth` base blocks, each with the mixing blocks `token` and `channel`."""
    return tuple(
        Tap(f"{index}.{role}", role, f"blocks.{index}.{role}.mlp", f"blocks.{index}.{role}")
        for index in range(depth)
        for role in ROLES_OF_BASE_BLOCK
    )


def load_weights(module: nn.Module, weights: Weights) -> nn.Module:
    """Give a module its weights; masks come from the weights' supports, the floating-point dtype from the file.

    Args:
        module: built on the meta device with the right configuration.
        weights: tensors under the module's own names.

    Returns:
        The same module.
    """
    state: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        if value.layout == torch.sparse_csr:
            state[name] = _connections(weights, name)
        elif name.endswith(".mask"):
            mask = torch.zeros(value.shape, dtype=torch.bool)
            support = weights.support(name.removesuffix("mask") + "weight")
            if support is None:
                mask.fill_(True)
            else:
                mask[support.rows, support.columns] = True
            state[name] = mask
        else:
            state[name] = weights.tensor(name)
    # weights of several precisions run in the one that holds them all
    dtypes = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
    dtype = functools.reduce(torch.promote_types, dtypes)
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    module.load_state_dict(state, assign=True)
    return module


def _connections(weights: Weights, name: str) -> Tensor:
    """A matrix as a CSR tensor; all of its cells where it has no mask."""
    height, width = weights.shape(name)
    rows, columns, values = weights.support(name) or coordinates(Dense(weights.tensor(name)))
    return csr_matrix(rows, columns, values, (height, width))
