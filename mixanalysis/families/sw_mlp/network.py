"""Sparse-weight MLP (SW-MLP, HK section 3 and A.2.5): wide layers with a frozen random mask; dense at p = 1."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import nn

from mixanalysis.families.family import Family
from mixanalysis.families.sizes import CHANNELS, Sizes, otherwise
from mixanalysis.network.blocks import MaskedLinear, Mlp, Residual, Resize
from mixanalysis.network.config import Gelu, Patches, hidden_size, positive
from mixanalysis.network.effective_layers import masked_layer
from mixanalysis.network.network import MixingLayer, Tap, Weights, block_taps
from mixanalysis.network.patch_network import FlatNetwork


@dataclass(frozen=True)
class SWMLPConfig:
    """Configuration of a sparse-weight MLP.

    Attributes:
        patches: the images and their patches.
        classes: outputs; 0 leaves the features.
        features: outputs of the per-patch linear map; where S0 * features differs from m, the first block maps
            the one to the other, with the skip LN(W~ x) and a mask of the same density.
        hidden: hidden size gamma m of an MLP block; 0 makes FC blocks x + phi((M * A) LN(x)) without one.
        size: effective width m.
        depth: blocks.
        density: p in (0, 1]; 1 is the dense MLP.
        mask: "bernoulli" keeps each cell with probability p, "exact" keeps round(p * cells) of them.
        mask_value: "inverse-root" for masks in {0, 1/sqrt(p)} (main text), "one" for 0/1 masks (appendix).
        norm_eps: epsilon of every LayerNorm.
        gelu: variant of the activation.
    """

    patches: Patches
    classes: int
    features: int
    hidden: int
    size: int
    depth: int
    density: float
    mask: Literal["bernoulli", "exact"] = "bernoulli"
    mask_value: Literal["inverse-root", "one"] = "inverse-root"
    norm_eps: float = 1e-6
    gelu: Gelu = "erf"

    def __post_init__(self) -> None:
        """Check the sizes and the density."""
        positive(self, "features", "size", "depth")
        if not 0 < self.density <= 1:
            msg = f"density must be in (0, 1], got {self.density}"
            raise ValueError(msg)

    @classmethod
    def of(
        cls,
        patches: Patches,
        classes: int,
        *,
        size: int,
        depth: int,
        density: float,
        expansion: float = 2.0,
        block: Literal["mlp", "fc"] = "mlp",
        mask: Literal["bernoulli", "exact"] = "bernoulli",
        mask_value: Literal["inverse-root", "one"] = "inverse-root",
    ) -> SWMLPConfig:
        """A configuration from width and expansion; the per-patch map gets round(m / S0) features."""
        return cls(
            patches=patches,
            classes=classes,
            features=max(1, round(size / patches.count)),
            hidden=hidden_size(expansion, size) if block == "mlp" else 0,
            size=size,
            depth=depth,
            density=density,
            mask=mask,
            mask_value=mask_value,
        )

    @property
    def family(self) -> str:
        """The name `sw-mlp`, or `mlp` where it is dense."""
        return "sw-mlp" if self.density < 1 else "mlp"

    @property
    def width(self) -> int:
        """Effective width m."""
        return self.size

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.patches.input_shape

    @property
    def embedded(self) -> int:
        """Features that enter the first block."""
        return self.patches.count * self.features


def sw_mlp(config: SWMLPConfig) -> FlatNetwork:
    """The network: per-patch linear map, flattened; blocks; final linear layer."""
    return FlatNetwork(config, (_block(config, index) for index in range(config.depth)))


def _block(config: SWMLPConfig, index: int) -> Residual:
    into = config.embedded if index == 0 else config.size
    linear = partial(
        MaskedLinear,
        density=config.density,
        exact=config.mask == "exact",
        root_scaling=config.mask_value == "inverse-root",
    )
    carry = None
    if into != config.size:
        carry = Resize(linear(into, config.size, bias=False), config.size, config.norm_eps)
    fc1 = linear(into, config.hidden or config.size)
    fc2 = linear(config.hidden, config.size) if config.hidden else None
    mlp = Mlp(fc1, fc2, config.gelu, output_activation=True)
    return Residual(nn.LayerNorm(into, eps=config.norm_eps), mlp, carry)


def mixing_layers(config: SWMLPConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """The effective layers in forward order, from a checkpoint under the module's names."""
    layer = partial(masked_layer, weights, density=config.density, root_scaling=config.mask_value == "inverse-root")
    layers = []
    for index, tap in enumerate(taps(config)):
        if index == 0 and config.embedded != config.size:
            layers.append(layer("blocks.0.carry.proj", block=0, role="skip"))
        layers += [layer(f"{tap.before}.{fc}", block=index) for fc in (("fc1", "fc2") if config.hidden else ("fc1",))]
    return tuple(layers)


def taps(config: SWMLPConfig) -> tuple[Tap, ...]:
    """The blocks in forward order."""
    return block_taps(config.depth, "dense")


def _sparse(patches: Patches, classes: int, sizes: Sizes) -> SWMLPConfig:
    density = otherwise(sizes.density, (1 / patches.count + 1 / otherwise(sizes.channels, CHANNELS)) / 2)
    if not density < 1:
        msg = f"density must be below 1, got {density}; at 1 the network is a dense one, of the family mlp"
        raise ValueError(msg)
    return _configure(density, patches, classes, sizes)


def _configure(density: float, patches: Patches, classes: int, sizes: Sizes) -> SWMLPConfig:
    kinds: dict[str, Any] = {
        "block": otherwise(sizes.block, "mlp"),
        "mask": otherwise(sizes.mask, "bernoulli"),
        "mask_value": otherwise(sizes.mask_value, "inverse-root"),
    }
    return SWMLPConfig.of(
        patches,
        classes,
        size=otherwise(sizes.width, patches.count * otherwise(sizes.channels, CHANNELS)),
        depth=otherwise(sizes.depth, 6),
        density=density,
        expansion=otherwise(sizes.expansion, 2.0),
        **kinds,
    )


FAMILIES = {
    "sw-mlp": Family(SWMLPConfig, sw_mlp, mixing_layers, taps, _sparse),
    "mlp": Family(SWMLPConfig, sw_mlp, mixing_layers, taps, partial(_configure, 1.0)),
}
