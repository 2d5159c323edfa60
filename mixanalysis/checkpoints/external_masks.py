"""Masks that are stored apart from the state dict: in a table of their own, or in a pruner's list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mixanalysis.checkpoints.lazy_tensors import Entry
from mixanalysis.checkpoints.pickles import Call

MASK_KEYS = ("masks", "mask", "weight_masks")
"""Keys beside a state dict of tables of masks by parameter name, 1 where a weight is kept."""


class ExternalMasks(NamedTuple):
    """Masks stored in a table beside the state dict.

    Attributes:
        masks: by the names of their parameters.
        where: the key, for messages.
        problem: why they can't be used, or "".
    """

    masks: Mapping[str, Entry]
    where: str
    problem: str = ""


def external_masks(tables: Sequence[Mapping[Any, Any]], shapes: Mapping[str, tuple[int, ...]]) -> list[ExternalMasks]:
    """Find the masks that are stored beside a state dict.

    Args:
        tables: the tables around and beside the weights.
        shapes: the weights' shapes, in the order of the file.

    Returns:
        Those of each table, usable or not.
    """
    groups = []
    for table in tables:
        groups += [_named(key, table[key], shapes) for key in MASK_KEYS if isinstance(table.get(key), Mapping)]
        pruner = table.get("pruner")
        fields = pruner.state if isinstance(pruner, Call) else pruner
        if isinstance(fields, Mapping) and isinstance(fields.get("backward_masks"), list):
            groups.append(_in_order(fields["backward_masks"], shapes))
    return [group for group in groups if group.masks or group.problem]


def _named(key: str, table: Mapping[Any, Any], shapes: Mapping[str, tuple[int, ...]]) -> ExternalMasks:
    masks = {str(name): value for name, value in table.items() if isinstance(value, Entry)}
    if not masks:
        return ExternalMasks({}, key)
    own = {_own_name(name, shapes): value for name, value in masks.items()}
    if None in own:
        strangers = [name for name in masks if _own_name(name, shapes) is None]
        return ExternalMasks({}, key, f"{strangers[0]} is the name of no weight")
    return _fitting({str(name): value for name, value in own.items()}, key, shapes)


def _own_name(name: str, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The weight of that name, prefixes of wrappers aside."""
    name = name.replace("_orig_mod.", "")
    while name not in shapes and "." in name:
        head, _, rest = name.partition(".")
        if head not in ("module", "model", "net", "network"):
            break
        name = rest
    return next((known for known in (name, f"{name}.weight") if known in shapes), None)


def _in_order(masks: list[Any], shapes: Mapping[str, tuple[int, ...]]) -> ExternalMasks:
    """Masks in the order of the linear and convolutional layers; None for a dense one."""
    where = "pruner.backward_masks"
    layers = [name for name, shape in shapes.items() if name.endswith("weight") and len(shape) in (2, 4)]
    if len(layers) != len(masks):
        return ExternalMasks({}, where, f"{len(masks)} masks for {len(layers)} weights")
    pairs = zip(layers, masks, strict=True)
    return _fitting({name: mask for name, mask in pairs if isinstance(mask, Entry)}, where, shapes)


def _fitting(masks: dict[str, Entry], where: str, shapes: Mapping[str, tuple[int, ...]]) -> ExternalMasks:
    for name, mask in masks.items():
        if mask.shape != shapes[name]:
            return ExternalMasks({}, where, f"the mask of {name} has shape {mask.shape}, not {shapes[name]}")
    return ExternalMasks(masks, where)
