"""PatchMlpMixer of the Dimension Mixer: MLPs on patches, of another size in each block."""

from mixanalysis.families.declaration import Declaration

DECLARATION = Declaration(sizes={"patch-mlp-mixer": None}, layouts=("dimension-mixer-patches",))
