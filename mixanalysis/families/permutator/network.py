"""Permutator (Hou et al. 2021) as lucidrains has it: mixing along height and width with segments of the channels.

The first half of a block is x + P(H(z) + W(z) + C(z)), z = LN(x), without an activation: H maps the rows and the s
channels of a segment of each column and segment, W the columns and the s channels of each row and segment, C and P all
channels of a token. On vec(features) H and W are lifts beside a permutation, of density s/(W C) and s/(H C), C and P
right lifts of density 1/S. The sum of the branches is not a layer of its own. LayerNorm is outside of the linear form.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from mixanalysis.families.family import Family
from mixanalysis.network.blocks import BaseBlock, Mlp, Residual, SharedLinear
from mixanalysis.network.config import Gelu
from mixanalysis.network.effective_layers import along, matrix, shared_layer
from mixanalysis.network.network import MixingLayer, Tap, Weights, base_block_taps
from mixanalysis.network.patch_network import PatchNetwork, PatchNetworkConfig
from mixanalysis.operators import Lift, Operator, Permuted

Direction = Literal["height", "width"]


@dataclass(frozen=True)
class PermutatorConfig(PatchNetworkConfig):
    """Configuration of a Permutator.

    Attributes:
        channel_hidden: hidden size of channel mixing.
        segments: s, the channels that are mixed together with the height or width; they divide C.
        norm_eps: epsilon of every LayerNorm.
        gelu: variant of the activation.
    """

    channel_hidden: int
    segments: int
    norm_eps: float = 1e-5
    gelu: Gelu = "erf"

    def __post_init__(self) -> None:
        """Check the sizes."""
        super().__post_init__()
        if self.channels % self.segments:
            msg = f"segments of {self.segments} channels don't divide {self.channels} of them"
            raise ValueError(msg)

    @property
    def family(self) -> str:
        """The name `permutator`."""
        return "permutator"

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.patches.height // self.patches.size, self.patches.width // self.patches.size

    def mixed(self, direction: Direction) -> int:
        """Features that are mixed together in a direction: its length times s."""
        return self.grid[0 if direction == "height" else 1] * self.segments


class SegmentLinear(nn.Module):
    """A linear map of (height or width) x s features, for each line and segment of channels."""

    def __init__(self, config: PermutatorConfig, direction: Direction) -> None:
        super().__init__()
        self.grid, self.segments, self.direction = config.grid, config.segments, direction
        self.linear = nn.Linear(config.mixed(direction), config.mixed(direction))

    def forward(self, x: Tensor) -> Tensor:
        """Mix (B, S, C) features, in which channel c s + i is the i-th of segment c."""
        axes = x.unflatten(1, self.grid).unflatten(-1, (-1, self.segments))
        # (B, other line, segment, line, i)
        order = (0, 2, 3, 1, 4) if self.direction == "height" else (0, 1, 3, 2, 4)
        lines = axes.permute(order)
        mixed = self.linear(lines.flatten(-2)).view(lines.shape)
        back: tuple[int, ...] = (0, 3, 1, 2, 4) if self.direction == "height" else (0, 1, 3, 2, 4)
        y: Tensor = mixed.permute(back).reshape(x.shape)
        return y


class PermuteMixing(nn.Module):
    """proj(height(z) + width(z) + channel(z))."""

    def __init__(self, config: PermutatorConfig) -> None:
        super().__init__()
        size = (config.channels, config.channels)
        self.height, self.width = SegmentLinear(config, "height"), SegmentLinear(config, "width")
        self.channel = SharedLinear(size, config.tokens, "channel", "none")
        self.proj = SharedLinear(size, config.tokens, "channel", "none")

    def forward(self, z: Tensor) -> Tensor:
        """Add the branches and map their sum."""
        y: Tensor = self.proj(self.height(z) + self.width(z) + self.channel(z))
        return y


def permutator(config: PermutatorConfig) -> PatchNetwork:
    """The network."""

    def norm() -> nn.LayerNorm:
        return nn.LayerNorm(config.channels, eps=config.norm_eps)

    def block() -> BaseBlock:
        sizes = (config.channels, config.channel_hidden), (config.channel_hidden, config.channels)
        fc1, fc2 = (SharedLinear(size, config.tokens, "channel", "none") for size in sizes)
        channel = Mlp(fc1, fc2, config.gelu, output_activation=False)
        return BaseBlock(Residual(norm(), PermuteMixing(config)), Residual(norm(), channel))

    return PatchNetwork(config, (block() for _ in range(config.depth)), norm())


def mixing_layers(config: PermutatorConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """The effective layers in forward order, parallel ones one after another."""
    return tuple(_layers(config, weights))


def _layers(config: PermutatorConfig, weights: Weights) -> Iterator[MixingLayer]:
    for block, tap in enumerate(taps(config)):
        if tap.role == "token":
            yield _segment_layer(config, weights, tap, block, "height")
            yield _segment_layer(config, weights, tap, block, "width")
        for name in ("channel", "proj") if tap.role == "token" else ("fc1", "fc2"):
            yield shared_layer(weights, f"{tap.before}.{name}", block=block, axis="channel", copies=config.tokens)


def _segment_layer(
    config: PermutatorConfig, weights: Weights, tap: Tap, block: int, direction: Direction
) -> MixingLayer:
    name = f"{tap.before}.{direction}.linear"
    copies = config.width // config.mixed(direction)
    return MixingLayer(
        name=name,
        block=block,
        role="token",
        stage="in",
        shape=(config.width, config.width),
        connections=weights.connections(f"{name}.weight") * copies,
        declared_variance=None,
        build=partial(_operator, config, weights, name, direction),
        build_bias=partial(_bias, config, weights, name, direction),
    )


def _operator(config: PermutatorConfig, weights: Weights, name: str, direction: Direction) -> Operator:
    places = _places(config, direction)
    copies = config.width // config.mixed(direction)
    lift = Lift(matrix(weights, f"{name}.weight"), copies, "left")
    return Permuted(lift, rows=torch.argsort(places), columns=places)


def _bias(config: PermutatorConfig, weights: Weights, name: str, direction: Direction) -> Tensor:
    copies = config.width // config.mixed(direction)
    return along(weights.tensor(f"{name}.bias"), copies, "token")[torch.argsort(_places(config, direction))]


def _places(config: PermutatorConfig, direction: Direction) -> Tensor:
    """Where each entry of line after line, as a layer takes them, stands in vec(features)."""
    rows, columns = config.grid
    # vec has channel (segment, i) after channel, and in each the tokens in raster order
    places = torch.arange(config.width).view(-1, config.segments, rows, columns)
    order = (3, 0, 2, 1) if direction == "height" else (2, 0, 3, 1)
    return places.permute(order).flatten()


def taps(config: PermutatorConfig) -> tuple[Tap, ...]:
    """The mixing blocks in forward order; `token` mixes along height, width and channels."""
    return base_block_taps(config.depth)


FAMILIES = {"permutator": Family(PermutatorConfig, permutator, mixing_layers, taps)}
