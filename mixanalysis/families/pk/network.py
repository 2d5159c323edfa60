"""The permuted-Kronecker (PK) family (HK Def. 5.1): networks of layers x -> J2 (I kron W) J1 x, J1 and J2 chosen.

Mixer, RP-Mixer, S-Mixer and RP S-Mixer are its members with the permutations of all blocks alike; here each mixing
block has its own (HK Fig. S.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal, cast, get_args

from torch import nn

from mixanalysis.families.family import Family
from mixanalysis.families.sizes import CHANNELS, Sizes, otherwise
from mixanalysis.network.blocks import Axis, BaseBlock, Mlp, Order, Residual, SharedLinear, token_skip
from mixanalysis.network.config import Gelu, Patches, hidden_size, positive
from mixanalysis.network.effective_layers import shared_layer
from mixanalysis.network.network import MixingLayer, Tap, Weights, base_block_taps
from mixanalysis.network.patch_network import PatchNetwork

Kind = Literal["normal", "none", "commutation", "random"]
"""J1 and J2 of a mixing block, on row-major flattened S x C features.

"none": both the identity, as in normal channel mixing; "commutation": Jc and its inverse, as in normal token mixing;
"normal": whichever of them the block of that size has in a Mixer; "random": independent, uniform, frozen.
"""

_NORMAL: dict[Axis, Kind] = {"token": "commutation", "channel": "none"}


@dataclass(frozen=True)
class PKConfig:
    """Configuration of a PK network; base blocks, each with a block of S x S matrices and one of C x C.

    Attributes:
        patches: the images and their patches.
        classes: outputs; 0 leaves the pooled features.
        tokens: S; where it differs from the number of patches S0, the first block maps S0 to S tokens.
        channels: C.
        token_hidden: hidden size of the first block of a pair, gamma_S S; 0 for blocks of one matrix, as in an S-Mixer.
        channel_hidden: hidden size of the second, gamma_C C; 0 if and only if `token_hidden` is.
        depth: base blocks.
        permutations: for each base block, separated by commas and repeated in turn where there are fewer, a `Kind` or
            two of them, KIND/KIND, for its two mixing blocks: "normal" is a Mixer, "random" an RP-Mixer,
            "random,normal,normal" a Mixer of three base blocks of which the first is permuted.
        norm_eps: epsilon of every LayerNorm.
        gelu: variant of the activation.
        pooling: "mean" over tokens, or "flatten" all S C features, before the classifier.
    """

    patches: Patches
    classes: int
    tokens: int
    channels: int
    token_hidden: int
    channel_hidden: int
    depth: int
    permutations: str = "normal"
    norm_eps: float = 1e-6
    gelu: Gelu = "erf"
    pooling: Literal["mean", "flatten"] = "mean"

    def __post_init__(self) -> None:
        """Check sizes and permutations."""
        positive(self, "tokens", "channels", "depth")
        if min(self.token_hidden, self.channel_hidden) < 0 or (self.token_hidden == 0) != (self.channel_hidden == 0):
            msg = (
                "token_hidden and channel_hidden must both be positive, or both 0 for blocks of one matrix, got "
                f"{self.token_hidden} and {self.channel_hidden}"
            )
            raise ValueError(msg)
        given = self.permutations.split(",")
        for part in given:
            kinds = part.split("/")
            if len(kinds) > 2 or not set(kinds) <= set(get_args(Kind)):
                msg = (
                    f"permutations must be {', '.join(get_args(Kind))} or two of them as KIND/KIND, for each base "
                    f"block and separated by commas, got {part!r}"
                )
                raise ValueError(msg)
        if len(given) > self.depth:
            msg = f"permutations are given for {len(given)} base blocks, but there are {self.depth}; see --depth"
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
        expansion: tuple[float, float] | None = (2.0, 2.0),
        permutations: str = "normal",
    ) -> PKConfig:
        """A configuration from expansions (gamma_S, gamma_C), None for blocks of one matrix; S defaults to S0."""
        tokens = patches.count if tokens is None else tokens
        hidden = [0, 0] if expansion is None else [*map(hidden_size, expansion, (tokens, channels))]
        return cls(patches, classes, tokens, channels, hidden[0], hidden[1], depth, permutations)

    @property
    def family(self) -> str:
        """The name `pk-mixer`, or `pk-s-mixer` where blocks have one matrix."""
        return "pk-mixer" if self.token_hidden else "pk-s-mixer"

    @property
    def width(self) -> int:
        """Effective width m = S C."""
        return self.tokens * self.channels

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.patches.input_shape

    def kind(self, block: int) -> Kind:
        """The permutations of mixing block `block` (two to a base block): "none", "commutation" or "random"."""
        given = self.permutations.split(",")
        kinds = given[block // 2 % len(given)].split("/")
        kind = cast("Kind", kinds[block % len(kinds)])
        return _NORMAL[_axis(block)] if kind == "normal" else kind

    def order(self, block: int) -> Order:
        """The permutations of a mixing block as a `SharedLinear` takes them."""
        kind = self.kind(block)
        if kind == "random":
            return "random"
        return "none" if kind == _NORMAL[_axis(block)] else "swapped"

    def sizes(self, block: int) -> tuple[int, ...]:
        """Features along its axis before, within and after mixing block `block`."""
        if _axis(block) == "channel":
            into, hidden, out = self.channels, self.channel_hidden, self.channels
        else:
            into, hidden, out = self.patches.count if block == 0 else self.tokens, self.token_hidden, self.tokens
        return (into, hidden, out) if hidden else (into, out)

    def copies(self, block: int) -> int:
        """Blocks that share a matrix of mixing block `block`, n1 of HK Def. 5.1."""
        return self.channels if _axis(block) == "token" else self.tokens


def _axis(block: int) -> Axis:
    return "token" if block % 2 == 0 else "channel"


def pk_network(config: PKConfig) -> PatchNetwork:
    """The network; the modules and their names are those of a Mixer or an S-Mixer."""
    blocks = (_base_block(config, index) for index in range(config.depth))
    norm = nn.LayerNorm(config.channels, eps=config.norm_eps)
    return PatchNetwork(config, blocks, norm, flatten=config.pooling == "flatten")


def _base_block(config: PKConfig, index: int) -> BaseBlock:
    tokens, channels, eps = config.tokens, config.channels, config.norm_eps
    carry = token_skip(config.sizes(2 * index)[0], tokens, channels, eps)
    token, channel = (_branch(config, 2 * index + second) for second in (0, 1))
    return BaseBlock(
        Residual(nn.LayerNorm(channels, eps=eps), token, carry), Residual(nn.LayerNorm(channels, eps=eps), channel)
    )


def _branch(config: PKConfig, block: int) -> Mlp:
    fc1, *fc2 = (
        SharedLinear(size, config.copies(block), _axis(block), config.order(block))
        for size in pairwise(config.sizes(block))
    )
    return Mlp(fc1, fc2[0] if fc2 else None, config.gelu, output_activation=False)


def mixing_layers(config: PKConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """The effective layers in forward order, from a checkpoint under the module's names."""
    layers = []
    if config.patches.count != config.tokens:
        skip = partial(shared_layer, block=0, axis="token", copies=config.channels, role="skip")
        layers.append(skip(weights, "blocks.0.token.carry.proj"))
    for block, tap in enumerate(taps(config)):
        order = config.order(block)
        layers += [
            shared_layer(
                weights,
                f"{tap.before}.{name}",
                block=block,
                axis=_axis(block),
                copies=config.copies(block),
                permuted=order == "random",
                swapped=order == "swapped",
            )
            for name in ("fc1", "fc2")[: len(config.sizes(block)) - 1]
        ]
    return tuple(layers)


def taps(config: PKConfig) -> tuple[Tap, ...]:
    """The mixing blocks in forward order."""
    return base_block_taps(config.depth)


def _configure(one_matrix: bool, patches: Patches, classes: int, sizes: Sizes) -> PKConfig:
    gamma = otherwise(sizes.expansion, 2.0)
    expansion = (otherwise(sizes.expansion_token, gamma), otherwise(sizes.expansion_channel, gamma))
    return PKConfig.of(
        patches,
        classes,
        channels=otherwise(sizes.channels, CHANNELS),
        depth=otherwise(sizes.depth, 3),
        tokens=sizes.tokens,
        expansion=None if one_matrix else expansion,
        permutations=otherwise(sizes.permutations, "normal"),
    )


FAMILIES = {
    "pk-mixer": Family(PKConfig, pk_network, mixing_layers, taps, partial(_configure, False)),
    "pk-s-mixer": Family(PKConfig, pk_network, mixing_layers, taps, partial(_configure, True)),
}
