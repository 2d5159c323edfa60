"""The MLP of one hidden layer that Golubeva et al. (2021) widen."""

from mixanalysis.families.assumption import choice
from mixanalysis.families.declaration import Declaration

DECLARATION = Declaration(
    sizes={"wide-mlp": None},
    layouts=("wide-sparse-nets",),
    assumptions={"activation": choice("relu", "identity"), "parametrisation": choice("standard", "ntk")},
)
