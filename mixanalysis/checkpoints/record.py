"""What a file says beside its weights: text, numbers and truth values of the training script that saved it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mixanalysis.checkpoints.folders import CONFIG
from mixanalysis.checkpoints.pickles import Call
from mixanalysis.files import parse_json

Plain = str | int | float | bool

_DEPTH = 3
"""Tables within tables that are looked into: args, and the tables among these."""


def record(tables: Iterable[Mapping[object, object]], metadata: Mapping[str, str]) -> dict[str, Plain]:
    """The plain values of some tables, those of inner tables and of argument records under names with dots.

    Args:
        tables: what stands around the weights, outermost first; of two values of one name the outermost counts.
        metadata: text beside the tensors; a folder's config.json is read as a table.

    Returns:
        Values by name, such as "epoch" and "args.model".
    """
    config: object = None
    if CONFIG in metadata:
        try:
            config = parse_json(metadata[CONFIG])
        except ValueError:
            config = None  # not for this to say
    found: dict[str, Plain] = {}
    seen: set[int] = set()
    pending = [("", table, 1) for table in (*tables, *([config] if isinstance(config, Mapping) else []))]
    for before, table, depth in pending:
        # a hostile file may hold one table in many places, and in itself
        if id(table) in seen:
            continue
        seen.add(id(table))
        for key, value in table.items():
            inner = value.state if isinstance(value, Call) else value
            if isinstance(value, Plain):
                found.setdefault(f"{before}{key}", value)
            elif isinstance(inner, Mapping) and depth < _DEPTH:
                pending.append((f"{before}{key}.", inner, depth + 1))
    return found
