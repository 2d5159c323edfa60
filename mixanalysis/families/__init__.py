"""The registry of families: a line per folder; what the folders hold is imported when it is first asked for.

Importing the registry costs no torch, so that a shell can complete names from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from mixanalysis.families.declaration import Declaration, Deferred

if TYPE_CHECKING:
    from mixanalysis.families.convert import Target
    from mixanalysis.families.expand import Expansion
    from mixanalysis.families.family import Family
    from mixanalysis.families.layout import Layout

FOLDERS = (
    "mixer",
    "s_mixer",
    "sw_mlp",
    "pk",
    "structured_mlp",
    "resmlp",
    "gmixer",
    "gmlp",
    "paramixer",
    "dimension_mixer",
    "patch_mlp_mixer",
    "ninformer",
    "permutator",
    "wide_mlp",
    "wide_sparse_mlp",
    "mlp_chain",
)
"""Folders of families, in the order in which families and layouts are listed."""

DECLARATIONS: dict[str, Declaration] = {
    f"{__name__}.{folder}": import_module(f"{__name__}.{folder}").DECLARATION for folder in FOLDERS
}
"""Declarations of the folders, by their modules."""

SIZES: dict[str, frozenset[str] | None] = {
    name: sizes for declared in DECLARATIONS.values() for name, sizes in declared.sizes.items()
}
"""The fields of `Sizes` that each family is made from; None where it is only read from checkpoints."""

TRAINABLE = tuple(name for name, sizes in SIZES.items() if sizes is not None)
"""Families of which a network can be made anew."""

FAMILIES: Mapping[str, Family] = Deferred(
    {name: f"{folder}.network" for folder, declared in DECLARATIONS.items() for name in declared.sizes}, "FAMILIES"
)
"""Every family by the name that its configuration answers with."""

LAYOUTS: Mapping[str, Layout] = Deferred(
    {"mixanalysis": f"{__name__}.native"}
    | {name: f"{folder}.layouts" for folder, declared in DECLARATIONS.items() for name in declared.layouts},
    "LAYOUTS",
)
"""Every layout of checkpoints by its name; our own format comes first."""

TARGETS: Mapping[str, Target] = Deferred(
    {name: f"{folder}.targets" for folder, declared in DECLARATIONS.items() for name in declared.targets}, "TARGETS"
)
"""Foreign layouts that can be written, by the name of --to."""


def expansion() -> type[Expansion]:
    """The class that makes another family's network one of wide sparse layers."""
    folder = next(folder for folder, declared in DECLARATIONS.items() if declared.expansion)
    made: type[Expansion] = import_module(f"{folder}.expansion").Expansion
    return made
