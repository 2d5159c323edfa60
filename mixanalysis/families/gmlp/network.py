"""gMLP (Liu et al. 2021): channel mixing whose hidden features are gated by a token-mixed half of themselves.

A block is x + fc2(u * gate(v)) with u, v the halves of GELU(fc1(LN(x))) and gate(v) = W LN(v) + b along tokens. fc1,
the gate's W and fc2 are linear maps with effective operators; the product u * gate(v) is none, and stays outside of the
linear form, as do the norms.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from mixanalysis.families.family import Family
from mixanalysis.network.blocks import Residual, SharedLinear, activate
from mixanalysis.network.config import Gelu
from mixanalysis.network.effective_layers import shared_layer
from mixanalysis.network.network import MixingLayer, Tap, Weights, block_taps
from mixanalysis.network.patch_network import PatchNetwork, PatchNetworkConfig


@dataclass(frozen=True)
class GMLPConfig(PatchNetworkConfig):
    """Configuration of a gMLP.

    Attributes:
        hidden: features that fc1 gives, both halves together; even.
        norm_eps: epsilon of every LayerNorm but the gates'.
        gate_eps: epsilon of the gates' LayerNorm.
        gelu: variant of the activation.
        stem_norm: whether a LayerNorm follows the patch embedding.
    """

    hidden: int
    norm_eps: float = 1e-6
    gate_eps: float = 1e-5
    gelu: Gelu = "erf"
    stem_norm: bool = False

    def __post_init__(self) -> None:
        """Check the sizes."""
        super().__post_init__()
        if self.hidden % 2:
            msg = f"hidden must be even, got {self.hidden}: its halves are multiplied"
            raise ValueError(msg)

    @property
    def family(self) -> str:
        """The name `gmlp`."""
        return "gmlp"


class SpatialGate(nn.Module):
    """W LN(v) + b, mixing tokens."""

    def __init__(self, tokens: int, features: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features, eps=eps)
        self.proj = SharedLinear((tokens, tokens), features, "token", "none")

    def forward(self, v: Tensor) -> Tensor:
        """Normalise and mix."""
        mixed: Tensor = self.proj(self.norm(v))
        return mixed


class GatingMlp(nn.Module):
    """fc2(u * gate(v)), u and v the halves of GELU(fc1(x))."""

    def __init__(self, config: GMLPConfig) -> None:
        super().__init__()
        tokens, channels, half = config.tokens, config.channels, config.hidden // 2
        self.gelu = config.gelu
        self.fc1 = SharedLinear((channels, config.hidden), tokens, "channel", "none")
        self.gate = SpatialGate(tokens, half, config.gate_eps)
        self.fc2 = SharedLinear((half, channels), tokens, "channel", "none")

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers."""
        u, v = activate(self.fc1(x), self.gelu).chunk(2, dim=-1)
        y: Tensor = self.fc2(u * self.gate(v))
        return y


def gmlp(config: GMLPConfig) -> PatchNetwork:
    """The network."""

    def norm() -> nn.LayerNorm:
        return nn.LayerNorm(config.channels, eps=config.norm_eps)

    blocks = (Residual(norm(), GatingMlp(config)) for _ in range(config.depth))
    return PatchNetwork(config, blocks, norm(), stem_norm=config.norm_eps if config.stem_norm else None)


def mixing_layers(config: GMLPConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """The effective layers in forward order; the gate acts on S x hidden/2 features."""
    half = config.hidden // 2
    layers = []
    for block, tap in enumerate(taps(config)):
        layers += [
            shared_layer(weights, f"{tap.before}.fc1", block=block, axis="channel", copies=config.tokens),
            shared_layer(weights, f"{tap.before}.gate.proj", block=block, axis="token", copies=half, role="gate"),
            shared_layer(weights, f"{tap.before}.fc2", block=block, axis="channel", copies=config.tokens),
        ]
    return tuple(layers)


def taps(config: GMLPConfig) -> tuple[Tap, ...]:
    """The blocks in forward order; each mixes channels, and tokens in its gate."""
    return block_taps(config.depth, "gate")


FAMILIES = {"gmlp": Family(GMLPConfig, gmlp, mixing_layers, taps)}
