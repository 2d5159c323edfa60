"""What the folder of a paper declares; the engine knows no paper by name. Importing it costs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from mixanalysis.papers.experiment import Experiment
    from mixanalysis.results import Schema


@dataclass(frozen=True, eq=False)
class Paper:
    """A paper whose figures and tables are reproduced.

    Attributes:
        package: the folder's module, `__name__` of its `__init__.py`.
        title: of the paper.
        reference: authors, where it appeared, identifier.
        figures: for every experiment, its name on the command line and "module:ATTRIBUTE" within the folder, in the
            paper's order.
        caveats: sentences on what its numbers cover, lines as the page has them.
        has_schemas: whether its module `schemas` has tables of its own, in `TABLES`.
        has_demo: whether its module `demo` has `run_demo` and `cost`.
    """

    package: str
    title: str
    reference: str
    figures: Mapping[str, str]
    caveats: str = ""
    has_schemas: bool = False
    has_demo: bool = False

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.package.rpartition(".")[2]

    @cached_property
    def experiments(self) -> dict[str, Experiment]:
        """Every experiment by its name; their modules are imported when this is first asked for.

        Raises:
            ValueError: an experiment is listed under a name that isn't its own.
        """
        made = {}
        for name, place in self.figures.items():
            module, _, attribute = place.partition(":")
            experiment: Experiment = getattr(import_module(f"{self.package}.{module}"), attribute)
            if experiment.name != name:
                raise ValueError(f"{self.package}: the experiment {experiment.name} is listed as {name}")
            made[name] = replace(experiment, paper=self.name)
        return made

    @property
    def tables(self) -> dict[str, Schema]:
        """Tables that this paper alone answers with, by their names."""
        return dict(self._module("schemas").TABLES) if self.has_schemas else {}

    @property
    def demo(self) -> Any:
        """The module of its demo, with `run_demo` and `cost`."""
        return self._module("demo")

    def _module(self, name: str) -> ModuleType:
        return import_module(f"{self.package}.{name}")
