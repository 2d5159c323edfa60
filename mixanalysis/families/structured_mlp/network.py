"""MLPs with Monarch or Kronecker weights (HK section 4 and Fig. 2d), shallow or deep, with or without skips."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import nn

from mixanalysis.families.family import Family
from mixanalysis.families.sizes import Sizes, otherwise
from mixanalysis.families.structured_mlp.linear import KroneckerLinear, MonarchLinear
from mixanalysis.network import structured
from mixanalysis.network.blocks import Activation, Branch, NoSkip, Residual, Resize
from mixanalysis.network.config import Patches, hidden_size, positive
from mixanalysis.network.effective_layers import plain_bias
from mixanalysis.network.network import MixingLayer, Role, Tap, Weights, block_taps
from mixanalysis.network.patch_network import FlatNetwork
from mixanalysis.operators import Dense, Kronecker, Monarch, Operator

Structure = Literal["monarch", "kronecker"]


@dataclass(frozen=True)
class StructuredMLPConfig:
    """Configuration of an MLP whose weights B are all Monarch or all Kronecker matrices.

    Without skips a block is x -> B2 phi(B1 x), with phi between blocks too; one of them, with ReLU, is the network
    x -> Bc B2 relu(B1 x) of HK Fig. 2d. With skips it is x + phi(B2 phi(B1 LN(x))), as in an SW-MLP.

    Attributes:
        patches: the images and their patches.
        classes: outputs; 0 leaves the features.
        structure: of every weight but the classifier's.
        blocks: k; a Monarch matrix has k diagonal blocks in each factor, a Kronecker product A kron B an A of k x k.
            It divides the inputs, `hidden` and `size`.
        features: outputs of a per-patch linear map before the first block; 0 gives it the pixels themselves.
        hidden: hidden size gamma m of a block.
        size: effective width m; the first block maps its inputs to m features.
        depth: blocks.
        skip: whether blocks have a LayerNorm and a skip; LN(B~ x) where the first block changes the size.
        activation: phi.
        norm_eps: epsilon of every LayerNorm.
    """

    patches: Patches
    classes: int
    structure: Structure
    blocks: int
    features: int
    hidden: int
    size: int
    depth: int
    skip: bool = False
    activation: Activation = "relu"
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        """Check the sizes."""
        positive(self, "blocks", "hidden", "size", "depth")
        if self.features < 0:
            msg = f"features must be at least 0, got {self.features}"
            raise ValueError(msg)
        for name, number in (("inputs", self.inputs), ("hidden units", self.hidden), ("features", self.size)):
            if number % self.blocks:
                msg = f"{self.blocks} blocks don't divide {number} {name}; choose other --blocks"
                raise ValueError(msg)

    @classmethod
    def of(
        cls,
        patches: Patches,
        classes: int,
        structure: Structure,
        *,
        depth: int = 1,
        features: int = 0,
        size: int | None = None,
        expansion: float = 1.0,
        blocks: int | None = None,
        skip: bool = False,
        activation: Activation = "relu",
    ) -> StructuredMLPConfig:
        """A configuration from width and expansion; m defaults to the inputs, k to their divisor nearest to sqrt(m)."""
        inputs = _inputs(patches, features)
        size = inputs if size is None else size
        hidden = hidden_size(expansion, size)
        if blocks is None:
            common = math.gcd(inputs, hidden, size)
            divisors = (number for number in range(1, common + 1) if common % number == 0)
            # of two that are as near, the smaller one, whatever the logarithms are rounded to
            blocks = min(divisors, key=lambda number: round(abs(math.log(number / math.sqrt(size))), 9))
        return cls(patches, classes, structure, blocks, features, hidden, size, depth, skip, activation)

    @property
    def family(self) -> str:
        """The name `monarch-mlp` or `kronecker-mlp`."""
        return f"{self.structure}-mlp"

    @property
    def width(self) -> int:
        """Effective width m."""
        return self.size

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.patches.input_shape

    @property
    def inputs(self) -> int:
        """Features that enter the first block."""
        return _inputs(self.patches, self.features)


def _inputs(patches: Patches, features: int) -> int:
    return patches.count * features if features else math.prod(patches.input_shape)


def structured_mlp(config: StructuredMLPConfig) -> FlatNetwork:
    """The network: flattened pixels or patch features; blocks; final linear layer."""
    return FlatNetwork(config, (_block(config, index) for index in range(config.depth)))


def _block(config: StructuredMLPConfig, index: int) -> Residual:
    into = config.inputs if index == 0 else config.size
    linear = partial(MonarchLinear if config.structure == "monarch" else KroneckerLinear, blocks=config.blocks)
    last = index == config.depth - 1
    branch = Branch(
        linear(into, config.hidden),
        linear(config.hidden, config.size),
        config.activation,
        output_activation=config.skip or not last,
    )
    if not config.skip:
        return Residual(nn.Identity(), branch, NoSkip())
    carry = None
    if into != config.size:
        carry = Resize(linear(into, config.size, bias=False), config.size, config.norm_eps)
    return Residual(nn.LayerNorm(into, eps=config.norm_eps), branch, carry)


def mixing_layers(config: StructuredMLPConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """The effective layers in forward order, from a checkpoint under the module's names."""
    layers = []
    for index, tap in enumerate(taps(config)):
        into = config.inputs if index == 0 else config.size
        layer = partial(_layer, config, weights, block=index)
        if config.skip and into != config.size:
            layers.append(layer("blocks.0.carry.proj", (config.size, into), role="skip"))
        layers.append(layer(f"{tap.before}.fc1", (config.hidden, into)))
        layers.append(layer(f"{tap.before}.fc2", (config.size, config.hidden)))
    return tuple(layers)


def _layer(
    config: StructuredMLPConfig,
    weights: Weights,
    name: str,
    shape: tuple[int, int],
    *,
    block: int,
    role: Role = "dense",
) -> MixingLayer:
    rows, columns = shape
    monarch = structured.Structure("monarch", config.blocks)
    return MixingLayer(
        name=name,
        block=block,
        role=role,
        stage="out" if name.endswith("fc2") else "in",
        shape=shape,
        connections=monarch.connections((columns, rows)) if config.structure == "monarch" else rows * columns,
        declared_variance=1.0 / columns,
        build=partial(_operator, config.structure, weights, name),
        build_bias=partial(plain_bias, weights, f"{name}.bias"),
    )


def _operator(structure: Structure, weights: Weights, name: str) -> Operator:
    if structure == "monarch":
        return Monarch(weights.tensor(f"{name}.first"), weights.tensor(f"{name}.second"))
    return Kronecker(Dense(weights.tensor(f"{name}.left")), Dense(weights.tensor(f"{name}.right")))


def taps(config: StructuredMLPConfig) -> tuple[Tap, ...]:
    """The blocks in forward order; without skips, features before and after them are the same."""
    return block_taps(config.depth, "dense")


def _configure(structure: Structure, patches: Patches, classes: int, sizes: Sizes) -> StructuredMLPConfig:
    kinds: dict[str, Any] = {"activation": otherwise(sizes.activation, "relu")}
    return StructuredMLPConfig.of(
        patches,
        classes,
        structure,
        depth=otherwise(sizes.depth, 1),
        features=otherwise(sizes.channels, 0),
        size=sizes.width,
        expansion=otherwise(sizes.expansion, 1.0),
        blocks=sizes.blocks,
        skip=otherwise(sizes.skip, False),
        **kinds,
    )


FAMILIES = {
    "monarch-mlp": Family(StructuredMLPConfig, structured_mlp, mixing_layers, taps, partial(_configure, "monarch")),
    "kronecker-mlp": Family(StructuredMLPConfig, structured_mlp, mixing_layers, taps, partial(_configure, "kronecker")),
}
