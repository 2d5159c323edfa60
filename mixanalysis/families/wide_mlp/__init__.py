"""The MLP of one hidden layer that Golubeva et al. (2021) widen."""

from mixanalysis.families.declaration import Declaration

DECLARATION = Declaration(sizes={"wide-mlp": None}, layouts=("wide-sparse-nets",))
