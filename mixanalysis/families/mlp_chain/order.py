"""The linear layers and norms that tensors belong to, and the one order in which their shapes fit."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.errors import CheckpointError

STEPS = 10_000
"""Layers that are tried in a search for orders, before it gives up."""

_LEAVES = {
    frozenset({"weight"}): "linear",
    frozenset({"weight", "bias"}): "linear",
    frozenset({"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}): "batch",
}


_NO_CHAIN = re.compile(
    r"(^|[._])(q|k|v|qkv|kv|w[qkvo]|query|key|value|([qkvo]|in)_?proj|c_attn|attn|attention|lora_[ab]|adapters?|experts?|"
    r"router|gates?|mix|mixers?|mixing|tokens?|emb|embeddings?|wte|wpe|skip|shortcut|downsample|res|residual)"
    r"[0-9]*([._]|$)",
    re.IGNORECASE,
)
"""Words in names of networks whose layers don't simply follow each other."""


class Module(NamedTuple):
    """A linear layer or a norm.

    Attributes:
        name: its path.
        kind: "linear", or that of a norm.
        inputs: features that it takes.
        outputs: features that it gives.
        bias: whether it has one.
    """

    name: str
    kind: Literal["linear", "batch", "layer"]
    inputs: int
    outputs: int
    bias: bool = True

    @property
    def pattern(self) -> str:
        """The name without its numbers."""
        return re.sub(r"[0-9]+", "#", self.name)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers in the name."""
        return tuple(map(int, re.findall(r"[0-9]+", self.name)))


class Link(NamedTuple):
    """A linear layer, and the norm that follows it."""

    linear: Module
    norm: Module | None


def modules(checkpoint: Checkpoint) -> tuple[Module, ...]:
    """Linear layers and norms, in the order of the file; none where tensors or names are those of anything else too."""
    if any(_NO_CHAIN.search(name) for name in checkpoint.names):
        return ()
    leaves: dict[str, set[str]] = defaultdict(set)
    for name in checkpoint.names:
        module, _, leaf = name.rpartition(".")
        leaves[module].add(leaf)
    every = [_module(checkpoint, name, frozenset(parts)) for name, parts in leaves.items()]
    known = tuple(module for module in every if module is not None)
    linear = sum(module.kind == "linear" for module in known)
    return known if len(known) == len(every) and linear > 1 else ()


def _module(checkpoint: Checkpoint, name: str, leaves: frozenset[str]) -> Module | None:
    if leaves not in _LEAVES:
        return None
    path = f"{name}." if name else ""
    shapes = {leaf: checkpoint.shape(path + leaf) for leaf in leaves}
    weight, others = shapes.pop("weight"), set(shapes.values()) - {()}
    if 0 in weight or others - {weight[:1]} or not _floating(checkpoint, path + "weight"):
        return None
    if len(weight) == 2 and _LEAVES[leaves] == "linear":
        return Module(name, "linear", weight[1], weight[0], "bias" in leaves)
    # a gain without shift is as likely that of an RMSNorm
    if len(weight) == 1 and "bias" in leaves:
        return Module(name, "batch" if _LEAVES[leaves] == "batch" else "layer", weight[0], weight[0])
    return None


def _floating(checkpoint: Checkpoint, name: str) -> bool:
    try:
        return checkpoint.dtype(name).is_floating_point
    except CheckpointError:
        return False  # of a kind that isn't read


def chain(known: Sequence[Module], *, ordered: bool) -> tuple[Module | None, list[Link]]:
    """The only chain of the modules: a norm of the input where there is one, and the linear layers.

    Args:
        known: linear layers and norms.
        ordered: whether they stand in the order in which a module registered them; files of some formats are sorted.

    Returns:
        The norm that comes before all linear layers, and these in forward order.

    Raises:
        ValueError: their shapes don't fit in any order, or in several; names the first contradiction.
    """
    linear = [module for module in known if module.kind == "linear"]
    norms = [module for module in known if module.kind != "linear"]
    if ordered and _ascending(linear) and not _gap(linear):
        return _norms_in_turn(known)
    if not (ordered and _ascending(linear)):
        linear.sort(key=lambda each: (each.pattern, each.numbers))
    orders = list(_orders(linear))
    if not orders:
        raise ValueError(_gap(linear) or "its linear layers fit in no order in which their numbers ascend")
    if len(orders) > 1:
        first, second = next((a, b) for a, b in zip(*orders, strict=True) if a != b)
        msg = f"its shapes don't tell whether {first.name}.weight comes before {second.name}.weight or after it"
        raise ValueError(msg)
    return _norms_by_name(orders[0], norms)


def _ascending(linear: Sequence[Module]) -> bool:
    """True where layers whose names differ in numbers alone stand in the order of these."""
    last: dict[str, tuple[int, ...]] = {}
    for module in linear:
        if module.numbers < last.get(module.pattern, ()):
            return False
        last[module.pattern] = module.numbers
    return True


def _gap(linear: Sequence[Module]) -> str:
    """The first contradiction of an order; nothing where there is none."""
    for before, after in pairwise(linear):
        if before.outputs != after.inputs:
            return f"{after.name}.weight takes {after.inputs} features, but {before.name}.weight gives {before.outputs}"
    return ""


def _orders(linear: Sequence[Module]) -> Iterator[list[Module]]:
    """Up to two orders in which shapes fit and numbers ascend.

    Yields:
        All linear layers in forward order.

    Raises:
        ValueError: the search takes too long.
    """
    waiting: dict[str, list[Module]] = defaultdict(list)
    for module in sorted(linear, key=lambda each: each.numbers):
        waiting[module.pattern].append(module)
    places = dict.fromkeys(waiting, 0)
    order: list[Module] = []
    steps = orders = 0
    # a stack of the choices that are left at each place, so that long chains need no recursion
    choices = [[queue[0] for queue in waiting.values()]]
    while choices:
        if not choices[-1]:
            choices.pop()
            if order:
                places[order.pop().pattern] -= 1
            continue
        module = choices[-1].pop()
        steps += 1
        if steps > STEPS:
            msg = "its linear layers fit in too many orders to tell which is the network's"
            raise ValueError(msg)
        order.append(module)
        places[module.pattern] += 1
        if len(order) == len(linear):
            yield list(order)
            orders += 1
            if orders == 2:
                return
        heads = [queue[places[name]] for name, queue in waiting.items() if places[name] < len(queue)]
        choices.append([head for head in heads if head.inputs == module.outputs])


def _norms_in_turn(known: Sequence[Module]) -> tuple[Module | None, list[Link]]:
    """Each norm behind the linear layer that stands before it.

    Returns:
        The norm of the input where there is one, and the linear layers with theirs.

    Raises:
        ValueError: a norm has another size, or follows another norm.
    """
    first: Module | None = None
    links: list[Link] = []
    inputs = next(module.inputs for module in known if module.kind == "linear")
    for module in known:
        if module.kind == "linear":
            links.append(Link(module, None))
            continue
        before = links[-1].norm if links else first
        size = links[-1].linear.outputs if links else inputs
        if before is not None:
            msg = f"{module.name} is a norm that follows the norm {before.name}"
            raise ValueError(msg)
        if module.inputs != size:
            msg = f"{module.name} normalises {module.inputs} features, but where it stands there are {size}"
            raise ValueError(msg)
        if links:
            links[-1] = links[-1]._replace(norm=module)
        else:
            first = module
    return first, links


def _norms_by_name(linear: Sequence[Module], norms: Sequence[Module]) -> tuple[Module | None, list[Link]]:
    """Each norm behind the linear layer that its name and its size tell.

    Returns:
        The norm of the input where there is one, and the linear layers with theirs.

    Raises:
        ValueError: they don't tell it.
    """
    taken: dict[int, Module] = {}
    for norm in norms:
        place = _place(linear, norm)
        if place in taken:
            msg = f"{norm.name} and {taken[place]} are norms of the same features"
            raise ValueError(msg)
        taken[place] = norm
    return taken.get(-1), [Link(module, taken.get(index)) for index, module in enumerate(linear)]


def _place(linear: Sequence[Module], norm: Module) -> int:
    """Index of the linear layer before a norm; -1 for one of the input.

    Returns:
        Place in the sequence of linear layers.

    Raises:
        ValueError: it can't be told.
    """
    sizes = [linear[0].inputs, *(module.outputs for module in linear)]
    fitting = [index - 1 for index, size in enumerate(sizes) if size == norm.inputs]
    below = [index for index, module in enumerate(linear) if module.pattern == norm.pattern]
    if below:
        places = [max((index for index in below if linear[index].numbers < norm.numbers), default=-1)]
    else:
        numbered = [index for index, module in enumerate(linear) if module.numbers == norm.numbers != ()]
        places = numbered if len(numbered) == 1 else fitting
    kept = [place for place in places if place in fitting]
    # a norm that could as well stand before the layer of its number
    both = not below and len(kept) == 1 and kept[0] - 1 in fitting and kept[0] > 0 and norm.kind == "layer"
    if len(kept) != 1 or both:
        where = ", ".join("the input" if place < 0 else linear[place].name for place in fitting) or "no layer"
        msg = f"{norm.name} normalises {norm.inputs} features, those of {where}: where it stands can't be told"
        raise ValueError(msg)
    return kept[0]
