"""Sparse-weight MLPs (SW-MLP), and the dense MLP as their member of density 1."""

from mixanalysis.families.declaration import Declaration

_DENSE = frozenset({"channels", "depth", "expansion", "width", "block"})

DECLARATION = Declaration(sizes={"sw-mlp": _DENSE | {"density", "mask", "mask_value"}, "mlp": _DENSE})
