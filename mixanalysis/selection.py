"""Names: layers chosen with the shell's wildcards, what a wrong name may have meant, and lists in a sentence."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

CLOSE = 0.6
"""Similarity (difflib's ratio) from which a name may have been meant by another."""


@dataclass(frozen=True)
class Selection:
    """A test of names; see `matching`."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __call__(self, name: str) -> bool:
        """Whether a name is kept."""
        wanted = not self.include or any(fnmatchcase(name, pattern) for pattern in self.include)
        return wanted and not any(fnmatchcase(name, pattern) for pattern in self.exclude)

    def idle(self, names: Iterable[str]) -> list[str]:
        """Patterns of `include` that match none of the names."""
        names = list(names)
        return [pattern for pattern in self.include if not any(fnmatchcase(name, pattern) for name in names)]


def matching(include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Selection:
    """A test that keeps a name matched by a pattern of `include` (all without one) and by none of `exclude`.

    Args:
        include: patterns such as "*.token*" or "blocks.0.*".
        exclude: patterns of the same kind.

    Returns:
        The test, to be called with a name.
    """
    return Selection(tuple(include), tuple(exclude))


def closest_names(names: Iterable[str], keep: Callable[[str], bool], count: int = 4) -> str:
    """For the error of a choice that left nothing: the names closest to its patterns, or else the first ones."""
    names = list(dict.fromkeys(names))
    idle = keep.idle(names) if isinstance(keep, Selection) else []
    close = sorted({name for pattern in idle for name in nearest(pattern, names, count)}, key=names.index)
    if close:
        return f"called {_some(names, count)}; nearest to {', '.join(idle)}: {', '.join(close[:count])}"
    return f"called {_some(names, count)}"


def _some(names: Sequence[str], count: int) -> str:
    return ", ".join(names[:count]) + ", ..." * (len(names) > count)


def listed(parts: Sequence[str], separator: str = ", ", most: int = 8) -> str:
    """The parts in a sentence, or of many the first ones and how many there are more.

    Args:
        parts: to be listed.
        separator: between two of them.
        most: how many are named.

    Returns:
        The names in one line.

    Examples:
        >>> listed(["a", "b", "c"], most=2)
        'a, b, and 1 more'
    """
    if len(parts) <= most:
        return separator.join(parts)
    return separator.join(parts[:most]) + f"{separator}and {len(parts) - most} more"


def nearest(pattern: str, names: Iterable[str], count: int = 4) -> list[str]:
    """The names most like a pattern that matches none, in whole or in one of their parts between dots."""
    core = pattern.strip("*?.[]")
    parts = core.split(".")

    def likeness(name: str) -> float:
        pieces = name.split(".")
        runs = (".".join(pieces[start : start + len(parts)]) for start in range(len(pieces) - len(parts) + 1))
        return max(difflib.SequenceMatcher(None, core, text).ratio() for text in (name, *runs))

    scores = sorted(((likeness(name), name) for name in names), key=lambda scored: -scored[0])
    best = scores[0][0] if scores else 0.0
    return [name for score, name in scores[:count] if score >= max(CLOSE, 0.95 * best)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """In words, what may have been meant by a wrong name, after the list of those that are known; or nothing."""
    known = list(known)
    longer = [other for other in known if len(name) > 1 and name in other][:3]
    close = longer or difflib.get_close_matches(name, known, 1, CLOSE)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
