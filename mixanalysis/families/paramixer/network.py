"""Mixers whose LayerNorm is over both axes, serial or parallel (Karakida, Ota & Taki 2024, `paramixer`).

A parallel block adds token and channel mixing of one normalised input, x + T(LN(x)) + C(LN(x)), so that its effective
hidden layer has the hidden units of both. A symmetric MLP is W^T phi(W z), an asymmetric one W1^T phi(W1 z) +
W2 phi(W1 z). A block can be repeated with the same weights. LayerNorm is outside of the linear form.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from torch import Tensor, nn

from mixanalysis.families.family import Family
from mixanalysis.network.blocks import Axis, BaseBlock, Mlp, Residual, SharedLinear, activate
from mixanalysis.network.config import Gelu
from mixanalysis.network.effective_layers import matrix, shared_layer
from mixanalysis.network.network import ROLES_OF_BASE_BLOCK, MixingLayer, Tap, Weights
from mixanalysis.network.patch_network import PatchNetwork, PatchNetworkConfig
from mixanalysis.operators import Dense, Lift, Operator

Symmetry = Literal["plain", "symmetric", "asymmetric"]


@dataclass(frozen=True)
class ParaMixerConfig(PatchNetworkConfig):
    """Configuration of a Mixer with norms over both axes.

    Attributes:
        token_hidden: hidden size of token mixing, gamma_S S.
        channel_hidden: hidden size of channel mixing, gamma_C C.
        parallel: whether token and channel mixing of a block read the same input.
        mlp: "plain" with two matrices, "symmetric" with one and its transpose, "asymmetric" with a second one added to
            the transpose.
        iterations: how often each block is applied.
        bias: whether a plain MLP has biases.
        norm_eps: epsilon of every LayerNorm.
        gelu: variant of the activation.
    """

    token_hidden: int
    channel_hidden: int
    parallel: bool
    mlp: Symmetry = "plain"
    iterations: int = 1
    bias: bool = False
    norm_eps: float = 1e-6
    gelu: Gelu = "erf"

    def __post_init__(self) -> None:
        """Check the sizes."""
        super().__post_init__()
        if self.bias and self.mlp != "plain":
            msg = f"an MLP with biases is a plain one, not {self.mlp}"
            raise ValueError(msg)

    @property
    def family(self) -> str:
        """The name `paramixer`."""
        return "paramixer"

    def sizes(self, axis: Axis) -> tuple[int, int, int]:
        """Features and hidden units along an axis, and the length of the other."""
        if axis == "token":
            return self.tokens, self.token_hidden, self.channels
        return self.channels, self.channel_hidden, self.tokens


class TiedMlp(nn.Module):
    """(W1^T + W2) phi(W1 x) along an axis; W2 is optional."""

    def __init__(self, fc1: SharedLinear, fc2: SharedLinear | None, kind: Gelu) -> None:
        super().__init__()
        self.fc1, self.fc2, self.gelu = fc1, fc2, kind

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers."""
        hidden = activate(self.fc1(x), self.gelu)
        weight = self.fc1.weight
        y = weight.mT @ hidden if self.fc1.axis == "token" else hidden @ weight
        return y if self.fc2 is None else y + self.fc2(hidden)


class ParallelMlps(nn.Module):
    """The sum of token mixing and channel mixing of the same features."""

    def __init__(self, token: nn.Module, channel: nn.Module) -> None:
        super().__init__()
        self.token, self.channel = token, channel

    def forward(self, x: Tensor) -> Tensor:
        """Mix both."""
        y: Tensor = self.token(x) + self.channel(x)
        return y


def paramixer(config: ParaMixerConfig) -> PatchNetwork:
    """The network; a repeated block is there once for each repetition, with equal weights."""
    blocks = (_block(config) for _ in range(config.depth * config.iterations))
    return PatchNetwork(config, blocks, nn.LayerNorm(config.channels, eps=config.norm_eps))


def _block(config: ParaMixerConfig) -> nn.Module:
    def norm() -> nn.LayerNorm:
        return nn.LayerNorm((config.tokens, config.channels), eps=config.norm_eps)

    token, channel = _mlp(config, "token"), _mlp(config, "channel")
    if config.parallel:
        return Residual(norm(), ParallelMlps(token, channel))
    return BaseBlock(Residual(norm(), token), Residual(norm(), channel))


def _mlp(config: ParaMixerConfig, axis: Axis) -> nn.Module:
    size, hidden, copies = config.sizes(axis)
    fc1 = SharedLinear((size, hidden), copies, axis, "none", bias=config.bias)
    if config.mlp == "symmetric":
        return TiedMlp(fc1, None, config.gelu)
    fc2 = SharedLinear((hidden, size), copies, axis, "none", bias=config.bias)
    if config.mlp == "asymmetric":
        return TiedMlp(fc1, fc2, config.gelu)
    return Mlp(fc1, fc2, config.gelu, output_activation=False)


def mixing_layers(config: ParaMixerConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """The effective layers in forward order, those of a repeated block once.

    The output matrix of a symmetric MLP is the transpose of the input matrix, and is called `fc1.T`; that of an
    asymmetric one is W1^T + W2.

    Returns:
        Four layers of a block, two to an axis.
    """
    taps_of_block = 1 if config.parallel else 2
    layers: list[MixingLayer] = []
    for block, tap in enumerate(taps(config)):
        if block // taps_of_block % config.iterations:
            continue
        for axis in ROLES_OF_BASE_BLOCK:
            if config.parallel:
                layers += _layers(config, weights, f"{tap.before}.{axis}", block, axis)
            elif axis == tap.role:
                layers += _layers(config, weights, tap.before, block, axis)
    return tuple(layers)


def _layers(config: ParaMixerConfig, weights: Weights, path: str, block: int, axis: Axis) -> Iterator[MixingLayer]:
    copies = config.sizes(axis)[2]
    fc1 = shared_layer(weights, f"{path}.fc1", block=block, axis=axis, copies=copies)
    yield fc1
    if config.mlp == "plain":
        yield shared_layer(weights, f"{path}.fc2", block=block, axis=axis, copies=copies)
        return
    symmetric = config.mlp == "symmetric"
    rows, columns = fc1.shape
    yield replace(
        fc1,
        name=f"{path}.fc1.T" if symmetric else f"{path}.fc2",
        stage="out",
        shape=(columns, rows),
        connections=fc1.connections if symmetric else rows * columns // copies,
        declared_variance=None,
        build=partial(_transposed if symmetric else _asymmetric, weights, path, axis, copies),
    )


def _transposed(weights: Weights, path: str, axis: Axis, copies: int) -> Operator:
    return Lift(matrix(weights, f"{path}.fc1.weight").T, copies, "left" if axis == "token" else "right")


def _asymmetric(weights: Weights, path: str, axis: Axis, copies: int) -> Operator:
    first, second = (weights.tensor(f"{path}.{fc}.weight") for fc in ("fc1", "fc2"))
    return Lift(Dense(first.mT + second), copies, "left" if axis == "token" else "right")


def taps(config: ParaMixerConfig) -> tuple[Tap, ...]:
    """The mixing blocks in forward order, every repetition for itself; a parallel one mixes both axes."""
    blocks = []
    for index in range(config.depth * config.iterations):
        block, repetition = divmod(index, config.iterations)
        name = f"{block}.{repetition}" if config.iterations > 1 else f"{block}"
        path = f"blocks.{index}"
        if config.parallel:
            blocks.append(Tap(name, "dense", f"{path}.mlp", path))
        else:
            blocks += [
                Tap(f"{name}.{role}", role, f"{path}.{role}.mlp", f"{path}.{role}") for role in ROLES_OF_BASE_BLOCK
            ]
    return tuple(blocks)


FAMILIES = {"paramixer": Family(ParaMixerConfig, paramixer, mixing_layers, taps)}
