"""MLPs with Monarch or Kronecker weights."""

from mixanalysis.families.declaration import Declaration

_SIZES = frozenset({"channels", "depth", "expansion", "width", "blocks", "skip", "activation"})

DECLARATION = Declaration(sizes={"monarch-mlp": _SIZES, "kronecker-mlp": _SIZES})
