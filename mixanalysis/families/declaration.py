"""Declarations of families' folders, without torch, and parts of them that are imported when first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TypeVar

from mixanalysis.families.assumption import Assumption

T = TypeVar("T")


@dataclass(frozen=True)
class Declaration:
    """The contents of a family's folder, by name.

    A folder's `network.py` has `FAMILIES`, a `Family` for each name of `sizes`. Where `layouts` are declared, its
    `layouts.py` has them as `LAYOUTS`; where `targets` are, its `targets.py` has them as `TARGETS`; where `expansion`
    is, its `expansion.py` has the class `Expansion`.

    Attributes:
        sizes: for each family, the fields of `Sizes` that it is made from; None where it is only read from checkpoints.
        layouts: names of the layouts of its checkpoints, in the order in which they are listed.
        targets: names of the foreign layouts that can be written.
        assumptions: what its tensors can't tell and other families' tensors don't leave open, by the name of --assume.
        expansion: whether other families' networks can be written as networks of this one.
    """

    sizes: Mapping[str, frozenset[str] | None]
    layouts: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    assumptions: Mapping[str, Assumption] = field(default_factory=dict)
    expansion: bool = False


@dataclass(frozen=True)
class Deferred(Mapping[str, T]):
    """Parts of modules by name; a module is imported when one of its parts is first asked for.

    Attributes:
        modules: the module of each part.
        table: name of the mapping or sequence of parts in each module; those of a sequence have a `name`.
    """

    modules: Mapping[str, str]
    table: str

    def __getitem__(self, name: str) -> T:
        """The part of that name.

        Returns:
            As its module has it, the same object each time.

        Raises:
            KeyError: there is none.
        """
        parts = getattr(import_module(self.modules[name]), self.table)
        named: Mapping[str, T] = parts if isinstance(parts, Mapping) else {part.name: part for part in parts}
        return named[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.modules)

    def __len__(self) -> int:
        return len(self.modules)

    def __contains__(self, name: object) -> bool:
        return name in self.modules
