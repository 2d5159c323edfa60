"""The table of families, and configurations from the few numbers that one names a network by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from torch import nn

from mixanalysis.errors import UsageError
from mixanalysis.families.dimension_mixer import network as dimension_mixer
from mixanalysis.families.gmixer import network as gmixer
from mixanalysis.families.gmlp import network as gmlp
from mixanalysis.families.mixer import network as mixer
from mixanalysis.families.ninformer import network as ninformer
from mixanalysis.families.paramixer import network as paramixer
from mixanalysis.families.patch_mlp_mixer import network as patch_mlp_mixer
from mixanalysis.families.permutator import network as permutator
from mixanalysis.families.pk import network as pk
from mixanalysis.families.resmlp import network as resmlp
from mixanalysis.families.s_mixer import network as s_mixer
from mixanalysis.families.structured_mlp import network as structured_mlp
from mixanalysis.families.sw_mlp import network as sw_mlp
from mixanalysis.families.wide_mlp import network as wide_mlp
from mixanalysis.families.wide_sparse_mlp import network as wide_sparse_mlp
from mixanalysis.network.config import Patches
from mixanalysis.network.network import Config, MixingLayer, Tap, Weights
from mixanalysis.selection import did_you_mean

T = TypeVar("T")


@dataclass(frozen=True)
class Family:
    """How a kind of network is configured, built, and read from its weights."""

    config: type[Any]
    module: Callable[[Any], nn.Module]
    layers: Callable[[Any, Weights], tuple[MixingLayer, ...]]
    taps: Callable[[Any], tuple[Tap, ...]]


_MIXER = Family(mixer.MixerConfig, mixer.Mixer, mixer.mixing_layers, mixer.taps)
_S_MIXER = Family(s_mixer.SMixerConfig, s_mixer.SMixer, s_mixer.mixing_layers, s_mixer.taps)
_SW_MLP = Family(sw_mlp.SWMLPConfig, sw_mlp.SWMLP, sw_mlp.mixing_layers, sw_mlp.taps)
_PK = Family(pk.PKConfig, pk.PKNetwork, pk.mixing_layers, pk.taps)
_STRUCTURED = Family(
    structured_mlp.StructuredMLPConfig,
    structured_mlp.StructuredMLP,
    structured_mlp.mixing_layers,
    structured_mlp.taps,
)
_WIDE_SPARSE = Family(
    wide_sparse_mlp.WideSparseConfig,
    wide_sparse_mlp.WideSparseMLP,
    wide_sparse_mlp.mixing_layers,
    wide_sparse_mlp.taps,
)

FAMILIES: dict[str, Family] = {
    "mixer": _MIXER,
    "rp-mixer": _MIXER,
    "s-mixer": _S_MIXER,
    "rp-s-mixer": _S_MIXER,
    "sw-mlp": _SW_MLP,
    "mlp": _SW_MLP,
    "pk-mixer": _PK,
    "pk-s-mixer": _PK,
    "monarch-mlp": _STRUCTURED,
    "kronecker-mlp": _STRUCTURED,
    "resmlp": Family(resmlp.ResMLPConfig, resmlp.resmlp, resmlp.mixing_layers, resmlp.taps),
    "gmixer": Family(gmixer.GMixerConfig, gmixer.gmixer, gmixer.mixing_layers, gmixer.taps),
    "gmlp": Family(gmlp.GMLPConfig, gmlp.gmlp, gmlp.mixing_layers, gmlp.taps),
    "paramixer": Family(paramixer.ParaMixerConfig, paramixer.paramixer, paramixer.mixing_layers, paramixer.taps),
    "dimension-mixer": Family(
        dimension_mixer.DimensionMixerConfig,
        dimension_mixer.dimension_mixer,
        dimension_mixer.mixing_layers,
        dimension_mixer.taps,
    ),
    "patch-mlp-mixer": Family(
        patch_mlp_mixer.PatchMlpMixerConfig,
        patch_mlp_mixer.PatchMlpMixer,
        patch_mlp_mixer.mixing_layers,
        patch_mlp_mixer.taps,
    ),
    "ninformer": Family(ninformer.NiNformerConfig, ninformer.ninformer, ninformer.mixing_layers, ninformer.taps),
    "permutator": Family(permutator.PermutatorConfig, permutator.permutator, permutator.mixing_layers, permutator.taps),
    "wide-mlp": Family(wide_mlp.WideMLPConfig, wide_mlp.WideMLP, wide_mlp.mixing_layers, wide_mlp.taps),
    "wide-sparse-mlp": _WIDE_SPARSE,
}
"""Every family by the name that its configuration answers with."""


@dataclass(frozen=True)
class Sizes:
    """The numbers that name a network; None where the family's default is wanted.

    Attributes:
        channels: C of a Mixer; an MLP's default width is S0 C. A Monarch or Kronecker MLP takes the pixels themselves
            unless a number is given.
        tokens: S of a Mixer; the number of patches by default.
        expansion: gamma; 2 by default (1 for a Monarch or Kronecker MLP), always 1 for an S-Mixer.
        expansion_token: gamma_S of a Mixer, `expansion` by default.
        expansion_channel: gamma_C of a Mixer, `expansion` by default.
        depth: base blocks of a Mixer (3), or blocks of an MLP (6; 1 with Monarch or Kronecker weights).
        width: m of an MLP; S0 C by default.
        density: p of an SW-MLP; by default the Mixer's own, (1/S0 + 1/C)/2.
        block: "mlp" (default) or "fc" blocks of an MLP.
        mask: "bernoulli" (default) or "exact".
        mask_value: "inverse-root" (default) or "one".
        permutations: of a PK network, for each base block; "normal" by default, see `PKConfig`.
        blocks: k of a Monarch or Kronecker MLP; by default near sqrt(m).
        skip: whether the blocks of a Monarch or Kronecker MLP have a LayerNorm and a skip; they have none by default.
        activation: "relu" (default) or "gelu", of a Monarch or Kronecker MLP.
    """

    channels: int | None = None
    tokens: int | None = None
    expansion: float | None = None
    expansion_token: float | None = None
    expansion_channel: float | None = None
    depth: int | None = None
    width: int | None = None
    density: float | None = None
    block: str | None = None
    mask: str | None = None
    mask_value: str | None = None
    permutations: str | None = None
    blocks: int | None = None
    skip: bool | None = None
    activation: str | None = None


_SHARED = {"channels", "depth"}
_ACCEPTED = {
    _MIXER.config: _SHARED | {"tokens", "expansion", "expansion_token", "expansion_channel"},
    _S_MIXER.config: _SHARED | {"tokens"},
    _SW_MLP.config: _SHARED | {"expansion", "width", "density", "block", "mask", "mask_value"},
    _PK.config: _SHARED | {"tokens", "expansion", "expansion_token", "expansion_channel", "permutations"},
    _STRUCTURED.config: _SHARED | {"expansion", "width", "blocks", "skip", "activation"},
}

CHANNELS = 16
"""Default C."""


def buildable() -> tuple[str, ...]:
    """Families of which a network can be made anew."""
    return tuple(name for name, kind in FAMILIES.items() if kind.config in _BUILDERS)


def configure(family: str, patches: Patches, classes: int, sizes: Sizes) -> Config:
    """The configuration of a network of that family.

    Args:
        family: a key of `FAMILIES`.
        patches: the images and their patches.
        classes: outputs.
        sizes: the numbers that name the network.

    Raises:
        UsageError: the family is unknown or isn't made from sizes, a number doesn't apply to it, or is out of range.
    """
    if family not in FAMILIES or FAMILIES[family].config not in _BUILDERS:
        known = ", ".join(buildable())
        if family in FAMILIES:
            raise UsageError(f"a {family} is read from checkpoints, not made anew; made are {known}")
        raise UsageError(f"unknown family {family!r}; known are {known}{did_you_mean(family, buildable())}")
    accepted = set(_ACCEPTED[FAMILIES[family].config])
    if family == "mlp":
        accepted -= {"density", "mask", "mask_value"}
    if family == "pk-s-mixer":
        accepted -= {"expansion", "expansion_token", "expansion_channel"}
    for field in fields(sizes):
        if getattr(sizes, field.name) is not None and field.name not in accepted:
            option = field.name.replace("_", "-")
            raise UsageError(f"--{option} doesn't apply to the family {family}")
    try:
        return _BUILDERS[FAMILIES[family].config](family, patches, classes, sizes)
    except ValueError as error:
        raise UsageError(f"{family}: {error}") from None


def _mixer(family: str, patches: Patches, classes: int, sizes: Sizes) -> Config:
    gamma = _or(sizes.expansion, 2.0)
    return mixer.MixerConfig.of(
        patches,
        classes,
        channels=_or(sizes.channels, CHANNELS),
        depth=_or(sizes.depth, 3),
        tokens=sizes.tokens,
        expansion=(_or(sizes.expansion_token, gamma), _or(sizes.expansion_channel, gamma)),
        permutation="random" if family.startswith("rp-") else "none",
    )


def _s_mixer(family: str, patches: Patches, classes: int, sizes: Sizes) -> Config:
    return s_mixer.SMixerConfig(
        patches,
        classes,
        tokens=_or(sizes.tokens, patches.count),
        channels=_or(sizes.channels, CHANNELS),
        depth=_or(sizes.depth, 3),
        permutation="random" if family.startswith("rp-") else "none",
    )


def _sw_mlp(family: str, patches: Patches, classes: int, sizes: Sizes) -> Config:
    channels = _or(sizes.channels, CHANNELS)
    density = _or(sizes.density, (1 / patches.count + 1 / channels) / 2)
    if family == "sw-mlp" and not density < 1:
        msg = f"density must be below 1, got {density}; at 1 the network is a dense one, of the family mlp"
        raise ValueError(msg)
    kinds: dict[str, Any] = {
        "block": _or(sizes.block, "mlp"),
        "mask": _or(sizes.mask, "bernoulli"),
        "mask_value": _or(sizes.mask_value, "inverse-root"),
    }
    return sw_mlp.SWMLPConfig.of(
        patches,
        classes,
        size=_or(sizes.width, patches.count * channels),
        depth=_or(sizes.depth, 6),
        density=density if family == "sw-mlp" else 1.0,
        expansion=_or(sizes.expansion, 2.0),
        **kinds,
    )


def _pk(family: str, patches: Patches, classes: int, sizes: Sizes) -> Config:
    gamma = _or(sizes.expansion, 2.0)
    expansion = (_or(sizes.expansion_token, gamma), _or(sizes.expansion_channel, gamma))
    return pk.PKConfig.of(
        patches,
        classes,
        channels=_or(sizes.channels, CHANNELS),
        depth=_or(sizes.depth, 3),
        tokens=sizes.tokens,
        expansion=expansion if family == "pk-mixer" else None,
        permutations=_or(sizes.permutations, "normal"),
    )


def _structured(family: str, patches: Patches, classes: int, sizes: Sizes) -> Config:
    kinds: dict[str, Any] = {
        "structure": family.removesuffix("-mlp"),
        "activation": _or(sizes.activation, "relu"),
    }
    return structured_mlp.StructuredMLPConfig.of(
        patches,
        classes,
        depth=_or(sizes.depth, 1),
        features=_or(sizes.channels, 0),
        size=sizes.width,
        expansion=_or(sizes.expansion, 1.0),
        blocks=sizes.blocks,
        skip=_or(sizes.skip, False),
        **kinds,
    )


_BUILDERS: dict[type[Any], Callable[[str, Patches, int, Sizes], Config]] = {
    _MIXER.config: _mixer,
    _S_MIXER.config: _s_mixer,
    _SW_MLP.config: _sw_mlp,
    _PK.config: _pk,
    _STRUCTURED.config: _structured,
}


def _or(value: T | None, default: T) -> T:
    return default if value is None else value
