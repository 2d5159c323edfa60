"""Reference modules, one per family, and the table of families."""

from mixanalysis.models.config import Gelu, Patches, from_dict, to_dict
from mixanalysis.models.families import FAMILIES, Family, Sizes, configure
from mixanalysis.models.mixer import MixerConfig
from mixanalysis.models.network import (
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
from mixanalysis.models.pk import PKConfig
from mixanalysis.models.s_mixer import SMixerConfig
from mixanalysis.models.structured import Structure, Structures
from mixanalysis.models.structured_mlp import StructuredMLPConfig
from mixanalysis.models.sw_mlp import SWMLPConfig

__all__ = [
    "FAMILIES",
    "UNKNOWN",
    "Assumed",
    "Config",
    "Family",
    "Gelu",
    "MixerConfig",
    "MixingLayer",
    "Network",
    "PKConfig",
    "Patches",
    "Provenance",
    "SMixerConfig",
    "SWMLPConfig",
    "Sizes",
    "Structure",
    "StructuredMLPConfig",
    "Structures",
    "Support",
    "Tap",
    "Weights",
    "configure",
    "from_dict",
    "load_weights",
    "to_dict",
]
