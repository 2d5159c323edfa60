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

WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""Parts of names that torch.compile, FSDP and activation checkpointing put before any module."""

WHOLE = ("_forward_module.", "module.")
"""Prefixes of all names: of Lightning's and DeepSpeed's wrapper of the forward function, and of DataParallel's."""

_FLATTENED = re.compile(r"(^|[._])flat_param(_\d+)?$")

_STRAY = re.compile(r"(^|_)(loss(es)?|criterion|criteria|metrics?|acc|accuracy|auroc)(_|$)", re.IGNORECASE)
_TABLES = 1000
"""Nested tables that are looked through for a list of choices."""

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
        stages: the table before each prefix that was taken off its names, outermost first.
        averaged: whether these are averaged weights; None where only one kind is there and nothing says which.
        other: where weights of the other kind stand, or "".
    """

    table: dict[str, AnyEntry]
    steps: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    extras: list[Mapping[Any, Any]] = field(default_factory=list)
    stages: list[dict[str, AnyEntry]] = field(default_factory=list)
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


def unwrap(content: object, weights: Weights = "auto", key: str = "") -> Unwrapped:
    """Find the innermost table of tensors, and take prefixes off its names.

    Args:
        content: what the file holds.
        weights: which weights to take where there are raw and averaged ones.
        key: where the table of weights is, keys joined by dots; found by the usual keys by default.

    Returns:
        The weights, and what was taken off.

    Raises:
        DamagedError: there is no table of named tensors, not the kind of weights that is asked for, or two tensors
            would have one name.
        UsageError: `weights` is none of its three values, or there is no table under `key`.
    """
    if weights not in get_args(Weights):
        raise UsageError(f"weights must be one of {', '.join(get_args(Weights))}, got {weights!r}")
    unwrapped = Unwrapped({})
    lightning = False
    if key:
        unwrapped.steps.append(key)
        content = _under(content, key)
    outer = content
    while isinstance(content, Mapping) and (step := _step(content, weights, unwrapped)) is not None:
        lightning = lightning or LIGHTNING in content
        unwrapped.steps.append(step)
        unwrapped.beside += [str(other) for other in content if other != step]
        unwrapped.extras.append(content)
        content = content[step]
    table = content if isinstance(content, Mapping) else {}
    unwrapped.table = {str(name): value for name, value in table.items() if isinstance(value, Entry | SparseEntry)}
    if not unwrapped.table:
        raise DamagedError(f"holds no table of named tensors; found {_what(content)}{_choices(outer)}")
    unwrapped.beside += [str(name) for name in table if str(name) not in unwrapped.table]
    if not unwrapped.extras or unwrapped.extras[-1] is not table:
        unwrapped.extras.append(table)
    _strip(unwrapped, weights, lightning=lightning)
    if weights == "ema" and not unwrapped.averaged:
        raise DamagedError("holds no averaged weights, or doesn't say that they are; leave weights at 'auto'")
    if weights == "raw" and unwrapped.averaged:
        raise DamagedError("holds averaged weights alone; leave weights at 'auto'")
    return unwrapped


def _under(content: object, key: str) -> object:
    """The table under a path of keys, which may have dots themselves."""
    inner, rest = content, key
    while rest:
        names = {str(name): value for name, value in inner.items()} if isinstance(inner, Mapping) else {}
        steps = [name for name in names if name and (rest == name or rest.startswith(f"{name}."))]
        if not steps:
            raise UsageError(f"there is no table under the key {key!r}{_choices(content)}")
        step = max(steps, key=len)
        inner, rest = names[step], rest[len(step) + 1 :]
    return inner


def _choices(content: object, most: int = 5) -> str:
    """In words, the tables of tensors that are nested under any keys, the largest first; or nothing."""
    tables: list[tuple[int, str]] = []
    pending: list[tuple[str, object, int]] = [("", content, 0)]
    seen: set[int] = set()
    while pending and len(seen) < _TABLES:
        path, inner, depth = pending.pop()
        if not isinstance(inner, Mapping) or id(inner) in seen or depth > _DEPTH:
            continue
        seen.add(id(inner))
        count = sum(isinstance(value, Entry | SparseEntry) for value in inner.values())
        if path and count:
            tables.append((count, path))
        pending += [(f"{path}.{name}".removeprefix("."), value, depth + 1) for name, value in inner.items()]
    if not tables:
        return ""
    tables.sort(key=lambda table: -table[0])
    listed = ", ".join(f"{path[:80]} ({count} tensor{'s' * (count > 1)})" for count, path in tables[:most])
    return f"; choose one of its tables by key: {listed}" + (", ..." if len(tables) > most else "")


def _what(content: object) -> str:
    name = "Tensor" if isinstance(content, Entry | SparseEntry) else type(content).__name__
    if isinstance(content, Mapping):
        keys = ", ".join(str(key)[:60] for key in list(content)[:5])
        name += f" with keys {keys}" if content else " without entries"
    return name


# nesting


def _step(content: Mapping[Any, Any], weights: Weights, unwrapped: Unwrapped) -> str | None:
    """The key to follow next, or None in the table itself; notes in `unwrapped` which kind of weights it leads to."""
    if len(unwrapped.steps) >= _DEPTH:
        return None
    swapped = _swapped(content)
    if swapped and _leads(content, "state_dict"):
        raw = weights == "raw" and _leads(content, swapped)
        unwrapped.averaged, unwrapped.other = not raw, "state_dict" if raw else swapped
        return swapped if raw else "state_dict"
    raw_key = next((key for key in RAW if _leads(content, key)), None)
    averaged_key = next((key for key in AVERAGED if _leads(content, key)), None)
    if averaged_key is None or (weights == "raw" and raw_key is not None):
        if averaged_key is not None:
            unwrapped.averaged, unwrapped.other = False, averaged_key
        return raw_key
    # a table of tensors with an average beside it holds the raw weights itself
    own = raw_key is None and any(isinstance(value, Entry | SparseEntry) for value in content.values())
    if own and weights == "raw":
        unwrapped.averaged, unwrapped.other = False, averaged_key
        return None
    unwrapped.averaged, unwrapped.other = True, raw_key or ("the table around it" if own else unwrapped.other)
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


def _strip(unwrapped: Unwrapped, weights: Weights, *, lightning: bool) -> None:
    """Take off what wrapping modules add to names, until nothing more comes off."""
    table = unwrapped.table
    for counter in ("n_averaged", "steps"):
        if counter in table and all(name.startswith("module.") for name in table if name != counter):
            table = _without(unwrapped, table, [counter])
            if counter == "n_averaged":
                unwrapped.averaged = True
                unwrapped.steps.append("AveragedModel")
    table = _one_copy(unwrapped, table, weights)
    if any("/" in name for name in table):
        table = _arrays(unwrapped, table)
    for _ in range(_DEPTH):
        unwrapped.stages.append(table)
        wrapper = next((part for part in WRAPPERS if any(part in name for name in table)), None)
        if wrapper is not None:
            unwrapped.steps.append(wrapper)
            table = _renamed(table, {name: name.replace(wrapper, "") for name in table})
        elif whole := next((part for part in WHOLE if table and all(name.startswith(part) for name in table)), ""):
            unwrapped.steps.append(whole)
            table = _renamed(table, {name: name.removeprefix(whole) for name in table})
        elif prefix := _attribute(table, lightning=lightning):
            unwrapped.steps.append(prefix)
            table = _without(unwrapped, table, [name for name in table if not name.startswith(prefix)])
            table = _renamed(table, {name: name.removeprefix(prefix) for name in table})
            lightning = False
        else:
            break
    unwrapped.table = table
    if table and all(_FLATTENED.search(name) for name in table):
        msg = "holds weights flattened by FSDP; save them with StateDictType.FULL_STATE_DICT, or use_orig_params=True"
        raise DamagedError(msg)


def _without(unwrapped: Unwrapped, table: dict[str, AnyEntry], names: Iterable[str]) -> dict[str, AnyEntry]:
    gone = set(names)
    unwrapped.beside += [name for name in table if name in gone]
    return {name: value for name, value in table.items() if name not in gone}


def _renamed(table: dict[str, AnyEntry], names: Mapping[str, str]) -> dict[str, AnyEntry]:
    renamed = {names[name]: value for name, value in table.items()}
    if len(renamed) != len(table):
        twice = Counter(names.values()).most_common(1)[0][0]
        raise DamagedError(f"two tensors have the name {twice} once the prefixes of wrappers are off")
    return renamed


def _one_copy(unwrapped: Unwrapped, table: dict[str, AnyEntry], weights: Weights) -> dict[str, AnyEntry]:
    """One of two copies of the weights in one table."""
    for prefix in AVERAGED_PREFIXES:
        own = {name.removeprefix(prefix) for name in table if name.startswith(prefix)}
        if not own:
            continue
        for raw in RAW_PREFIXES:
            if all(f"{raw}{name}" in table for name in own):
                chosen, other = (raw, prefix) if weights == "raw" else (prefix, raw)
                unwrapped.averaged, unwrapped.other = weights != "raw", f"{other}*" if other else "names without it"
                if chosen:
                    unwrapped.steps.append(chosen)
                kept = {f"{chosen}{name}" for name in own}
                table = _without(unwrapped, table, [name for name in table if name not in kept])
                return {name.removeprefix(chosen): value for name, value in table.items()}
    return table


def _arrays(unwrapped: Unwrapped, table: dict[str, AnyEntry]) -> dict[str, AnyEntry]:
    """The arrays of the parameters among those of a whole training state."""
    for prefix in NPZ_PREFIXES:
        if any(name.startswith(prefix) for name in table):
            unwrapped.steps.append(prefix)
            table = _without(unwrapped, table, [name for name in table if not name.startswith(prefix)])
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
