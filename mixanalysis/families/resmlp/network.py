"""ResMLP (Touvron et al. 2021): affine maps for norms and a gain on every branch, so that each layer is linear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mixanalysis.families.family import Family
from mixanalysis.network.blocks import BaseBlock, Mlp, Residual, SharedLinear
from mixanalysis.network.config import Gelu
from mixanalysis.network.effective_layers import along, matrix
from mixanalysis.network.network import MixingLayer, Tap, Weights, base_block_taps
from mixanalysis.network.patch_network import PatchNetwork, PatchNetworkConfig
from mixanalysis.operators import Kronecker, Lift, Masked, Operator, Scaled


@dataclass(frozen=True)
class ResMLPConfig(PatchNetworkConfig):
    """Configuration of a ResMLP; token mixing has one S x S matrix.

    Attributes:
        channel_hidden: hidden size of channel mixing, gamma_C C.
        gelu: variant of the activation.
    """

    channel_hidden: int
    gelu: Gelu = "erf"

    @property
    def family(self) -> str:
        """The name `resmlp`."""
        return "resmlp"


class Affine(nn.Module):
    """alpha x + beta per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        return self.alpha * x + self.beta


class Gain(nn.Module):
    """A branch times a gain per channel (LayerScale)."""

    def __init__(self, branch: nn.Module, channels: int) -> None:
        super().__init__()
        self.branch = branch
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the branch, then the gain."""
        y: Tensor = self.gain * self.branch(x)
        return y


def resmlp(config: ResMLPConfig) -> PatchNetwork:
    """The network."""
    return PatchNetwork(config, (_base_block(config) for _ in range(config.depth)), Affine(config.channels))


def _base_block(config: ResMLPConfig) -> BaseBlock:
    """U = X + g1 (W Aff1(X)), then U + g2 (phi(Aff2(U) V1) V2)."""
    tokens, channels, hidden = config.tokens, config.channels, config.channel_hidden
    token = SharedLinear((tokens, tokens), channels, "token", "none")
    channel = Mlp(
        SharedLinear((channels, hidden), tokens, "channel", "none"),
        SharedLinear((hidden, channels), tokens, "channel", "none"),
        config.gelu,
        output_activation=False,
    )
    return BaseBlock(
        Residual(Affine(channels), Gain(token, channels)), Residual(Affine(channels), Gain(channel, channels))
    )


def mixing_layers(config: ResMLPConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """The effective layers in forward order, with the affine maps and gains beside them folded in.

    On vec(features) token mixing is diag(g1 alpha1) kron W; channel mixing is (V1 diag(alpha2)) kron I, then
    (diag(g2) V2) kron I. So token mixing and the whole linear part of a branch act on the block's own input.

    Returns:
        Three layers of a block: the token mixing and both matrices of the channel mixing.
    """
    copies = {"token": config.channels, "channel": config.tokens}
    return tuple(
        _layer(weights, name, block, tap, copies[tap.role])
        for block, tap in enumerate(taps(config))
        for name in (("branch",) if tap.role == "token" else ("branch.fc1", "branch.fc2"))
    )


def _layer(weights: Weights, part: str, block: int, tap: Tap, copies: int) -> MixingLayer:
    name = f"{tap.before}.{part}"
    out, into = weights.shape(f"{name}.weight")
    build, build_bias = _FOLDED[part]
    return MixingLayer(
        name=name,
        block=block,
        role=tap.role,
        stage="out" if part == "branch.fc2" else "in",
        shape=(out * copies, into * copies),
        connections=weights.connections(f"{name}.weight") * copies,
        declared_variance=None,
        build=partial(build, weights, name, tap, copies),
        build_bias=partial(build_bias, weights, name, tap, copies),
    )


def taps(config: ResMLPConfig) -> tuple[Tap, ...]:
    """The mixing blocks in forward order."""
    return base_block_taps(config.depth)


def _token(weights: Weights, name: str, tap: Tap, channels: int) -> Operator:
    scales = weights.tensor(f"{tap.before}.gain") * weights.tensor(f"{tap.after}.norm.alpha")
    places = torch.arange(channels)
    factor = matrix(weights, f"{name}.weight")
    return Kronecker(Masked(places, places, scales.to(factor.torch_dtype), (channels, channels)), factor)


def _token_bias(weights: Weights, name: str, tap: Tap, _channels: int) -> Tensor:
    """g1 (W beta1 + b), whose columns are stacked: beta1 is one number for a channel's tokens."""
    gain, beta = weights.tensor(f"{tap.before}.gain"), weights.tensor(f"{tap.after}.norm.beta")
    row_sums = weights.tensor(f"{name}.weight").sum(dim=1)
    shifted = torch.outer(beta, row_sums) + weights.tensor(f"{name}.bias")
    return (gain[:, None] * shifted).flatten()


def _expanding(weights: Weights, name: str, tap: Tap, tokens: int) -> Operator:
    factor, alpha = matrix(weights, f"{name}.weight"), weights.tensor(f"{tap.after}.norm.alpha")
    return Lift(Scaled(factor, columns=alpha.to(factor.torch_dtype)), tokens, "right")


def _expanding_bias(weights: Weights, name: str, tap: Tap, tokens: int) -> Tensor:
    shift = weights.tensor(f"{name}.weight") @ weights.tensor(f"{tap.after}.norm.beta")
    return along(shift + weights.tensor(f"{name}.bias"), tokens, "channel")


def _reducing(weights: Weights, name: str, tap: Tap, tokens: int) -> Operator:
    factor, gain = matrix(weights, f"{name}.weight"), weights.tensor(f"{tap.before}.gain")
    return Lift(Scaled(factor, rows=gain.to(factor.torch_dtype)), tokens, "right")


def _reducing_bias(weights: Weights, name: str, tap: Tap, tokens: int) -> Tensor:
    return along(weights.tensor(f"{tap.before}.gain") * weights.tensor(f"{name}.bias"), tokens, "channel")


_FOLDED: dict[str, tuple[Callable[..., Operator], Callable[..., Tensor]]] = {
    "branch": (_token, _token_bias),
    "branch.fc1": (_expanding, _expanding_bias),
    "branch.fc2": (_reducing, _reducing_bias),
}
"""How each layer and its bias are made, by its name within a mixing block."""


FAMILIES = {"resmlp": Family(ResMLPConfig, resmlp, mixing_layers, taps)}
