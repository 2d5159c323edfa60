"""Labels of networks as parts of files' names."""

from __future__ import annotations

from collections.abc import Iterable


def slugs(labels: Iterable[str]) -> dict[str, str]:
    """Each label as a part of a file's name, different for different labels, also where case doesn't count.

    Args:
        labels: of networks; one may occur several times.

    Returns:
        The part of a name for each label.

    Examples:
        >>> slugs(["a b", "a-b", "A-B"])
        {'a b': 'a-b', 'a-b': 'a-b-2', 'A-B': 'A-B-3'}
    """
    names: dict[str, str] = {}
    taken = set()
    for label in dict.fromkeys(labels):
        plain = "".join(character if character.isalnum() or character in "-." else "-" for character in label)
        name, number = plain, 2
        while name.casefold() in taken:
            name, number = f"{plain}-{number}", number + 1
        taken.add(name.casefold())
        names[label] = name
    return names
