"""S-Mixer (HK eq. 5): a Mixer whose mixing blocks have one matrix each, and its randomly permuted variant."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from mixanalysis.families.family import Family
from mixanalysis.families.sizes import CHANNELS, Sizes, otherwise
from mixanalysis.network.blocks import Axis, BaseBlock, Mlp, Residual, SharedLinear, token_skip
from mixanalysis.network.config import Gelu, Patches, Permutation, positive
from mixanalysis.network.effective_layers import base_block_layers
from mixanalysis.network.network import MixingLayer, Tap, Weights, base_block_taps
from mixanalysis.network.patch_network import PatchNetwork


@dataclass(frozen=True)
class SMixerConfig:
    """Configuration of an S-Mixer; the expansion is 1.

    Attributes:
        patches: the images and their patches.
        classes: outputs; 0 leaves the pooled features.
        tokens: S; where it differs from the number of patches S0, the first block maps S0 to S tokens.
        channels: C.
        depth: base blocks; each has a token-mixing and a channel-mixing block.
        permutation: "random" makes it an RP S-Mixer.
        norm_eps: epsilon of every LayerNorm.
        gelu: variant of the activation.
        pooling: "mean" over tokens, or "flatten" all S C features, before the classifier.
    """

    patches: Patches
    classes: int
    tokens: int
    channels: int
    depth: int
    permutation: Permutation = "none"
    norm_eps: float = 1e-6
    gelu: Gelu = "erf"
    pooling: Literal["mean", "flatten"] = "mean"

    def __post_init__(self) -> None:
        """Check the sizes."""
        positive(self, "tokens", "channels", "depth")

    @property
    def family(self) -> str:
        """The name `s-mixer` or `rp-s-mixer`."""
        return "rp-s-mixer" if self.permutation == "random" else "s-mixer"

    @property
    def width(self) -> int:
        """Effective width m = S C."""
        return self.tokens * self.channels

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.patches.input_shape


def s_mixer(config: SMixerConfig) -> PatchNetwork:
    """The network: U = X + phi(W LN(X)), then U + phi(LN(U) V) in each base block."""
    blocks = (_base_block(config, index) for index in range(config.depth))
    norm = nn.LayerNorm(config.channels, eps=config.norm_eps)
    return PatchNetwork(config, blocks, norm, flatten=config.pooling == "flatten")


def _base_block(config: SMixerConfig, index: int) -> BaseBlock:
    into = config.patches.count if index == 0 else config.tokens
    tokens, channels, eps = config.tokens, config.channels, config.norm_eps
    carry = token_skip(into, tokens, channels, eps)

    def branch(size: tuple[int, int], copies: int, axis: Axis) -> Mlp:
        layer = SharedLinear(size, copies, axis, config.permutation)
        return Mlp(layer, None, config.gelu, output_activation=False)

    return BaseBlock(
        Residual(nn.LayerNorm(channels, eps=eps), branch((into, tokens), channels, "token"), carry),
        Residual(nn.LayerNorm(channels, eps=eps), branch((channels, channels), tokens, "channel")),
    )


def mixing_layers(config: SMixerConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """The effective layers in forward order, from a checkpoint under the module's names."""
    return base_block_layers(
        weights,
        config.depth,
        (config.tokens, config.channels),
        ("fc1",),
        permuted=config.permutation == "random",
        resized=config.patches.count != config.tokens,
    )


def taps(config: SMixerConfig) -> tuple[Tap, ...]:
    """The mixing blocks in forward order."""
    return base_block_taps(config.depth)


def _configure(permutation: Permutation, patches: Patches, classes: int, sizes: Sizes) -> SMixerConfig:
    return SMixerConfig(
        patches,
        classes,
        tokens=otherwise(sizes.tokens, patches.count),
        channels=otherwise(sizes.channels, CHANNELS),
        depth=otherwise(sizes.depth, 3),
        permutation=permutation,
    )


FAMILIES = {
    "s-mixer": Family(SMixerConfig, s_mixer, mixing_layers, taps, partial(_configure, "none")),
    "rp-s-mixer": Family(SMixerConfig, s_mixer, mixing_layers, taps, partial(_configure, "random")),
}
