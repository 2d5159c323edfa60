"""From named tensors to a network: one module per layout, told apart by names and shapes alone."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mixanalysis.checkpoints import Checkpoint, Weights, open_checkpoint
from mixanalysis.errors import CheckpointError, UsageError
from mixanalysis.families import LAYOUTS
from mixanalysis.families.assume import read
from mixanalysis.families.layout import Layout, none_fits
from mixanalysis.families.unknown import network as unknown
from mixanalysis.network import Network
from mixanalysis.selection import did_you_mean

_PREFIXES = 8
"""Prefixes that are tried: within each other, and beside each other."""

Labelled = TypeVar("Labelled", bound=Any)
"""A dataclass with `label` and `provenance`."""


def load(
    path: str | Path,
    layout: str | None = None,
    *,
    assume: Mapping[str, object] | None = None,
    weights_only: bool = False,
    weights: Weights = "auto",
    key: str = "",
    prefix: str = "",
    zeros_are_masked: bool = False,
) -> Network:
    """Load a trained network.

    Args:
        path: a checkpoint, as `open_checkpoint` takes it.
        layout: name of its layout in `LAYOUTS`; recognised from names and shapes by default.
        assume: what the tensors can't tell, such as {"gelu": "tanh", "norm_eps": 1e-5, "image": "224x160"}; each
            layout has its own default, and `provenance.assumed` tells what was taken.
        weights_only: where no layout fits, take every matrix as a layer of an unknown architecture, which can be
            analysed but not run.
        weights: which of raw and averaged (EMA) weights to take, as `open_checkpoint` has it.
        key: where in the file the table of weights is, as `open_checkpoint` has it.
        prefix: take the tensors below this prefix of their names alone. A prefix of all names that hides a known
            layout comes off by itself.
        zeros_are_masked: take the exact zeros of a weight for pruned connections, where they are more than 5% of it
            and no mask is stored.

    Returns:
        The network, its weights unread.

    Raises:
        CheckpointError: the file can't be read, no layout or more than one fits, or tensors are missing,
            misshaped or not finite.
        UsageError: there is no layout of that name, or nothing of that name or value can be assumed.
    """
    checkpoint = open_checkpoint(path, weights, key=key, prefix=prefix)
    checkpoint = checkpoint.with_zeros_masked() if zeros_are_masked else checkpoint
    return from_checkpoint(checkpoint, layout, assume=assume, weights_only=weights_only)


def from_checkpoint(
    checkpoint: Checkpoint,
    layout: str | None = None,
    *,
    assume: Mapping[str, object] | None = None,
    weights_only: bool = False,
) -> Network:
    """`load` for a checkpoint that is already open."""
    assumed = read(assume or {})
    checkpoint, chosen = _choose(checkpoint, layout)
    if isinstance(chosen, Layout):
        return chosen.network(checkpoint, assumed)
    network = _unknown(checkpoint, chosen, weights_only=weights_only)
    if assumed:
        raise UsageError(f"{checkpoint.path}: nothing can be assumed of an unknown architecture; {chosen}")
    return network


def _unknown(checkpoint: Checkpoint, why: str, *, weights_only: bool) -> Network:
    """The matrices of a checkpoint of no known layout, where they are wanted."""
    if not weights_only:
        others = "inspect and spectrum take its matrices alone, cka --model runs it by your own code"
        raise CheckpointError(f"{why}; {others}")
    return unknown.network(checkpoint, why)


def _choose(checkpoint: Checkpoint, name: str | None) -> tuple[Checkpoint, Layout | str]:
    """The layout of that name, or the only one that fits, or why none does; and the checkpoint as the layout has it.

    A prefix of all names comes off where the rest is in a known layout.

    Returns:
        The checkpoint, and the layout or the reason why none fits.
    """
    chosen = _fitting(checkpoint, name)
    inner = checkpoint
    for _ in range(_PREFIXES):
        if (isinstance(chosen, Layout) and chosen.recognise(checkpoint)) or not (prefix := _only_prefix(inner)):
            break
        inner = inner.below(prefix)
        fits = _fitting(inner, name)
        if isinstance(fits, Layout) and fits.recognise(inner):
            return inner, fits
    if isinstance(chosen, str):
        chosen += _hidden(checkpoint)
    return checkpoint, chosen


def _only_prefix(checkpoint: Checkpoint) -> str:
    """The module below which all tensors are; or ""."""
    heads = checkpoint.heads
    head = next(iter(heads), "")
    return head if heads.get(head) == len(checkpoint.names) and not head[:-1].isdigit() else ""


def _hidden(checkpoint: Checkpoint) -> str:
    """In words, which prefixes hide a known layout beside other tensors; or nothing."""
    heads = [head for head, count in checkpoint.heads.items() if 4 <= count < len(checkpoint.names)][:_PREFIXES]
    fits = {head: _fitting(checkpoint.below(head), None) for head in heads if not head[:-1].isdigit()}
    hidden = [f"{head} is in the {fit.name} layout" for head, fit in fits.items() if isinstance(fit, Layout)]
    return f"; what is below {' and below '.join(hidden)}: choose it as the prefix" if hidden else ""


def _fitting(checkpoint: Checkpoint, name: str | None) -> Layout | str:
    """The layout of that name, or the only one that fits, or why none does."""
    if name is not None:
        if name not in LAYOUTS:
            raise UsageError(f"unknown layout {name!r}; known are {', '.join(LAYOUTS)}{did_you_mean(name, LAYOUTS)}")
        return LAYOUTS[name]
    fitting = [layout for layout in LAYOUTS.values() if layout.recognise(checkpoint)]
    if len(fitting) > 1:
        names = ", ".join(layout.name for layout in fitting)
        raise CheckpointError(f"{checkpoint.path}: fits several layouts ({names}); name one with --layout")
    return fitting[0] if fitting else none_fits(checkpoint, tuple(LAYOUTS.values()))


def load_all(
    paths: Sequence[str | Path],
    layout: str | None = None,
    *,
    assume: Mapping[str, object] | None = None,
    weights_only: bool = False,
    weights: Weights = "auto",
    key: str = "",
    prefix: str = "",
    zeros_are_masked: bool = False,
) -> list[Network]:
    """Load several networks and give each a label of its own.

    A label is the file's name without its ending; where several files share it, their folders' names come before,
    and a file that is given twice is numbered. The arguments are those of `load`, but what is assumed is assumed of
    those networks alone whose layouts leave it open.

    Returns:
        The networks in the order of the paths.

    Raises:
        CheckpointError: as `load`.
        UsageError: as `load`, and where no network's layout leaves open what is assumed.
    """
    wanted = read(assume or {})
    networks = []
    for path in paths:
        opened = open_checkpoint(path, weights, key=key, prefix=prefix)
        checkpoint, chosen = _choose(opened.with_zeros_masked() if zeros_are_masked else opened, layout)
        if isinstance(chosen, Layout):
            taken = {name: value for name, value in wanted.items() if name in chosen.assumes}
            networks.append(chosen.network(checkpoint, taken))
        else:
            networks.append(_unknown(checkpoint, chosen, weights_only=weights_only))
    for name in wanted:
        if not any(name in network.provenance.assumed for network in networks):
            raise UsageError(f"no checkpoint's layout leaves {name} open: there is nothing to assume")
    return with_unique_labels(networks)


def with_unique_labels(networks: Sequence[Labelled]) -> list[Labelled]:
    """Networks with labels that differ, as `load_all` gives them; of any dataclass with `label` and `provenance`."""
    labels = [network.label for network in networks]
    shared = {name for name in labels if labels.count(name) > 1}
    parents = [network.provenance.path.resolve().parent.name for network in networks]
    labels = [f"{parent}/{name}" if name in shared else name for name, parent in zip(labels, parents, strict=True)]
    unique: dict[str, Labelled] = {}
    for network, name in zip(networks, labels, strict=True):
        numbered = itertools.chain([name], (f"{name} ({number})" for number in itertools.count(2)))
        label = next(free for free in numbered if free not in unique)
        unique[label] = dataclasses.replace(network, label=label)
    return list(unique.values())
