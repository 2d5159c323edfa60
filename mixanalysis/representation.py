"""Results as a notebook shows them: small tables of HTML, with every text escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

import pandas as pd

ROWS, COLUMNS = 12, 12
"""Rows and columns that are shown of a table."""


def table(title: str, frame: pd.DataFrame, *, index: bool = False) -> str:
    """A title and a table, its first rows and columns where there are more.

    Args:
        title: a line above.
        frame: the table.
        index: whether its index is shown too.

    Returns:
        HTML.
    """
    rows, columns = frame.shape
    part = frame.iloc[:ROWS, :COLUMNS]
    cells = part.to_html(index=index, border=0, na_rep="–", float_format=lambda value: f"{value:.4g}")
    more = f"<div>{len(part)} of {rows} rows, {part.shape[1]} of {columns} columns</div>" * (part.shape != frame.shape)
    return f"<div><b>{html.escape(title)}</b>{cells}{more}</div>"


def facts(title: str, values: Iterable[tuple[str, object]]) -> str:
    """A title, and names with their values."""
    lines = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left">{html.escape(str(value))}</td></tr>'
        for name, value in values
    )
    return f"<div><b>{html.escape(title)}</b><table>{lines}</table></div>"


def notes(lines: Iterable[str]) -> str:
    """What is to be said beside a result."""
    return "".join(f"<div>{html.escape(line)}</div>" for line in lines)
