"""From stored tensors to the weights that the network uses: masks, norms, factors and scales put in their places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mixanalysis.checkpoints.computed_weights import LowRankUpdate, ScaledWeight, low_rank, scaled
from mixanalysis.checkpoints.lazy_tensors import DamagedError, SparseEntry
from mixanalysis.checkpoints.mask_buffers import mask_buffers
from mixanalysis.checkpoints.parametrisations import MARK, Orthogonal, SpectralNorm, WeightNorm, parametrised
from mixanalysis.checkpoints.sparse_weights import BITMASK_PARTS, SPARSE_PARTS, Bitmask, OwnSparse, SparseTensor
from mixanalysis.checkpoints.weights import MaskedWeight, Plain, Stored, Weight
from mixanalysis.selection import listed


class Resolved(NamedTuple):
    """The weights of a file.

    Attributes:
        weights: by name, in the order of the file.
        notes: what is to be said about how they are stored.
        parts: tensors that are part of a weight, or look like it, and so are no weights themselves.
    """

    weights: dict[str, Weight]
    notes: tuple[str, ...]
    parts: tuple[str, ...]


def resolve(stored: Mapping[str, Stored]) -> Resolved:
    """Put together each weight from what is stored for it.

    Returns:
        Weights by name, notes on how they are stored, and the tensors that are parts of them.

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
    buffers = mask_buffers(stored)
    taken = set(buffers)
    for name in stored:
        base, _, part = name.rpartition(".")
        if name in taken:
            continue
        if MARK in f".{name}":
            plain = _parametrised_name(name)
            owner = MARK.strip(".")
            if owners.get(plain) != owner:
                add(plain, owner, parametrised(groups[plain]))
        elif _complete(stored, base, part, SPARSE_PARTS):
            add(base, f"{base}.{SPARSE_PARTS[0]}", OwnSparse(base, _parts(stored, base, SPARSE_PARTS)))
        elif _complete(stored, base, part, BITMASK_PARTS):
            add(base, f"{base}.{BITMASK_PARTS[0]}", Bitmask(base, _parts(stored, base, BITMASK_PARTS)))
        elif (update := low_rank(stored, name)) is not None:
            add(update[0], name, update[2])
            taken.add(update[1])
            weights.pop(update[1], None)
        elif (weight := scaled(stored, name)) is not None:
            add(name, name, weight)
            taken.add(weight.scale.name)
            weights.pop(weight.scale.name, None)
        elif (named := _suffixed(stored, name)) is not None:
            add(named[0], name, named[1])
    for buffer in buffers.values():
        if buffer.mask is not None and buffer.weight in weights:
            weights[buffer.weight] = MaskedWeight(weights[buffer.weight], (buffer.mask,))
    notes = [*_notes(weights, groups), *_joined([buffer.note for buffer in buffers.values()])]
    return Resolved(weights, tuple(notes), tuple(name for name in stored if name in taken))


def _notes(weights: Mapping[str, Weight], groups: Iterable[str]) -> list[str]:
    notes = []
    if bare := sum(isinstance(weights[name], Plain) for name in groups):
        notes.append(f"{bare} parametrised without a mask or a norm, taken as stored")
    if maps := [f"{name} ({weight.map})" for name, weight in weights.items() if isinstance(weight, Orthogonal)]:
        notes.append(f"orthogonal by torch's default map: {listed(maps, most=3)}")
    if scales := [name for name, weight in weights.items() if isinstance(weight, ScaledWeight)]:
        notes.append(f"quantised, multiplied by their scales: {listed(scales, most=3)}")
    if updates := [name for name, weight in weights.items() if isinstance(weight, LowRankUpdate)]:
        notes.append(
            f"LoRA updates B A without their factor alpha/r, not added to their weights: {listed(updates, most=3)}"
        )
    return notes


def _joined(notes: Sequence[str], most: int = 8) -> list[str]:
    return [*notes[:most], f"and so for {len(notes) - most} more"] if len(notes) > most else list(notes)


def _groups(stored: Mapping[str, Stored]) -> dict[str, dict[str, Stored]]:
    """For each parametrised weight what is stored for it, by the rest of its name."""
    groups: dict[str, dict[str, Stored]] = {}
    for name, tensor in stored.items():
        if MARK in f".{name}":
            rest = f".{name}".partition(MARK)[2].partition(".")[2]
            groups.setdefault(_parametrised_name(name), {})[rest] = tensor
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
