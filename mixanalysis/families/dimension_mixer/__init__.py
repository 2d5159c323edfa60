"""Dimension Mixer on patches, with dense, Monarch or butterfly mixing."""

from mixanalysis.families.declaration import Declaration

DECLARATION = Declaration(sizes={"dimension-mixer": None}, layouts=("dimension-mixer",))
