"""gMixer, timm's gated Mixer."""

from mixanalysis.families.declaration import Declaration

DECLARATION = Declaration(sizes={"gmixer": None}, layouts=("timm-gmixer",))
