"""NiNformer: blocks gated by a Mixer inside of them."""

from mixanalysis.families.declaration import Declaration

DECLARATION = Declaration(sizes={"ninformer": None}, layouts=("ninformer",))
