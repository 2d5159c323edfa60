"""Pages of documentation as tests see them: their blocks, and what a command printed against what a page says."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Block(NamedTuple):
    """A fenced block."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(*found) for found in re.findall(r"```(\w+)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)]


def links(page: Path) -> list[Path]:
    """Files that a page's links and pictures point to."""
    targets = re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8"))
    return [page.parent / target for target in targets if not target.startswith(("https:", "http:"))]


def unsaid(excerpt: str, printed: str) -> list[str]:
    """Lines of a page that a command didn't print; spaces don't count, and numbers may differ in their last digits."""
    lines = [line.split() for line in printed.splitlines()]
    return [line for line in excerpt.splitlines() if not any(_alike(line.split(), other) for other in lines)]


def _alike(expected: list[str], printed: list[str]) -> bool:
    return len(expected) == len(printed) and all(map(_word, expected, printed))


def _word(expected: str, printed: str) -> bool:
    try:
        return math.isclose(float(expected), float(printed), rel_tol=0.01)
    except ValueError:
        return expected == printed
