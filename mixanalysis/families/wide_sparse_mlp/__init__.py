"""Wide sparse MLPs, connection by connection: what other families' networks are equal to."""

from mixanalysis.families.declaration import Declaration

DECLARATION = Declaration(sizes={"wide-sparse-mlp": None}, expansion=True)
