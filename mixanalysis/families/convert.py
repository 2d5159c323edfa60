"""Writing a network in another layout: the same tensors under other names, checked before the file stands."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from mixanalysis.checkpoints import open_checkpoint, save_checkpoint
from mixanalysis.errors import CheckFailedError, UsageError
from mixanalysis.families import native as own
from mixanalysis.families.mixer.dialect import Dialect, Found
from mixanalysis.families.mixer.layouts import FLAX, LAYOUTS, TIMM
from mixanalysis.families.mixer.network import MixerConfig
from mixanalysis.files import atomic_write
from mixanalysis.network import UNKNOWN, Network

IMAGES = 4
"""Images on which the written network is compared with the original."""


class Written(NamedTuple):
    """What was written.

    Attributes:
        path: the file.
        layout: the layout in which it is.
        untold: what the file doesn't tell and its layout wouldn't guess: it has to be assumed on loading.
    """

    path: Path
    layout: str
    untold: dict[str, str]


Save = Callable[[Path, Path, Mapping[str, Tensor]], None]


@dataclass(frozen=True)
class Target:
    """A layout that can be written: its dialect, how its files are written, and what it can't express."""

    dialect: Dialect
    save: Save
    cannot: Callable[[Network], list[str]]


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
            _same(network, own.LAYOUT.network(open_checkpoint(temporary)))
        return Written(path, own.NAME, {})
    target = TARGETS[to]
    if problems := target.cannot(network):
        raise UsageError(f"{network.provenance.path}: {to} can't express {'; '.join(problems)}")
    untold = _untold(network.config, target.dialect)
    layout = next(layout for layout in LAYOUTS if layout.name == target.dialect.name)
    with atomic_write(path) as temporary:
        target.save(temporary, path, _theirs(network, target.dialect))
        _same(network, layout.network(open_checkpoint(temporary), untold))
    return Written(path, layout.name, untold)


def _own_state(network: Network) -> dict[str, Tensor]:
    """The module's state, with the masks of pruned matrices."""
    state = dict(network.module().state_dict())
    for name in _masked(network):
        support = network.weights.support(name) if network.weights else None
        if support is None:
            message = f"{network.provenance.path}: our own format can't express the mask of {name}, which is no matrix"
            raise UsageError(message)
        mask = torch.zeros(state[name].shape, dtype=torch.bool)
        mask[support.rows, support.columns] = True
        state[name.removesuffix("weight") + "mask"] = mask
    return state


def _masked(network: Network) -> list[str]:
    """Names of the weights that have masks."""
    weights = network.weights
    parameters = network.module().named_parameters()
    return [name for name, value in parameters if weights is not None and weights.connections(name) < value.numel()]


def _theirs(network: Network, dialect: Dialect) -> dict[str, Tensor]:
    """The state under the dialect's names."""
    state = {}
    where = Found("", network.config.depth)  # type: ignore[attr-defined]
    for ours, tensor in network.module().state_dict().items():
        arrangement = dialect.arrangement(ours)
        write = None if arrangement is None else arrangement.write
        state[dialect.view(ours, where).name] = (tensor if write is None else write(tensor)).contiguous()
    return state


def _untold(config: MixerConfig | Any, dialect: Dialect) -> dict[str, str]:
    """What the tensors don't tell and the dialect takes for something else, as `--assume` wants it."""
    untold = {}
    if config.gelu != dialect.gelu:
        untold["gelu"] = config.gelu
    if config.norm_eps != dialect.norm_eps:
        untold["norm_eps"] = repr(config.norm_eps)
    if config.patches.height != config.patches.width:
        untold["image"] = f"{config.patches.height}x{config.patches.width}"
    if config.pooling != "mean":
        untold["pooling"] = config.pooling
    return untold


def _cannot(network: Network, *, stem_norm: bool) -> list[str]:
    """What of a network a plain Mixer doesn't have."""
    config = network.config
    if network.family != "mixer" or not isinstance(config, MixerConfig):
        return [f"a {network.family}: it holds plain Mixers alone"]
    facts = {
        "a class token": config.class_token,
        f"{config.tokens} tokens from {config.patches.count} patches": config.tokens != config.embedded,
        "a patch embedding without bias": not config.stem_bias,
        "mixing layers without biases": not config.mixing_bias,
        "a network without final LayerNorm": not config.final_norm,
        "matrices made of blocks": any(
            config.structures.of(axis, fc).kind != "dense" for axis in ("token", "channel") for fc in ("fc1", "fc2")
        ),
        "a LayerNorm after the patch embedding": config.stem_norm and not stem_norm,
    }
    masks = [f"the mask of {name}" for name in _masked(network)[:1]]
    return [fact for fact, true in facts.items() if true] + masks


def _timm_cannot(network: Network) -> list[str]:
    return _cannot(network, stem_norm=True)


def _flax_cannot(network: Network) -> list[str]:
    problems = _cannot(network, stem_norm=False)
    if any(value.dtype == torch.bfloat16 for value in network.module().state_dict().values()):
        problems.append("bfloat16, which npz files don't have")
    return problems


def _save_timm(temporary: Path, path: Path, state: Mapping[str, Tensor]) -> None:
    """Safetensors, or what torch.save writes where the name ends so."""
    if path.suffix in (".pt", ".pth", ".bin", ".tar", ".ckpt"):
        torch.save(dict(state), temporary)
    else:
        save_file(dict(state), temporary)


def _save_npz(temporary: Path, _path: Path, state: Mapping[str, Tensor]) -> None:
    """What numpy.savez writes, with slashes in names."""
    with zipfile.ZipFile(temporary, "w") as archive:
        for name, tensor in state.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, tensor.numpy(), allow_pickle=False)


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


TARGETS: dict[str, Target] = {
    "timm": Target(TIMM, _save_timm, _timm_cannot),
    "flax": Target(FLAX, _save_npz, _flax_cannot),
}
"""Foreign layouts that can be written, by the name of --to."""
