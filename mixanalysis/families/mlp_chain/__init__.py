"""Plain MLPs: a chain of linear layers, with or without norms, under any names."""

from mixanalysis.families.assumption import choice
from mixanalysis.families.declaration import Declaration

DECLARATION = Declaration(
    sizes={"mlp-chain": None},
    layouts=("mlp-chain",),
    assumptions={
        "activation": choice("relu", "leaky-relu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity"),
        "norms": choice("before-activation", "after-activation"),
    },
)
