"""The weights within what a training script saved: which table, which of raw and averaged, and whose prefixes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from mixanalysis.checkpoints.lazy_tensors import AnyEntry, DamagedError, Entry, SparseEntry
from mixanalysis.errors import UsageError

Weights = Literal["auto", "raw", "ema"]
"""Which weights to take where a file holds raw and averaged ones: "auto" is the averaged ones.

Averaged weights are what the training evaluates and publishes, and timm's own loader prefers them too.
"""

RAW = ("state_dict", "model_state_dict", "model", "net", "params", "module", "state")
"""Keys under which training scripts nest their weights, in the order in which they are tried."""

AVERAGED = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema_model",
    "ema",
    "params_ema",
    "model_ema_state_dict",
    "ema_model_state_dict",
    "shadow",
)
"""Keys of exponential moving and other averages of the weights."""

LIGHTNING = "pytorch-lightning_version"
LIGHTNING_RAW = "current_model_state"
"""Where Lightning's WeightAveraging puts the raw weights; its state_dict holds the averaged ones."""

MMENGINE_RAW = "ema_state_dict"
"""Where MMEngine's EMAHook puts the raw weights, if there are steps in it; its state_dict holds the averaged ones."""

AVERAGED_PREFIXES = ("ema_model.", "model_ema.", "ema.", "module_ema.")
RAW_PREFIXES = ("online_model.", "model.", "module.", "net.", "")
"""Prefixes of two copies of the weights in one table, as ema-pytorch and others write them."""

ATTRIBUTES = ("model.", "net.", "network.")
"""Attributes under which a wrapping module keeps the network."""

NPZ_PREFIXES = ("opt/target/", "target/", "params/")
"""How the arrays of a whole training state are named; the others are the optimizer's."""

_STRAY = re.compile(r"(^|_)(loss(es)?|criterion|criteria|metrics?|acc|accuracy|auroc)(_|$)", re.IGNORECASE)
_DEPTH = 16
"""Wrappers around wrappers that are taken off; no script has so many, and a hostile file could have any number."""


@dataclass
class Unwrapped:
    """The weights, and what was taken off.

    Attributes:
        table: tensors under their own names.
        steps: keys and prefixes that were taken off, outermost first.
        beside: entries that stood beside the weights.
        extras: tables beside the weights, outermost first, where masks are looked for.
        averaged: whether these are averaged weights; None where only one kind is there and nothing says which.
        other: where weights of the other kind stand, or "".
    """

    table: dict[str, AnyEntry]
    steps: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    extras: list[Mapping[Any, Any]] = field(default_factory=list)
    averaged: bool | None = None
    other: str = ""

    @property
    def wrapper(self) -> str:
        """How the weights were nested and prefixed, and which they are where there are two kinds, or "none"."""
        text = " > ".join(self.steps) or "none"
        if self.averaged is None:
            return text
        kind, others = ("averaged", "raw") if self.averaged else ("raw", "averaged")
        return f"{text} ({kind} weights{f'; the {others} ones are in {self.other}' if self.other else ''})"


def unwrap(content: object, weights: Weights = "auto") -> Unwrapped:
    """Find the innermost table of tensors, and take prefixes off its names.

    Args:
        content: what the file holds.
        weights: which weights to take where there are raw and averaged ones.

    Raises:
        DamagedError: there is no table of named tensors, not the kind of weights that is asked for, or two tensors
            would have one name.
        UsageError: `weights` is none of its three values.
    """
    if weights not in get_args(Weights):
        raise UsageError(f"weights must be one of {', '.join(get_args(Weights))}, got {weights!r}")
    found = Unwrapped({})
    lightning = False
    while isinstance(content, Mapping) and (key := _step(content, weights, found)) is not None:
        lightning = lightning or LIGHTNING in content
        found.steps.append(key)
        found.beside += [str(other) for other in content if other != key]
        found.extras.append(content)
        content = content[key]
    table = content if isinstance(content, Mapping) else {}
    found.table = {str(name): value for name, value in table.items() if isinstance(value, Entry | SparseEntry)}
    if not found.table:
        raise DamagedError(f"holds no table of named tensors; found {_what(content)}")
    found.beside += [str(name) for name in table if str(name) not in found.table]
    if not found.extras or found.extras[-1] is not table:
        found.extras.append(table)
    _strip(found, weights, lightning=lightning)
    if weights == "ema" and not found.averaged:
        raise DamagedError("holds no averaged weights, or doesn't say that they are; leave weights at 'auto'")
    if weights == "raw" and found.averaged:
        raise DamagedError("holds averaged weights alone; leave weights at 'auto'")
    return found


def _what(content: object) -> str:
    name = "Tensor" if isinstance(content, Entry | SparseEntry) else type(content).__name__
    if isinstance(content, Mapping):
        keys = ", ".join(str(key)[:60] for key in list(content)[:5])
        name += f" with keys {keys}" if content else " without entries"
    return name


# nesting


def _step(content: Mapping[Any, Any], weights: Weights, found: Unwrapped) -> str | None:
    """The key to follow next, or None in the table itself; notes in `found` which kind of weights it leads to."""
    if len(found.steps) >= _DEPTH:
        return None
    swapped = _swapped(content)
    if swapped and _leads(content, "state_dict"):
        raw = weights == "raw" and _leads(content, swapped)
        found.averaged, found.other = not raw, "state_dict" if raw else swapped
        return swapped if raw else "state_dict"
    raw_key = next((key for key in RAW if _leads(content, key)), None)
    averaged_key = next((key for key in AVERAGED if _leads(content, key)), None)
    if averaged_key is None or (weights == "raw" and raw_key is not None):
        if averaged_key is not None:
            found.averaged, found.other = False, averaged_key
        return raw_key
    # a table of tensors with an average beside it holds the raw weights itself
    own = raw_key is None and any(isinstance(value, Entry | SparseEntry) for value in content.values())
    if own and weights == "raw":
        found.averaged, found.other = False, averaged_key
        return None
    found.averaged, found.other = True, raw_key or ("the table around it" if own else found.other)
    return averaged_key


def _swapped(content: Mapping[Any, Any]) -> str:
    """The key of the raw weights in files whose state_dict holds the averaged ones; or ""."""
    if LIGHTNING_RAW in content:
        return LIGHTNING_RAW
    # MMEngine's averaged model counts its steps; the hook that saves it has swapped the two
    swapped = content.get(MMENGINE_RAW)
    return MMENGINE_RAW if isinstance(swapped, Mapping) and "steps" in swapped else ""


def _leads(content: Mapping[Any, Any], key: str) -> bool:
    """Whether there are tensors under a key, or further wrappers that lead to some."""
    pending, seen = [content.get(key)], {id(content)}
    while pending:
        inner = pending.pop()
        if isinstance(inner, Mapping) and id(inner) not in seen:
            seen.add(id(inner))
            if any(isinstance(value, Entry | SparseEntry) for value in inner.values()):
                return True
            pending += [inner.get(further) for further in (*RAW, *AVERAGED)]
    return False


# prefixes


def _strip(found: Unwrapped, weights: Weights, *, lightning: bool) -> None:
    """Take off what wrapping modules add to names, until nothing more comes off."""
    table = found.table
    for counter in ("n_averaged", "steps"):
        if counter in table and all(name.startswith("module.") for name in table if name != counter):
            table = _without(found, table, [counter])
            if counter == "n_averaged":
                found.averaged = True
                found.steps.append("AveragedModel")
    table = _one_copy(found, table, weights)
    if any("/" in name for name in table):
        table = _arrays(found, table)
    for _ in range(_DEPTH):
        if any("_orig_mod." in name for name in table):
            found.steps.append("_orig_mod.")
            table = _renamed(table, {name: name.replace("_orig_mod.", "") for name in table})
        elif table and all(name.startswith("module.") for name in table):
            found.steps.append("module.")
            table = _renamed(table, {name: name.removeprefix("module.") for name in table})
        elif prefix := _attribute(table, lightning=lightning):
            found.steps.append(prefix)
            table = _without(found, table, [name for name in table if not name.startswith(prefix)])
            table = _renamed(table, {name: name.removeprefix(prefix) for name in table})
            lightning = False
        else:
            break
    found.table = table


def _without(found: Unwrapped, table: dict[str, AnyEntry], names: Iterable[str]) -> dict[str, AnyEntry]:
    gone = set(names)
    found.beside += [name for name in table if name in gone]
    return {name: value for name, value in table.items() if name not in gone}


def _renamed(table: dict[str, AnyEntry], names: Mapping[str, str]) -> dict[str, AnyEntry]:
    renamed = {names[name]: value for name, value in table.items()}
    if len(renamed) != len(table):
        twice = Counter(names.values()).most_common(1)[0][0]
        raise DamagedError(f"two tensors have the name {twice} once the prefixes of wrappers are off")
    return renamed


def _one_copy(found: Unwrapped, table: dict[str, AnyEntry], weights: Weights) -> dict[str, AnyEntry]:
    """One of two copies of the weights in one table."""
    for prefix in AVERAGED_PREFIXES:
        own = {name.removeprefix(prefix) for name in table if name.startswith(prefix)}
        if not own:
            continue
        for raw in RAW_PREFIXES:
            if all(f"{raw}{name}" in table for name in own):
                chosen, other = (raw, prefix) if weights == "raw" else (prefix, raw)
                found.averaged, found.other = weights != "raw", f"{other}*" if other else "names without it"
                if chosen:
                    found.steps.append(chosen)
                kept = {f"{chosen}{name}" for name in own}
                table = _without(found, table, [name for name in table if name not in kept])
                return {name.removeprefix(chosen): value for name, value in table.items()}
    return table


def _arrays(found: Unwrapped, table: dict[str, AnyEntry]) -> dict[str, AnyEntry]:
    """The arrays of the parameters among those of a whole training state."""
    for prefix in NPZ_PREFIXES:
        if any(name.startswith(prefix) for name in table):
            found.steps.append(prefix)
            table = _without(found, table, [name for name in table if not name.startswith(prefix)])
            return {name.removeprefix(prefix): value for name, value in table.items()}
    return table


def _attribute(table: Mapping[str, AnyEntry], *, lightning: bool) -> str:
    """The attribute's name, with a dot, under which all tensors stand but those of losses and metrics; or ""."""
    # a buffer of a Lightning module itself, such as class weights, belongs to its loss
    heads = {name.partition(".")[0] for name in table if "." in name or not lightning}
    networks = [head for head in heads if not _STRAY.search(head)]
    if len(networks) != 1:
        return ""
    prefix = f"{networks[0]}."
    if not any(name.startswith(prefix) for name in table) or networks[0].isdigit():
        return ""
    return prefix if lightning or prefix in ATTRIBUTES else ""
