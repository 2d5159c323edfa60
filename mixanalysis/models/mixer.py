"""MLP-Mixer (Tolstikhin et al. 2021; HK eqs. 1-4) and its randomly permuted variant, the RP-Mixer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from mixanalysis.models.blocks import (
    BaseBlock,
    Mlp,
    PatchEmbedding,
    Residual,
    Resize,
    SharedLinear,
    classifier,
)
from mixanalysis.models.config import Gelu, Patches, Permutation, hidden_size, positive
from mixanalysis.models.layers import base_block_layers
from mixanalysis.models.network import MixingLayer, Tap, Weights, base_block_taps


@dataclass(frozen=True)
class MixerConfig:
    """Configuration of a Mixer.

    Attributes:
        patches: the images and their patches.
        classes: outputs; 0 leaves the pooled features.
        tokens: S; where it differs from the number of patches S0, the first block maps S0 to S tokens.
        channels: C.
        token_hidden: hidden size of token mixing, gamma_S S.
        channel_hidden: hidden size of channel mixing, gamma_C C.
        depth: base blocks; each has a token-mixing and a channel-mixing block.
        permutation: "random" makes it an RP-Mixer.
        norm_eps: epsilon of every LayerNorm.
        gelu: variant of the activation.
        pooling: "mean" over tokens, or "flatten" all S C features, before the classifier.
        final_norm: whether a LayerNorm comes before pooling.
        stem_norm: whether a LayerNorm follows the patch embedding.
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
    pooling: Literal["mean", "flatten"] = "mean"
    final_norm: bool = True
    stem_norm: bool = False

    def __post_init__(self) -> None:
        """Check the sizes."""
        positive(self, "tokens", "channels", "token_hidden", "channel_hidden", "depth")

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

    def token_sizes(self, index: int) -> tuple[int, int]:
        """Tokens into and out of base block `index`."""
        return (self.patches.count if index == 0 else self.tokens), self.tokens


class Mixer(nn.Module):
    """The network; `blocks[i]` is a base block with the mixing blocks `token` and `channel`."""

    def __init__(self, config: MixerConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = PatchEmbedding(config.patches, config.channels, norm=config.stem_norm, eps=config.norm_eps)
        self.blocks = nn.Sequential(*(base_block(config, index) for index in range(config.depth)))
        self.norm = _norm(config) if config.final_norm else nn.Identity()
        features = config.channels if config.pooling == "mean" else config.width
        self.head = classifier(features, config.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (B, classes) for images of shape (B, channels, H, W)."""
        x = self.norm(self.blocks(self.stem(images)))
        logits: Tensor = self.head(x.mean(dim=1) if self.config.pooling == "mean" else x.flatten(1))
        return logits


def base_block(config: MixerConfig, index: int) -> BaseBlock:
    """Base block `index`: U = X + W2 phi(W1 LN(X)), then U + phi(LN(U) W3) W4 (HK 1-4)."""
    into, tokens = config.token_sizes(index)
    channels, kind = config.channels, config.permutation
    carry = None
    if into != tokens:
        carry = Resize(SharedLinear((into, tokens), channels, "token", "none", bias=False), channels, config.norm_eps)
    token = Mlp(
        SharedLinear((into, config.token_hidden), channels, "token", kind),
        SharedLinear((config.token_hidden, tokens), channels, "token", kind),
        config.gelu,
        output_activation=False,
    )
    channel = Mlp(
        SharedLinear((channels, config.channel_hidden), tokens, "channel", kind),
        SharedLinear((config.channel_hidden, channels), tokens, "channel", kind),
        config.gelu,
        output_activation=False,
    )
    return BaseBlock(Residual(_norm(config), token, carry), Residual(_norm(config), channel))


def _norm(config: MixerConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.channels, eps=config.norm_eps)


def mixing_layers(config: MixerConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """The effective layers in forward order, from a checkpoint under the module's names."""
    return base_block_layers(
        weights,
        config.depth,
        (config.tokens, config.channels),
        ("fc1", "fc2"),
        permuted=config.permutation == "random",
        resized=config.patches.count != config.tokens,
    )


def taps(config: MixerConfig) -> tuple[Tap, ...]:
    """The mixing blocks in forward order."""
    return base_block_taps(config.depth)
