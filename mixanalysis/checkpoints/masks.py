"""Which stored tensors make up which weight, and which masks belong to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mixanalysis.checkpoints.lazy_tensors import DamagedError, Entry, SparseEntry
from mixanalysis.checkpoints.parametrisations import MARK, SpectralNorm, WeightNorm, parametrised
from mixanalysis.checkpoints.pickles import Call
from mixanalysis.checkpoints.sparse_weights import BITMASK_PARTS, SPARSE_PARTS, Bitmask, OwnSparse, SparseTensor
from mixanalysis.checkpoints.weights import MaskedWeight, Plain, Stored, Weight

MASK_KEYS = ("masks", "mask", "weight_masks")
"""Keys beside a state dict under which masks stand by the names of their parameters, 1 where a weight is kept."""


class Resolved(NamedTuple):
    """The weights of a file.

    Attributes:
        weights: by name, in the order of the file.
        notes: what is to be said about how they are stored.
    """

    weights: dict[str, Weight]
    notes: tuple[str, ...]


def resolve(stored: Mapping[str, Stored]) -> Resolved:
    """Put together each weight from what is stored for it.

    Raises:
        DamagedError: a weight is stored in two ways.
    """
    weights: dict[str, Weight] = {}
    owners: dict[str, str] = {}

    def add(name: str, owner: str, weight: Weight) -> None:
        if owners.setdefault(name, owner) != owner:
            msg = f"stores {name} in two ways: as {owners[name]} and as {owner}"
            raise DamagedError(msg)
        weights[name] = weight

    groups = _groups(stored)
    for name in stored:
        base, _, part = name.rpartition(".")
        if MARK in f".{name}":
            plain = _parametrised_name(name)
            owner = MARK.strip(".")
            if owners.get(plain) != owner:
                add(plain, owner, parametrised(groups[plain]))
        elif _complete(stored, base, part, SPARSE_PARTS):
            add(base, f"{base}.{SPARSE_PARTS[0]}", OwnSparse(base, _parts(stored, base, SPARSE_PARTS)))
        elif _complete(stored, base, part, BITMASK_PARTS):
            add(base, f"{base}.{BITMASK_PARTS[0]}", Bitmask(base, _parts(stored, base, BITMASK_PARTS)))
        else:
            found = _suffixed(stored, name)
            if found is not None:
                add(found[0], name, found[1])
    bare = sum(isinstance(weights[name], Plain) for name in groups)
    notes = (f"{bare} parametrised without a mask or a norm, taken as stored",) if bare else ()
    return Resolved(weights, notes)


def _groups(stored: Mapping[str, Stored]) -> dict[str, dict[str, Stored]]:
    """For each parametrised weight what is stored for it, by the rest of its name."""
    groups: dict[str, dict[str, Stored]] = {}
    for name, found in stored.items():
        if MARK in f".{name}":
            rest = f".{name}".partition(MARK)[2].partition(".")[2]
            groups.setdefault(_parametrised_name(name), {})[rest] = found
    return groups


def _parametrised_name(name: str) -> str:
    owner, _, rest = f".{name}".partition(MARK)
    return f"{owner}.{rest.partition('.')[0]}".removeprefix(".")


def _complete(stored: Mapping[str, Stored], base: str, part: str, parts: Sequence[str]) -> bool:
    return part in parts and all(f"{base}.{other}" in stored for other in parts)


def _parts(stored: Mapping[str, Stored], base: str, parts: Sequence[str]) -> dict[str, Stored]:
    return {part: stored[f"{base}.{part}"] for part in parts}


_VECTORS = ("_u", "_v")


def _suffixed(stored: Mapping[str, Stored], name: str) -> tuple[str, Weight] | None:
    """A weight by its name's ending, as torch's older utilities store it; None for a part of one that has its turn."""

    def beside(ending: str, *others: str) -> bool:
        base = name.removesuffix(ending)
        return name.endswith(ending) and bool(base) and all(f"{base}{other}" in stored for other in others)

    if beside("_orig", "_mask"):
        plain = name.removesuffix("_orig")
        return plain, MaskedWeight(Plain(stored[name]), (stored[f"{plain}_mask"],))
    if beside("_orig", *_VECTORS):
        plain = name.removesuffix("_orig")
        return plain, SpectralNorm(stored[name], stored[f"{plain}_u"], stored[f"{plain}_v"])
    if beside("_v", "_g") and WeightNorm.fits(stored[f"{name.removesuffix('_v')}_g"], stored[name]):
        plain = name.removesuffix("_v")
        return plain, WeightNorm(stored[name], stored[f"{plain}_g"])
    if beside("_mask", "_orig") or any(beside(ending, "_orig", *_VECTORS) for ending in _VECTORS):
        return None
    if beside("_g", "_v") and WeightNorm.fits(stored[name], stored[f"{name.removesuffix('_g')}_v"]):
        return None
    entry = stored[name].entry
    return name, SparseTensor(stored[name], entry) if isinstance(entry, SparseEntry) else Plain(stored[name])


class Listed(NamedTuple):
    """Masks that stand beside a state dict.

    Attributes:
        masks: by the names of their parameters.
        where: the key, for messages.
        problem: why they can't be used, or "".
    """

    masks: Mapping[str, Entry]
    where: str
    problem: str = ""


def beside(tables: Sequence[Mapping[Any, Any]], shapes: Mapping[str, tuple[int, ...]]) -> list[Listed]:
    """The masks that stand beside a state dict.

    Args:
        tables: the tables around and beside the weights.
        shapes: the weights' shapes, in the order of the file.
    """
    found = []
    for table in tables:
        found += [_named(key, table[key], shapes) for key in MASK_KEYS if isinstance(table.get(key), Mapping)]
        pruner = table.get("pruner")
        fields = pruner.state if isinstance(pruner, Call) else pruner
        if isinstance(fields, Mapping) and isinstance(fields.get("backward_masks"), list):
            found.append(_in_order(fields["backward_masks"], shapes))
    return [listed for listed in found if listed.masks or listed.problem]


def _named(key: str, table: Mapping[Any, Any], shapes: Mapping[str, tuple[int, ...]]) -> Listed:
    masks = {str(name): value for name, value in table.items() if isinstance(value, Entry)}
    if not masks:
        return Listed({}, key)
    own = {_own_name(name, shapes): value for name, value in masks.items()}
    if None in own:
        strangers = [name for name in masks if _own_name(name, shapes) is None]
        return Listed({}, key, f"{strangers[0]} is the name of no weight")
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


def _in_order(masks: list[Any], shapes: Mapping[str, tuple[int, ...]]) -> Listed:
    """Masks in the order of the linear and convolutional layers; None for a dense one."""
    where = "pruner.backward_masks"
    layers = [name for name, shape in shapes.items() if name.endswith("weight") and len(shape) in (2, 4)]
    if len(layers) != len(masks):
        return Listed({}, where, f"{len(masks)} masks for {len(layers)} weights")
    pairs = zip(layers, masks, strict=True)
    return _fitting({name: mask for name, mask in pairs if isinstance(mask, Entry)}, where, shapes)


def _fitting(masks: dict[str, Entry], where: str, shapes: Mapping[str, tuple[int, ...]]) -> Listed:
    for name, mask in masks.items():
        if mask.shape != shapes[name]:
            return Listed({}, where, f"the mask of {name} has shape {mask.shape}, not {shapes[name]}")
    return Listed(masks, where)
