"""S-Mixer and RP S-Mixer: Mixers whose blocks have one matrix each."""

from mixanalysis.families.declaration import Declaration

_SIZES = frozenset({"channels", "depth", "tokens"})

DECLARATION = Declaration(sizes={"s-mixer": _SIZES, "rp-s-mixer": _SIZES})
