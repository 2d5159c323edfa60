"""What a shell completes: names that are known without importing anything that takes time."""

from __future__ import annotations

from collections.abc import Iterable

from mixanalysis.families import LAYOUTS, TRAINABLE

DATA = (
    "digits",
    "noise",
    "mnist:",
    "fashion-mnist:",
    "kmnist:",
    "emnist:",
    "cifar10:",
    "cifar100:",
    "stl10:",
    "folder:",
)
"""Data sets, those of the user's own files up to the folder; a test compares them with `datasets.KINDS`."""


def families(incomplete: str) -> list[str]:
    """Families that can be trained and begin so."""
    return _beginning(TRAINABLE, incomplete)


def layouts(incomplete: str) -> list[str]:
    """Layouts that begin so."""
    return _beginning(LAYOUTS, incomplete)


def data(incomplete: str) -> list[str]:
    """Data sets that begin so."""
    return _beginning(DATA, incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
