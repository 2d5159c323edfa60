"""What a shell completes: names that are known without importing anything that takes time."""

from __future__ import annotations

FAMILIES = (
    "mixer",
    "rp-mixer",
    "s-mixer",
    "rp-s-mixer",
    "sw-mlp",
    "mlp",
    "pk-mixer",
    "pk-s-mixer",
    "monarch-mlp",
    "kronecker-mlp",
)
"""Families that can be trained; a test compares them with the table of families."""

LAYOUTS = (
    "mixanalysis",
    "timm-mixer",
    "flax-mixer",
    "flax-mixer-old",
    "lucidrains-mixer",
    "lucidrains-mixer-0.0.3",
    "lucidrains-mixer-0.0.2",
    "jaketae-mixer",
    "rishikksh20-mixer",
    "omihub777-mixer",
    "jeonsworld-mixer",
    "d-li14-mixer",
    "mmpretrain-mixer",
    "jankrepl-mixer",
    "fly-mixer",
    "timm-resmlp",
    "facebook-resmlp",
    "timm-gmixer",
    "timm-gmlp",
    "paramixer",
    "vanillamixer",
    "dimension-mixer",
    "dimension-mixer-patches",
    "ninformer",
    "lucidrains-permutator",
    "wide-sparse-nets",
)
"""Layouts of checkpoints; a test compares them with the table of layouts."""

DATA = ("digits", "noise", "mnist:", "cifar10:", "cifar100:", "stl10:", "folder:")
"""Data sets, those of the user's own files up to the folder."""


def families(incomplete: str) -> list[str]:
    """Families that begin so."""
    return _beginning(FAMILIES, incomplete)


def layouts(incomplete: str) -> list[str]:
    """Layouts that begin so."""
    return _beginning(LAYOUTS, incomplete)


def data(incomplete: str) -> list[str]:
    """Data sets that begin so."""
    return _beginning(DATA, incomplete)


def _beginning(names: tuple[str, ...], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
