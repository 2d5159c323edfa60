"""gMixer (timm's `gmixer_*`): a Mixer whose mixing blocks multiply a value with a SiLU gate.

A mixing block is fc2(value(x) * SiLU(gate(x))): value, gate and fc2 are linear maps with effective operators; their
product is none, and stays outside of the linear form, as do the norms.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from mixanalysis.families.family import Family
from mixanalysis.network.blocks import Axis, BaseBlock, Residual, SharedLinear
from mixanalysis.network.effective_layers import shared_layer
from mixanalysis.network.network import ROLES_OF_BASE_BLOCK, MixingLayer, Tap, Weights, base_block_taps
from mixanalysis.network.patch_network import PatchNetwork, PatchNetworkConfig


@dataclass(frozen=True)
class GMixerConfig(PatchNetworkConfig):
    """Configuration of a gMixer.

    Attributes:
        token_hidden: hidden size of token mixing, gamma_S S, once for the value and once for the gate.
        channel_hidden: hidden size of channel mixing, gamma_C C, once for each.
        norm_eps: epsilon of every LayerNorm.
        stem_norm: whether a LayerNorm follows the patch embedding.
    """

    token_hidden: int
    channel_hidden: int
    norm_eps: float = 1e-6
    stem_norm: bool = False

    @property
    def family(self) -> str:
        """The name `gmixer`."""
        return "gmixer"


class GatedMlp(nn.Module):
    """fc2(value(x) * SiLU(gate(x))) along an axis."""

    def __init__(self, size: int, hidden: int, copies: int, axis: Axis) -> None:
        super().__init__()
        self.value = SharedLinear((size, hidden), copies, axis, "none")
        self.gate = SharedLinear((size, hidden), copies, axis, "none")
        self.fc2 = SharedLinear((hidden, size), copies, axis, "none")

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers."""
        y: Tensor = self.fc2(self.value(x) * F.silu(self.gate(x)))
        return y


def gmixer(config: GMixerConfig) -> PatchNetwork:
    """The network."""
    blocks = (_base_block(config) for _ in range(config.depth))
    norm = nn.LayerNorm(config.channels, eps=config.norm_eps)
    return PatchNetwork(config, blocks, norm, stem_norm=config.norm_eps if config.stem_norm else None)


def _base_block(config: GMixerConfig) -> BaseBlock:
    tokens, channels, eps = config.tokens, config.channels, config.norm_eps
    return BaseBlock(
        Residual(nn.LayerNorm(channels, eps=eps), GatedMlp(tokens, config.token_hidden, channels, "token")),
        Residual(nn.LayerNorm(channels, eps=eps), GatedMlp(channels, config.channel_hidden, tokens, "channel")),
    )


def mixing_layers(config: GMixerConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """The effective layers in forward order, from a checkpoint under the module's names."""
    copies: dict[Axis, int] = {"token": config.channels, "channel": config.tokens}
    return tuple(
        shared_layer(
            weights,
            f"{tap.before}.{name}",
            block=block,
            axis=axis,
            copies=copies[axis],
            role="gate" if name == "gate" else None,
        )
        for block, tap in enumerate(taps(config))
        for axis in ROLES_OF_BASE_BLOCK
        if axis == tap.role
        for name in ("value", "gate", "fc2")
    )


def taps(config: GMixerConfig) -> tuple[Tap, ...]:
    """The mixing blocks in forward order."""
    return base_block_taps(config.depth)


FAMILIES = {"gmixer": Family(GMixerConfig, gmixer, mixing_layers, taps)}
