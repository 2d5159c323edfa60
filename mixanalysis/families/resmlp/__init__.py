"""ResMLP, as timm and its authors have it."""

from mixanalysis.families.declaration import Declaration

DECLARATION = Declaration(sizes={"resmlp": None}, layouts=("timm-resmlp", "facebook-resmlp"))
