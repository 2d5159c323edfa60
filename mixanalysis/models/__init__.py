"""Reference modules, one per family, and the table of families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from mixanalysis.models import mixer, s_mixer, sw_mlp
from mixanalysis.models.config import Patches, from_dict, to_dict
from mixanalysis.models.network import (
    Config,
    MixingLayer,
    Network,
    Provenance,
    Support,
    Tap,
    Weights,
    load_weights,
)


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

FAMILIES: dict[str, Family] = {
    "mixer": _MIXER,
    "rp-mixer": _MIXER,
    "s-mixer": _S_MIXER,
    "rp-s-mixer": _S_MIXER,
    "sw-mlp": _SW_MLP,
    "mlp": _SW_MLP,
}
"""Every family by the name that its configuration answers with."""

MixerConfig = mixer.MixerConfig
SMixerConfig = s_mixer.SMixerConfig
SWMLPConfig = sw_mlp.SWMLPConfig

__all__ = [
    "FAMILIES",
    "Config",
    "Family",
    "MixerConfig",
    "MixingLayer",
    "Network",
    "Patches",
    "Provenance",
    "SMixerConfig",
    "SWMLPConfig",
    "Support",
    "Tap",
    "Weights",
    "from_dict",
    "load_weights",
    "to_dict",
]
