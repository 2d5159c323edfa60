"""Names of networks and layers as people give them, made fit to be drawn, printed, and parts of files' names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from mixanalysis.visible import UNSEEN, visible

LABELS = ("network", "network_a", "network_b", "layer", "layer_a", "layer_b")
"""Columns of tables that hold names."""

DRAWN = 48
"""Characters of a name in a figure."""

IN_FILE = 100
"""Bytes of a name that is part of a file's; file systems take 255 for two of them and what stands around them."""

JOINER = "\u2060"
"""A word joiner, which takes no room: matplotlib leaves labels that begin with an underscore out of legends."""


def shortened(text: str, most: int) -> str:
    """A text of at most `most` characters, without its middle where it is longer.

    Returns:
        The text, or its two ends around an ellipsis.

    Examples:
        >>> shortened("abcdefghij", 6)
        'ab…hij'
    """
    half = most // 2
    return text if len(text) <= most else f"{text[: half - 1]}…{text[-half:]}"


def slugs(labels: Iterable[str]) -> dict[str, str]:
    """Each label as a part of a file's name, different for different labels, also where case doesn't count.

    Args:
        labels: of networks; one may occur several times.

    Returns:
        The part of a name for each label, at most `IN_FILE` bytes and a number.

    Examples:
        >>> slugs(["a b", "a-b", "A-B"])
        {'a b': 'a-b', 'a-b': 'a-b-2', 'A-B': 'A-B-3'}
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for label in dict.fromkeys(labels):
        plain = "".join(character if character.isalnum() or character in "-." else "-" for character in label)
        names[label] = _unlike(_of_bytes(plain, IN_FILE), taken, "-")
    return names


def _unlike(name: str, taken: set[str], before: str) -> str:
    """The name, with a number where it is taken."""
    chosen, number = name, 2
    while chosen.casefold() in taken:
        chosen, number = f"{name}{before}{number}", number + 1
    taken.add(chosen.casefold())
    return chosen


def _of_bytes(name: str, most: int) -> str:
    """A name of at most so many bytes, without its middle where it is longer."""
    content = name.encode()
    if len(content) <= most:
        return name
    half = most // 2 - 1
    return content[:half].decode(errors="ignore") + "--" + content[-half:].decode(errors="ignore")


def legible(arguments: Sequence[Any], most: int = DRAWN) -> tuple[Any, ...]:
    """Arguments of a figure, with names that can be drawn.

    Names are those in columns called `LABELS`. Long ones lose their middle, and different names stay different;
    control characters of all texts become escapes.

    Args:
        arguments: frames, rows, and names in them, also in lists, tuples and mappings.
        most: characters of a name.

    Returns:
        The same objects where there is nothing to change.
    """
    names = dict.fromkeys(_names(arguments))
    fit = {name for name in names if len(name) <= most and not UNSEEN.search(name) and not name.startswith("_")}
    taken = {name.casefold() for name in fit}
    drawn = {name: _unlike(_drawable(name, most), taken, " #") for name in names if name not in fit}
    return tuple(_with(argument, drawn) for argument in arguments)


def _names(arguments: Any) -> Iterator[str]:
    """Cells of columns of names, in frames and rows, also within lists and tuples."""
    if isinstance(arguments, pd.DataFrame):
        for column in LABELS:
            if column in arguments:
                yield from (name for name in arguments[column].unique() if isinstance(name, str))
    elif isinstance(arguments, pd.Series):
        yield from (arguments[column] for column in LABELS if isinstance(arguments.get(column), str))
    elif isinstance(arguments, list | tuple):
        for each in arguments:
            yield from _names(each)


def _drawable(name: str, most: int) -> str:
    name = shortened(visible(name), most)
    return JOINER + name if name.startswith("_") else name


def _with(value: Any, drawn: Mapping[str, str]) -> Any:
    """A value whose names are those that are drawn, and whose other texts hold no control characters."""
    if isinstance(value, str):
        return drawn.get(value) or visible(value, "\n")
    if isinstance(value, pd.DataFrame):
        columns = {name: _column(value[name], drawn) for name in value.columns}
        return value.assign(**{str(name): column for name, column in columns.items() if column is not None})
    if isinstance(value, pd.Series):
        column = _column(value, drawn)
        return value if column is None else column
    if isinstance(value, dict):
        return {_with(key, drawn): _with(each, drawn) for key, each in value.items()}
    # a tuple with names of its own stays as it is
    return type(value)(_with(each, drawn) for each in value) if type(value) in (list, tuple) else value


def _column(column: pd.Series, drawn: Mapping[str, str]) -> pd.Series | None:
    """A column whose texts are those that are drawn; None where it already is."""
    if pd.api.types.is_numeric_dtype(column):
        return None
    texts = {text: _with(text, drawn) for text in column.unique() if isinstance(text, str)}
    if all(text == new for text, new in texts.items()):
        return None
    return column.map(lambda cell: texts.get(cell, cell) if isinstance(cell, str) else cell)
