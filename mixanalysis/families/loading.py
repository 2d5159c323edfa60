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

Labelled = TypeVar("Labelled", bound=Any)
"""A dataclass with `label` and `provenance`."""


def load(
    path: str | Path,
    layout: str | None = None,
    *,
    assume: Mapping[str, object] | None = None,
    weights_only: bool = False,
    weights: Weights = "auto",
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

    Returns:
        The network, its weights unread.

    Raises:
        CheckpointError: the file can't be read, no layout or more than one fits, or tensors are missing,
            misshaped or not finite.
        UsageError: there is no layout of that name, or nothing of that name or value can be assumed.
    """
    return from_checkpoint(open_checkpoint(path, weights), layout, assume=assume, weights_only=weights_only)


def from_checkpoint(
    checkpoint: Checkpoint,
    layout: str | None = None,
    *,
    assume: Mapping[str, object] | None = None,
    weights_only: bool = False,
) -> Network:
    """`load` for a checkpoint that is already open."""
    assumed = read(assume or {})
    chosen = _choose(checkpoint, layout)
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


def _choose(checkpoint: Checkpoint, name: str | None) -> Layout | str:
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
        checkpoint = open_checkpoint(path, weights)
        chosen = _choose(checkpoint, layout)
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
