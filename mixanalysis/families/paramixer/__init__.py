"""Parallel and serial Mixers with LayerNorm over both axes."""

from mixanalysis.families.assumption import COUNT, choice
from mixanalysis.families.declaration import Declaration

DECLARATION = Declaration(
    sizes={"paramixer": None},
    layouts=("paramixer", "vanillamixer"),
    assumptions={"mlp": choice("plain", "asymmetric"), "iterations": COUNT},
)
