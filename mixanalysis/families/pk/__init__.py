"""Permuted-Kronecker (PK) networks, with two matrices to a block or one."""

from mixanalysis.families.declaration import Declaration

_ONE_MATRIX = frozenset({"channels", "depth", "tokens", "permutations"})

DECLARATION = Declaration(
    sizes={
        "pk-mixer": _ONE_MATRIX | {"expansion", "expansion_token", "expansion_channel"},
        "pk-s-mixer": _ONE_MATRIX,
    }
)
