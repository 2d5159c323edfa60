"""Permutator, as lucidrains has it."""

from mixanalysis.families.assumption import COUNT
from mixanalysis.families.declaration import Declaration

DECLARATION = Declaration(
    sizes={"permutator": None},
    layouts=("lucidrains-permutator",),
    assumptions={"segments": COUNT},
)
