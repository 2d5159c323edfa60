"""Markdown tables made from the code, for the pages and the README.

python docs/generated.py brings the README's tables up to date; a test says when they aren't.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
_PLACE = re.compile(r"(<!-- begin ([\w-]+), made by docs/generated.py -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def layouts() -> str:
    """Every layout: the names by which it is told, and what it assumes of what they don't tell."""
    from mixanalysis.families import LAYOUTS

    rows = (
        (f"`{layout.name}`", _codes(layout.sought), _codes(f"{name}={value}" for name, value in layout.assumes.items()))
        for layout in LAYOUTS.values()
    )
    return _table(("layout", "names that it is told by", "what it assumes unless told otherwise"), rows)


def layouts_in_short() -> str:
    """Every layout with the first of its names."""
    from mixanalysis.families import LAYOUTS

    rows = []
    for layout in LAYOUTS.values():
        more = f", and {len(layout.sought) - 3} more" if len(layout.sought) > 3 else ""
        rows.append((f"`{layout.name}`", _codes(layout.sought[:3]) + more))
    return _table(("layout", "names that it is told by"), rows)


def wrappers() -> str:
    """What is taken off around the weights."""
    from mixanalysis.checkpoints import state_dicts as known

    rows = (
        ("keys of raw weights", _codes(known.RAW)),
        ("keys of averaged weights", _codes(known.AVERAGED)),
        ("raw weights beside an averaged `state_dict`", _codes((known.LIGHTNING_RAW, known.MMENGINE_RAW))),
        ("prefixes of two copies in one table", _codes((*known.AVERAGED_PREFIXES, *filter(None, known.RAW_PREFIXES)))),
        ("prefixes of modules around the network", _codes(("module.", "_orig_mod.", *known.ATTRIBUTES))),
        ("prefixes in `.npz` files", _codes(known.NPZ_PREFIXES)),
    )
    return _table(("what", "names"), rows)


def families() -> str:
    """Every family, with the first paragraph of its module's docstring."""
    import inspect

    from mixanalysis.families import FAMILIES

    names: dict[str, list[str]] = {}
    for name, family in FAMILIES.items():
        text = inspect.getdoc(inspect.getmodule(family.layers)) or ""
        names.setdefault(text.partition("\n\n")[0], []).append(name)
    return _table(("family", "what it is"), ((_codes(kinds), _plain(text)) for text, kinds in names.items()))


def operators() -> str:
    """Every structured operator with the first line of its docstring."""
    from mixanalysis import operators as room
    from mixanalysis.operators import Operator

    found = [getattr(room, name) for name in room.__all__]
    kinds = [kind for kind in found if isinstance(kind, type) and issubclass(kind, Operator) and kind is not Operator]
    return _table(("operator", "what it is"), ((f"`{kind.__name__}`", _first_line(kind.__doc__)) for kind in kinds))


def schemas() -> str:
    """Every table that is written, with its columns."""
    from mixanalysis.runs.schemas import SCHEMAS

    parts = []
    for schema in SCHEMAS.values():
        rows = ((f"`{column.name}`", column.unit, column.meaning) for column in schema.columns)
        parts.append(f"## {schema.name}\n\n{_table(('column', 'unit', 'meaning'), rows)}")
    return "\n\n".join(parts)


def commands() -> str:
    """Every command with its arguments and options."""
    import typer

    from mixanalysis_cli.app import app

    parts = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        rows = ((_spelling(each), _plain(getattr(each, "help", "")), _default(each)) for each in command.params)
        options = _table(("option", "meaning", "default"), rows)
        parts.append(f"## mixanalysis {name}\n\n{_plain(command.help)}\n\n{options}")
    return "\n\n".join(parts)


TABLES: dict[str, Callable[[], str]] = {
    made.__name__: made for made in (layouts, layouts_in_short, wrappers, families, operators, schemas, commands)
}
"""Every table by the name that a page asks for it by."""


def filled(text: str) -> str:
    """A page with its tables up to date."""
    return _PLACE.sub(lambda match: f"{match[1]}{TABLES[match[2]]()}\n{match[3]}", text)


def _spelling(parameter: object) -> str:
    names = (*getattr(parameter, "opts", ()), *getattr(parameter, "secondary_opts", ()))
    if getattr(parameter, "param_type_name", "") == "argument":
        return f"`{getattr(parameter, 'metavar', None) or str(names[0]).upper()}`"
    return _codes(names)


def _default(parameter: object) -> str:
    shown, value = getattr(parameter, "show_default", True), getattr(parameter, "default", None)
    if isinstance(shown, str):
        return shown
    return "" if not shown or value is None or isinstance(value, bool) else f"`{getattr(value, 'value', value)}`"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _codes(names: Iterable[object]) -> str:
    return ", ".join(text if "`" in text else f"`{text}`" for text in map(str, names))


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0].replace("*", "\\*")


def _plain(text: str | None) -> str:
    """Help as Markdown: no line breaks, and nothing that would be read as a tag."""
    return " ".join((text or "").split()).replace("<", "\\<").replace("*", "\\*")


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
