"""gMLP, as timm has it."""

from mixanalysis.families.declaration import Declaration

DECLARATION = Declaration(sizes={"gmlp": None}, layouts=("timm-gmlp",))
