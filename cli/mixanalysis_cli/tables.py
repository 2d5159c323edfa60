"""Tables on stdout, as wide as the terminal: what doesn't fit side by side stands below, and nothing is cut."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mixanalysis.visible import visible
from mixanalysis_cli.printing import say

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

WIDE = 240
"""Columns of a table that doesn't go to a terminal, unless COLUMNS says another number."""

_BETWEEN, _EDGES = 3, 2
"""Blanks between two columns, and at both ends of a line."""


_NARROWEST = 6
"""Characters of a column of text."""


def show_table(frame: pd.DataFrame, columns: Mapping[str, str], title: str = "") -> None:
    """Print some columns of a frame, numbers to four digits, whole ones and those from 10,000 on in whole.

    Columns that don't fit beside each other stand in further tables below, with the leading columns of text again;
    text that is wider than its column goes on in the next line.

    Args:
        frame: the table.
        columns: for each column, its heading.
        title: a line above.
    """
    from rich import box
    from rich.table import Table

    if title:
        say(title)
    cells = {name: [text(value) for value in frame[name]] for name in columns}
    numeric = {name for name in columns if frame[name].dtype.kind in "biuf"}
    console = _console()
    parts = _parts(cells, columns, numeric, console.width)
    for part in parts:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name, width in part.items():
            side = "right" if name in numeric else "left"
            table.add_column(visible(columns[name]), justify=side, overflow="fold", max_width=width)  # type: ignore[arg-type]
        for row in zip(*(cells[name] for name in part), strict=True):
            table.add_row(*row)
        console.print(table)


def _parts(
    cells: Mapping[str, Sequence[str]], columns: Mapping[str, str], numeric: set[str], available: int
) -> list[dict[str, int]]:
    """Columns of each table with the widths that they get."""
    from rich.cells import cell_len

    widths = {name: max(map(cell_len, [columns[name], *cells[name]])) for name in columns}
    room = available - _EDGES
    if sum(widths.values()) + _BETWEEN * (len(widths) - 1) <= room:
        return [widths]
    names = list(columns)
    count = next((place for place, name in enumerate(names) if name in numeric), 1)
    keys = {name: widths[name] for name in names[:count]}
    # what tells the rows apart takes half of the width at most, at the cost of its widest column
    while keys and sum(keys.values()) + _BETWEEN * len(keys) > room // 2 and max(keys.values()) > _NARROWEST:
        keys[max(keys, key=keys.__getitem__)] -= 1
    left = room - sum(keys.values()) - _BETWEEN * len(keys)
    parts: list[dict[str, int]] = []
    free = -1
    for name in names[count:]:
        width = min(widths[name], left)
        if width > free:
            parts.append(dict(keys))
            free = left
        parts[-1][name] = width
        free -= width + _BETWEEN
    return parts or [keys]


def show_matrix(matrix: pd.DataFrame, title: str, path: str) -> None:
    """Print a matrix between 0 and 1: in four digits, else in hundredths, else only where it is.

    Args:
        matrix: its index and columns are named.
        title: a line above.
        path: the file that holds its values.
    """
    from rich.cells import cell_len

    console = _console()
    rows, columns = [text(name) for name in matrix.index], [text(name) for name in matrix.columns]
    label = max(map(cell_len, [*rows, str(matrix.index.name)]))
    exact = [max(cell_len(name), *(len(text(value)) for value in matrix[name])) for name in matrix.columns]
    if label + sum(exact) + _BETWEEN * len(columns) + _EDGES <= console.width:
        frame = matrix.set_axis(columns, axis=1).reset_index()
        show_table(frame, {str(name): str(name) for name in frame.columns}, title)
        return
    number = len(str(len(rows)))
    cell = max(len(str(len(columns))), 3) + 1
    if number + 1 + label + cell * len(columns) > console.width:
        size = f"{len(rows)} x {len(columns)}"
        say(f"{title}: {size} values are too wide for {console.width} columns; they are in {path}")
        return
    say(f"{title}, in hundredths; columns by their number, all digits in {path}")
    say(" " * (number + 1 + label) + "".join(f"{place:>{cell}}" for place in range(1, len(columns) + 1)))
    for place, (name, values) in enumerate(zip(rows, matrix.to_numpy(), strict=True), start=1):
        line = "".join(f"{'–' if value != value else f'{100 * value:.0f}':>{cell}}" for value in values)  # noqa: PLR0124
        say(f"{place:>{number}} {name}{' ' * (label - cell_len(name))}{line}")
    if columns != rows:
        say("columns: " + ", ".join(f"{place} {name}" for place, name in enumerate(columns, start=1)))


def text(value: Any) -> str:
    """A cell's text, without control characters."""
    if value is None or value != value:  # noqa: PLR0124
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return visible(str(value))
    if 1e4 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _console() -> Console:
    """Plain text where no terminal reads it or NO_COLOR is set."""
    from rich.console import Console

    plain = not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR"))
    # names of files are no markup
    return Console(
        width=_width(),
        color_system=None if plain else "auto",
        force_terminal=False if plain else None,
        markup=False,
        emoji=False,
        highlight=False,
    )


def _width() -> int:
    if sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    given = os.environ.get("COLUMNS", "")
    return int(given) if given.isdigit() and int(given) > 0 else WIDE
