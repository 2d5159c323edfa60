"""NiNformer (Abdullah & Seyam 2024): blocks whose features are multiplied with those of a Mixer inside of them.

A block is x + P(z) * M(z) with z = LN(x) and M a whole base block of a Mixer with norms and skips of its own, then
x + FFN(LN(x)) with the same LN. P and all layers of M and FFN are linear maps with effective operators; the product
P(z) * M(z) is none, and stays outside of the linear form, as do the norms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from mixanalysis.families.family import Family
from mixanalysis.network.blocks import Axis, BaseBlock, Mlp, Residual, SharedLinear
from mixanalysis.network.config import Gelu
from mixanalysis.network.effective_layers import shared_layer
from mixanalysis.network.network import MixingLayer, Role, Tap, Weights
from mixanalysis.network.patch_network import PatchNetwork, PatchNetworkConfig


@dataclass(frozen=True)
class NiNformerConfig(PatchNetworkConfig):
    """Configuration of a NiNformer.

    Attributes:
        token_hidden: hidden size of the inner Mixer's token mixing.
        channel_hidden: hidden size of its channel mixing.
        hidden: hidden size of the outer FFN.
        norm_eps: epsilon of every LayerNorm.
        gelu: variant of the activation.
    """

    token_hidden: int
    channel_hidden: int
    hidden: int
    norm_eps: float = 1e-5
    gelu: Gelu = "erf"

    @property
    def family(self) -> str:
        """The name `ninformer`."""
        return "ninformer"


class MixerGate(nn.Module):
    """proj(z) * mixer(z)."""

    def __init__(self, proj: nn.Module, mixer: nn.Module) -> None:
        super().__init__()
        self.proj, self.mixer = proj, mixer

    def forward(self, z: Tensor) -> Tensor:
        """Multiply both branches."""
        y: Tensor = self.proj(z) * self.mixer(z)
        return y


class NiNBlock(nn.Module):
    """The gated Mixer, then the FFN; their norms have the same weights."""

    def __init__(self, gate: Residual, ffn: Residual) -> None:
        super().__init__()
        self.gate, self.ffn = gate, ffn

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        y: Tensor = self.ffn(self.gate(x))
        return y


def ninformer(config: NiNformerConfig) -> PatchNetwork:
    """The network; no norm comes before pooling."""
    return PatchNetwork(config, (_block(config) for _ in range(config.depth)), nn.Identity())


def _block(config: NiNformerConfig) -> NiNBlock:
    tokens, channels = config.tokens, config.channels

    def residual(branch: nn.Module) -> Residual:
        return Residual(nn.LayerNorm(channels, eps=config.norm_eps), branch)

    def mlp(size: int, hidden: int, copies: int, axis: Axis) -> Mlp:
        fc1, fc2 = (SharedLinear(pair, copies, axis, "none") for pair in ((size, hidden), (hidden, size)))
        return Mlp(fc1, fc2, config.gelu, output_activation=False)

    mixer = BaseBlock(
        residual(mlp(tokens, config.token_hidden, channels, "token")),
        residual(mlp(channels, config.channel_hidden, tokens, "channel")),
    )
    gate = MixerGate(SharedLinear((channels, channels), tokens, "channel", "none"), mixer)
    return NiNBlock(residual(gate), residual(mlp(channels, config.hidden, tokens, "channel")))


def mixing_layers(config: NiNformerConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """The effective layers, in the order of the mixing blocks that they are in."""
    return tuple(_layers(config, weights))


def _layers(config: NiNformerConfig, weights: Weights) -> Iterator[MixingLayer]:
    for block, tap in enumerate(taps(config)):
        role: Role | None = None
        if tap.role == "gate":
            names, role = [f"{tap.before}.proj"], "gate"
        else:
            names = [f"{tap.before}.fc1", f"{tap.before}.fc2"]
        axis: Axis = "token" if tap.role == "token" else "channel"
        copies = config.channels if axis == "token" else config.tokens
        for name in names:
            yield shared_layer(weights, name, block=block, axis=axis, copies=copies, role=role)


def taps(config: NiNformerConfig) -> tuple[Tap, ...]:
    """The mixing blocks, those of the inner Mixer before the gated sum that they are a part of."""
    blocks = []
    for index in range(config.depth):
        block = f"blocks.{index}"
        inner = f"{block}.gate.mlp.mixer"
        blocks += [
            Tap(f"{index}.token", "token", f"{inner}.token.mlp", f"{inner}.token"),
            Tap(f"{index}.channel", "channel", f"{inner}.channel.mlp", f"{inner}.channel"),
            Tap(f"{index}.gate", "gate", f"{block}.gate.mlp", f"{block}.gate"),
            Tap(f"{index}.ffn", "channel", f"{block}.ffn.mlp", f"{block}.ffn"),
        ]
    return tuple(blocks)


FAMILIES = {"ninformer": Family(NiNformerConfig, ninformer, mixing_layers, taps)}
