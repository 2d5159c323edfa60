"""Writing a network in another layout: the same tensors under other names, checked before the file stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mixanalysis.checkpoints import open_checkpoint, save_checkpoint
from mixanalysis.errors import CheckFailedError, UsageError
from mixanalysis.families import LAYOUTS, TARGETS, native
from mixanalysis.files import atomic_write
from mixanalysis.network import UNKNOWN, Network

IMAGES = 4
"""Images on which the written network is compared with the original."""


class Written(NamedTuple):
    """A file that was written.

    Attributes:
        path: the file.
        layout: the layout in which it is.
        untold: what the file doesn't tell and its layout wouldn't guess: it has to be assumed on loading.
    """

    path: Path
    layout: str
    untold: dict[str, str]


@dataclass(frozen=True)
class Target:
    """A foreign layout that can be written.

    Attributes:
        layout: its name.
        cannot: what of a network it can't express; nothing where it can be written.
        state: the network's tensors under the layout's names.
        untold: what the tensors don't tell and the layout would take for something else, as `--assume` wants it.
        save: writes the tensors to a path, in the format that suits the path that was asked for, the second one.
    """

    layout: str
    cannot: Callable[[Network], list[str]]
    state: Callable[[Network], dict[str, Tensor]]
    untold: Callable[[Network], dict[str, str]]
    save: Callable[[Path, Path, Mapping[str, Tensor]], None]


def convert(network: Network, path: Path, to: str) -> Written:
    """Write a network in another layout, and see that what was written is the same network.

    Args:
        network: any whose architecture is known.
        path: the file; an old one is replaced.
        to: a key of `TARGETS`, or "own".

    Returns:
        What was written, and what of the network the file doesn't tell.

    Raises:
        UsageError: the layout can't express the network, or there is none of that name.
        CheckFailedError: the written network isn't the original one; nothing was written.
    """
    if to != "own" and to not in TARGETS:
        raise UsageError(f"can't write the layout {to!r}; known are own, {', '.join(TARGETS)}")
    if network.family == UNKNOWN:
        network.module()  # says why
    if to == "own":
        with atomic_write(path) as temporary:
            save_checkpoint(temporary, network.config, _own_state(network), network.provenance.training)
            _same(network, native.LAYOUT.network(open_checkpoint(temporary)))
        return Written(path, native.NAME, {})
    target = TARGETS[to]
    if problems := target.cannot(network):
        raise UsageError(f"{network.provenance.path}: {to} can't express {'; '.join(problems)}")
    untold = target.untold(network)
    with atomic_write(path) as temporary:
        target.save(temporary, path, target.state(network))
        _same(network, LAYOUTS[target.layout].network(open_checkpoint(temporary), untold))
    return Written(path, target.layout, untold)


def _own_state(network: Network) -> dict[str, Tensor]:
    """The module's state, with the masks of pruned matrices."""
    state = dict(network.module().state_dict())
    for name in masked(network):
        support = network.weights.support(name) if network.weights else None
        if support is None:
            message = f"{network.provenance.path}: our own format can't express the mask of {name}, which is no matrix"
            raise UsageError(message)
        mask = torch.zeros(state[name].shape, dtype=torch.bool)
        mask[support.rows, support.columns] = True
        state[name.removesuffix("weight") + "mask"] = mask
    return state


def masked(network: Network) -> list[str]:
    """Names of a network's weights that have masks."""
    weights = network.weights
    parameters = network.module().named_parameters()
    return [name for name, value in parameters if weights is not None and weights.connections(name) < value.numel()]


def _same(network: Network, written: Network) -> None:
    """Raise CheckFailedError unless both have the same configuration, tensors and logits."""
    before, after = network.module().state_dict(), written.module().state_dict()
    images = torch.randn(IMAGES, *network.config.input_shape, generator=torch.Generator().manual_seed(0))
    dtype = next(value.dtype for value in before.values() if value.is_floating_point())
    with torch.inference_mode():
        logits, again = (each.module()(images.to(dtype)).double() for each in (network, written))
    checks = {
        "configuration": network.config == written.config,
        "tensors": before.keys() == after.keys() and all(_equal(before[name], after[name]) for name in before),
        # equal weights whose strides differ may be summed in another order
        "logits": bool((logits - again).abs().max() <= 64 * torch.finfo(dtype).eps * logits.abs().max()),
    }
    if failed := [what for what, passed in checks.items() if not passed]:
        message = f"{network.provenance.path}: what was written and read again differs in {', '.join(failed)}"
        raise CheckFailedError(message)


def _equal(a: Tensor, b: Tensor) -> bool:
    if a.layout == b.layout == torch.sparse_csr:
        parts = [(each.crow_indices(), each.col_indices(), each.values()) for each in (a, b)]
        return a.shape == b.shape and all(_equal(one, other) for one, other in zip(*parts, strict=True))
    return a.dtype == b.dtype and torch.equal(a, b)
