"""The papers, a line per folder; what the folders hold is imported when it is first asked for.

Importing the registry costs no torch, so that a shell can complete the names of figures from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from mixanalysis.errors import UsageError
from mixanalysis.papers.paper import Paper

FOLDERS = ("hayase_2024",)
"""Folders of papers; the first is the one that "all" and the demo mean."""

PAPERS: dict[str, Paper] = {folder: import_module(f"mixanalysis.papers.{folder}").PAPER for folder in FOLDERS}
"""What each folder declares, by its name."""

ALL = "all"


def default() -> Paper:
    """The paper that "all" and the demo mean."""
    return PAPERS[FOLDERS[0]]


def figures() -> tuple[str, ...]:
    """Every name that the command line takes for a figure: short where one paper has it, else as PAPER/FIGURE."""
    every = [(name, paper) for paper in PAPERS.values() for name in paper.figures]
    names = [name for name, _ in every]
    return tuple(name if names.count(name) == 1 else f"{paper.name}/{name}" for name, paper in every)


def find(names: Sequence[str]) -> tuple[Paper, list[str]]:
    """The paper that figures belong to, and their names in the paper's order.

    Args:
        names: FIGURE or PAPER/FIGURE; "all" is every figure of the first paper, PAPER/all those of another.

    Returns:
        The paper, and the names of its figures that are meant.

    Raises:
        UsageError: a name is unknown or shared by several papers, the figures are of more than one paper, or there is
            none.
    """
    meant = {name: _owners(name) for name in names}
    unknown = [name for name, owners in meant.items() if not owners]
    if unknown or not names:
        got = f"unknown {', '.join(map(repr, unknown))}" if unknown else "no figure"
        raise UsageError(f"{got}; known are {', '.join(figures())} and {ALL}")
    for name, owners in meant.items():
        if len(owners) > 1:
            raise UsageError(f"{name!r} is of several papers; name one as {' or '.join(f'{o}/{name}' for o in owners)}")
    papers = list(dict.fromkeys(owner for owners in meant.values() for owner in owners))
    if len(papers) > 1:
        raise UsageError(f"figures of several papers ({', '.join(papers)}); run them one paper at a time")
    paper = PAPERS[papers[0]]
    short = {name.rpartition("/")[2] for name in names}
    return paper, [name for name in paper.figures if name in short or ALL in short]


def _owners(name: str) -> list[str]:
    """Papers that have a figure of this name."""
    if name == ALL:
        return [default().name]
    folder, _, figure = name.rpartition("/")
    papers = [paper for paper in PAPERS.values() if folder in ("", paper.name)]
    return [paper.name for paper in papers if figure in paper.figures or (folder and figure == ALL)]
