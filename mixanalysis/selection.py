"""Choosing layers by name, with the shell's wildcards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase


def matching(include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Callable[[str], bool]:
    """A test that keeps a name matched by a pattern of `include` (all without one) and by none of `exclude`.

    Args:
        include: patterns such as "*.token*" or "blocks.0.*".
        exclude: patterns of the same kind.
    """

    def keep(name: str) -> bool:
        wanted = not include or any(fnmatchcase(name, pattern) for pattern in include)
        return wanted and not any(fnmatchcase(name, pattern) for pattern in exclude)

    return keep
