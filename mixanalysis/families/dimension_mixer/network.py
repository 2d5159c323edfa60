"""Mixers of the Dimension Mixer (Sapkota & Bhattarai 2023) on patches: dense, Monarch or butterfly mixing of each axis.

The classifier takes all features, and no norm comes before it. Each factor of a sparse layer is an effective layer of
its own: a block-diagonal matrix on b^2 features with blocks of b, of density 1/b along the axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from mixanalysis.families.dimension_mixer.block_sparse import ButterflyMlp, MonarchMlp, butterfly_layers, monarch_layers
from mixanalysis.families.family import Family
from mixanalysis.network.blocks import Axis, BaseBlock, Mlp, Residual, SharedLinear
from mixanalysis.network.effective_layers import shared_layer
from mixanalysis.network.network import ROLES_OF_BASE_BLOCK, MixingLayer, Tap, Weights, base_block_taps
from mixanalysis.network.patch_network import PatchNetwork, PatchNetworkConfig

Kind = Literal["dense", "monarch", "butterfly"]


@dataclass(frozen=True)
class DimensionMixerConfig(PatchNetworkConfig):
    """Configuration of a Dimension Mixer on patches.

    Attributes:
        token: how tokens are mixed: by a dense MLP, a `MonarchMlp` or a `ButterflyMlp`.
        channel: how channels are mixed.
        expansion: hidden features over features, h.
        norm_eps: epsilon of every LayerNorm.
    """

    token: Kind
    channel: Kind
    expansion: int
    norm_eps: float = 1e-5

    @property
    def family(self) -> str:
        """The name `dimension-mixer`."""
        return "dimension-mixer"


def dimension_mixer(config: DimensionMixerConfig) -> PatchNetwork:
    """The network."""

    def residual(kind: Kind, size: int, copies: int, axis: Axis) -> Residual:
        norm = nn.LayerNorm(config.channels, eps=config.norm_eps)
        return Residual(norm, _mlp(kind, size, config.expansion, copies, axis))

    blocks = (
        BaseBlock(
            residual(config.token, config.tokens, config.channels, "token"),
            residual(config.channel, config.channels, config.tokens, "channel"),
        )
        for _ in range(config.depth)
    )
    return PatchNetwork(config, blocks, nn.Identity(), flatten=True)


def _mlp(kind: Kind, size: int, expansion: int, copies: int, axis: Axis) -> nn.Module:
    if kind == "monarch":
        return MonarchMlp(size, expansion, axis)
    if kind == "butterfly":
        return ButterflyMlp(size, expansion, axis)
    fc1 = SharedLinear((size, size * expansion), copies, axis, "none")
    return Mlp(fc1, SharedLinear((size * expansion, size), copies, axis, "none"), "erf", output_activation=False)


def mixing_layers(config: DimensionMixerConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """The effective layers in forward order, each factor for itself."""
    kinds: dict[str, Kind] = {"token": config.token, "channel": config.channel}
    copies = {"token": config.channels, "channel": config.tokens}
    layers: list[MixingLayer] = []
    for block, tap in enumerate(taps(config)):
        for axis in ROLES_OF_BASE_BLOCK:
            if axis != tap.role:
                continue
            if kinds[axis] == "dense":
                layers += [
                    shared_layer(weights, f"{tap.before}.{fc}", block=block, axis=axis, copies=copies[axis])
                    for fc in ("fc1", "fc2")
                ]
            else:
                make = monarch_layers if kinds[axis] == "monarch" else butterfly_layers
                layers += make(weights, tap.before, block=block, axis=axis, copies=copies[axis])
    return tuple(layers)


def taps(config: DimensionMixerConfig) -> tuple[Tap, ...]:
    """The mixing blocks in forward order."""
    return base_block_taps(config.depth)


FAMILIES = {"dimension-mixer": Family(DimensionMixerConfig, dimension_mixer, mixing_layers, taps)}
