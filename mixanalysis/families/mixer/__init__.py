"""MLP-Mixer and RP-Mixer, under the names that many projects have for their tensors."""

from mixanalysis.families.assumption import TRUTH
from mixanalysis.families.declaration import Declaration

_SIZES = frozenset({"channels", "depth", "tokens", "expansion", "expansion_token", "expansion_channel"})

DECLARATION = Declaration(
    sizes={"mixer": _SIZES, "rp-mixer": _SIZES},
    layouts=(
        "timm-mixer",
        "flax-mixer",
        "flax-mixer-old",
        "lucidrains-mixer",
        "lucidrains-mixer-0.0.3",
        "lucidrains-mixer-0.0.2",
        "jaketae-mixer",
        "rishikksh20-mixer",
        "omihub777-mixer",
        "jeonsworld-mixer",
        "d-li14-mixer",
        "mmpretrain-mixer",
        "jankrepl-mixer",
        "fly-mixer",
    ),
    targets=("timm", "flax"),
    assumptions={"shuffle": TRUTH},
)
