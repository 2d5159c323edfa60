"""From named tensors to a network: one module per layout, told apart by names and shapes alone."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mixanalysis.checkpoints import Checkpoint, open_checkpoint
from mixanalysis.errors import CheckpointError, UsageError
from mixanalysis.layouts import own, timm_mixer
from mixanalysis.layouts import weights_only as weights_only_layout
from mixanalysis.models import Network


class Layout(Protocol):
    """What a layout's module holds."""

    NAME: str
    SOUGHT: str

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Whether the names and shapes are this layout's."""

    def network(self, checkpoint: Checkpoint) -> Network:
        """The network."""


_ALL: tuple[Layout, ...] = (own, timm_mixer)
LAYOUTS: dict[str, Layout] = {module.NAME: module for module in _ALL}
"""Every layout by its name; each is a module."""


def load(path: str | Path, layout: str | None = None, *, weights_only: bool = False) -> Network:
    """Load a trained network.

    Args:
        path: a checkpoint file.
        layout: name of its layout in `LAYOUTS`; recognised from names and shapes by default.
        weights_only: where no layout fits, take every matrix as a layer of an unknown architecture, which can be
            analysed but not run.

    Raises:
        CheckpointError: the file can't be read, no layout or more than one fits, or tensors are missing,
            misshaped or not finite.
        UsageError: there is no layout of that name.
    """
    return from_checkpoint(open_checkpoint(path), layout, weights_only=weights_only)


def from_checkpoint(checkpoint: Checkpoint, layout: str | None = None, *, weights_only: bool = False) -> Network:
    """`load` for a checkpoint that is already open."""
    if layout is not None:
        if layout not in LAYOUTS:
            raise UsageError(f"unknown layout {layout!r}; known are {', '.join(LAYOUTS)}")
        return LAYOUTS[layout].network(checkpoint)
    found = [module for module in LAYOUTS.values() if module.recognise(checkpoint)]
    if len(found) == 1:
        return found[0].network(checkpoint)
    if found:
        names = ", ".join(module.NAME for module in found)
        raise CheckpointError(f"{checkpoint.path}: fits several layouts ({names}); name one with --layout")
    sought = "; ".join(f"{module.NAME}: {module.SOUGHT}" for module in LAYOUTS.values())
    some = ", ".join(checkpoint.names[:3])
    message = (
        f"{checkpoint.path}: no known layout has these tensors ({some}{', ...' if len(checkpoint.names) > 3 else ''}); "
        f"looked for {sought}"
    )
    if weights_only:
        return weights_only_layout.network(checkpoint, message)
    raise CheckpointError(message)


def load_all(paths: Sequence[str | Path], layout: str | None = None, *, weights_only: bool = False) -> list[Network]:
    """Load several networks and give each a label of its own.

    A label is the file's name without its ending; where several files share it, their folders' names come before,
    and a file that is given twice is numbered. `layout` and `weights_only` are those of `load`.
    """
    networks = [load(path, layout, weights_only=weights_only) for path in paths]
    labels = [network.label for network in networks]
    shared = {name for name in labels if labels.count(name) > 1}
    parents = [network.provenance.path.resolve().parent.name for network in networks]
    labels = [f"{parent}/{name}" if name in shared else name for name, parent in zip(labels, parents, strict=True)]
    unique: dict[str, Network] = {}
    for network, name in zip(networks, labels, strict=True):
        numbered = itertools.chain([name], (f"{name} ({number})" for number in itertools.count(2)))
        label = next(free for free in numbered if free not in unique)
        unique[label] = dataclasses.replace(network, label=label)
    return list(unique.values())
