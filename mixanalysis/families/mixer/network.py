"""MLP-Mixer (Tolstikhin et al. 2021; HK eqs. 1-4) and its randomly permuted variant, the RP-Mixer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from mixanalysis.families.family import Family
from mixanalysis.families.sizes import CHANNELS, Sizes, otherwise
from mixanalysis.network.blocks import (
    Axis,
    BaseBlock,
    Mlp,
    PatchEmbedding,
    Residual,
    SharedLinear,
    classifier,
    token_skip,
)
from mixanalysis.network.config import Gelu, Patches, Permutation, hidden_size, positive
from mixanalysis.network.effective_layers import base_block_layers, shared_layer
from mixanalysis.network.network import ROLES_OF_BASE_BLOCK, MixingLayer, Tap, Weights, base_block_taps
from mixanalysis.network.structured import ALL_DENSE, StructuredLinear, Structures, structured_layer


@dataclass(frozen=True)
class MixerConfig:
    """Configuration of a Mixer.

    Attributes:
        patches: the images and their patches.
        classes: outputs; 0 leaves the pooled features.
        tokens: S; where it differs from the number of embedded tokens S0, the first block maps S0 to S tokens.
        channels: C.
        token_hidden: hidden size of token mixing, gamma_S S.
        channel_hidden: hidden size of channel mixing, gamma_C C.
        depth: base blocks; each has a token-mixing and a channel-mixing block.
        permutation: "random" makes it an RP-Mixer.
        norm_eps: epsilon of every LayerNorm.
        gelu: variant of the activation.
        pooling: "mean" over tokens, "flatten" all S C features, or take the "class-token", before the classifier.
        final_norm: whether a LayerNorm comes before pooling.
        stem_norm: whether a LayerNorm follows the patch embedding.
        class_token: whether a learnt token stands before those of the patches.
        stem_bias: whether the patch embedding has a bias.
        mixing_bias: whether the mixing layers have biases.
        structures: how the mixing layers' matrices are made; all dense by default.
    """

    patches: Patches
    classes: int
    tokens: int
    channels: int
    token_hidden: int
    channel_hidden: int
    depth: int
    permutation: Permutation = "none"
    norm_eps: float = 1e-6
    gelu: Gelu = "erf"
    pooling: Literal["mean", "flatten", "class-token"] = "mean"
    final_norm: bool = True
    stem_norm: bool = False
    class_token: bool = False
    stem_bias: bool = True
    mixing_bias: bool = True
    structures: Structures = ALL_DENSE

    def __post_init__(self) -> None:
        """Check the sizes, and that the options go together."""
        positive(self, "tokens", "channels", "token_hidden", "channel_hidden", "depth")
        if self.pooling == "class-token" and not self.class_token:
            msg = "pooling by the class token needs one"
            raise ValueError(msg)
        if self.structures != ALL_DENSE and (self.permutation != "none" or self.tokens != self.embedded):
            msg = "structured mixing layers go neither with permutations nor with another number of tokens"
            raise ValueError(msg)

    @classmethod
    def of(
        cls,
        patches: Patches,
        classes: int,
        *,
        channels: int,
        depth: int,
        tokens: int | None = None,
        expansion: tuple[float, float] = (2.0, 2.0),
        permutation: Permutation = "none",
    ) -> MixerConfig:
        """A configuration from expansions (gamma_S, gamma_C); `tokens` defaults to the number of patches."""
        tokens = patches.count if tokens is None else tokens
        return cls(
            patches=patches,
            classes=classes,
            tokens=tokens,
            channels=channels,
            token_hidden=hidden_size(expansion[0], tokens),
            channel_hidden=hidden_size(expansion[1], channels),
            depth=depth,
            permutation=permutation,
        )

    @property
    def family(self) -> str:
        """The name `mixer` or `rp-mixer`."""
        return "rp-mixer" if self.permutation == "random" else "mixer"

    @property
    def width(self) -> int:
        """Effective width m = S C."""
        return self.tokens * self.channels

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.patches.input_shape

    @property
    def embedded(self) -> int:
        """Tokens that enter the first block: the patches, and the class token where there is one."""
        return self.patches.count + self.class_token

    def token_sizes(self, index: int) -> tuple[int, int]:
        """Tokens into and out of base block `index`."""
        return (self.embedded if index == 0 else self.tokens), self.tokens


class Mixer(nn.Module):
    """The network; `blocks[i]` is a base block with the mixing blocks `token` and `channel`."""

    def __init__(self, config: MixerConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = PatchEmbedding(
            config.patches, config.channels, norm=config.stem_norm, eps=config.norm_eps, bias=config.stem_bias
        )
        if config.class_token:
            self.class_token = nn.Parameter(torch.randn(1, 1, config.channels))
        self.blocks = nn.Sequential(*(base_block(config, index) for index in range(config.depth)))
        self.norm = _norm(config) if config.final_norm else nn.Identity()
        features = config.width if config.pooling == "flatten" else config.channels
        self.head = classifier(features, config.classes)

    def embed(self, images: Tensor) -> Tensor:
        """The tokens that enter the first block, shape (B, S0, C)."""
        x: Tensor = self.stem(images)
        return torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1) if self.config.class_token else x

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (B, classes) for images of shape (B, channels, H, W)."""
        x = self.norm(self.blocks(self.embed(images)))
        pooled = {"mean": x.mean(dim=1), "flatten": x.flatten(1), "class-token": x[:, 0]}[self.config.pooling]
        logits: Tensor = self.head(pooled)
        return logits


def base_block(config: MixerConfig, index: int) -> BaseBlock:
    """Base block `index`: U = X + W2 phi(W1 LN(X)), then U + phi(LN(U) W3) W4 (HK 1-4)."""
    into, tokens = config.token_sizes(index)
    channels = config.channels
    carry = token_skip(into, tokens, channels, config.norm_eps)
    token, channel = (
        Mlp(
            _mixing_linear(config, axis, "fc1", (first, hidden)),
            _mixing_linear(config, axis, "fc2", (hidden, last)),
            config.gelu,
            output_activation=False,
        )
        for axis, (first, hidden, last) in _sizes(config, into).items()
    )
    return BaseBlock(Residual(_norm(config), token, carry), Residual(_norm(config), channel))


def _sizes(config: MixerConfig, into: int) -> dict[Axis, tuple[int, int, int]]:
    """Features in, hidden and out of each mixing block of a base block that takes `into` tokens."""
    return {
        "token": (into, config.token_hidden, config.tokens),
        "channel": (config.channels, config.channel_hidden, config.channels),
    }


def _copies(config: MixerConfig) -> dict[Axis, int]:
    return {"token": config.channels, "channel": config.tokens}


def _mixing_linear(config: MixerConfig, axis: Axis, name: str, size: tuple[int, int]) -> nn.Module:
    structure = config.structures.of(axis, name)
    if structure.kind != "dense":
        return StructuredLinear(size, axis, structure, bias=config.mixing_bias)
    return SharedLinear(size, _copies(config)[axis], axis, config.permutation, bias=config.mixing_bias)


def _norm(config: MixerConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.channels, eps=config.norm_eps)


def mixing_layers(config: MixerConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """The effective layers in forward order, from a checkpoint under the module's names."""
    if config.structures == ALL_DENSE:
        return base_block_layers(
            weights,
            config.depth,
            (config.tokens, config.channels),
            ("fc1", "fc2"),
            permuted=config.permutation == "random",
            resized=config.embedded != config.tokens,
        )
    copies = _copies(config)
    layers = []
    for block, tap in enumerate(taps(config)):
        axis = ROLES_OF_BASE_BLOCK[block % 2]
        first, hidden, last = _sizes(config, config.tokens)[axis]
        for name, size in (("fc1", (first, hidden)), ("fc2", (hidden, last))):
            path, structure = f"{tap.before}.{name}", config.structures.of(axis, name)
            if structure.kind == "dense":
                layer = shared_layer(weights, path, block=block, axis=axis, copies=copies[axis], permuted=False)
            else:
                layer = structured_layer(weights, path, structure, size, block=block, axis=axis, copies=copies[axis])
            layers.append(layer)
    return tuple(layers)


def taps(config: MixerConfig) -> tuple[Tap, ...]:
    """The mixing blocks in forward order."""
    return base_block_taps(config.depth)


def _configure(permutation: Permutation, patches: Patches, classes: int, sizes: Sizes) -> MixerConfig:
    gamma = otherwise(sizes.expansion, 2.0)
    return MixerConfig.of(
        patches,
        classes,
        channels=otherwise(sizes.channels, CHANNELS),
        depth=otherwise(sizes.depth, 3),
        tokens=sizes.tokens,
        expansion=(otherwise(sizes.expansion_token, gamma), otherwise(sizes.expansion_channel, gamma)),
        permutation=permutation,
    )


FAMILIES = {
    "mixer": Family(MixerConfig, Mixer, mixing_layers, taps, partial(_configure, "none")),
    "rp-mixer": Family(MixerConfig, Mixer, mixing_layers, taps, partial(_configure, "random")),
}
