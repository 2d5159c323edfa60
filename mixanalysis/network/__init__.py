"""Networks: family, configuration, mixing layers, taps and module; and what families share."""

from mixanalysis.network.config import Gelu, Patches, from_dict, to_dict
from mixanalysis.network.network import (
    UNKNOWN,
    Assumed,
    Config,
    MixingLayer,
    Network,
    Provenance,
    Support,
    Tap,
    Weights,
    load_weights,
)
from mixanalysis.network.structured import Structure, Structures

__all__ = [
    "UNKNOWN",
    "Assumed",
    "Config",
    "Gelu",
    "MixingLayer",
    "Network",
    "Patches",
    "Provenance",
    "Structure",
    "Structures",
    "Support",
    "Tap",
    "Weights",
    "from_dict",
    "load_weights",
    "to_dict",
]
