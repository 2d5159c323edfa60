"""Reference modules, one per family, and the table of families."""

from mixanalysis.models.config import Gelu, Patches, from_dict, to_dict
from mixanalysis.models.dimension_mixer import DimensionMixerConfig
from mixanalysis.models.families import FAMILIES, Family, Sizes, configure
from mixanalysis.models.gmixer import GMixerConfig
from mixanalysis.models.gmlp import GMLPConfig
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
from mixanalysis.models.ninformer import NiNformerConfig
from mixanalysis.models.paramixer import ParaMixerConfig
from mixanalysis.models.patch_mlp_mixer import PatchMlpMixerConfig
from mixanalysis.models.permutator import PermutatorConfig
from mixanalysis.models.pk import PKConfig
from mixanalysis.models.resmlp import ResMLPConfig
from mixanalysis.models.s_mixer import SMixerConfig
from mixanalysis.models.structured import Structure, Structures
from mixanalysis.models.structured_mlp import StructuredMLPConfig
from mixanalysis.models.sw_mlp import SWMLPConfig
from mixanalysis.models.wide_mlp import WideMLPConfig
from mixanalysis.models.wide_sparse_mlp import WideSparseBlock, WideSparseConfig

__all__ = [
    "FAMILIES",
    "UNKNOWN",
    "Assumed",
    "Config",
    "DimensionMixerConfig",
    "Family",
    "GMLPConfig",
    "GMixerConfig",
    "Gelu",
    "MixerConfig",
    "MixingLayer",
    "Network",
    "NiNformerConfig",
    "PKConfig",
    "ParaMixerConfig",
    "PatchMlpMixerConfig",
    "Patches",
    "PermutatorConfig",
    "Provenance",
    "ResMLPConfig",
    "SMixerConfig",
    "SWMLPConfig",
    "Sizes",
    "Structure",
    "StructuredMLPConfig",
    "Structures",
    "Support",
    "Tap",
    "Weights",
    "WideMLPConfig",
    "WideSparseBlock",
    "WideSparseConfig",
    "configure",
    "from_dict",
    "load_weights",
    "to_dict",
]
