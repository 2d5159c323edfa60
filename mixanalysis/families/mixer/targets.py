"""The layouts in which plain Mixers can be written: timm's and Flax's."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from mixanalysis.families.convert import Target, masked
from mixanalysis.families.mixer.dialect import Dialect, Whereabouts
from mixanalysis.families.mixer.network import MixerConfig
from mixanalysis.families.mixer.projects import FLAX, TIMM
from mixanalysis.network import Network

Save = Callable[[Path, Path, Mapping[str, Tensor]], None]


def _state(dialect: Dialect, network: Network) -> dict[str, Tensor]:
    """The state under the dialect's names."""
    state = {}
    where = Whereabouts("", network.config.depth)  # type: ignore[attr-defined]
    for ours, tensor in network.module().state_dict().items():
        arrangement = dialect.arrangement(ours)
        write = None if arrangement is None else arrangement.write
        state[dialect.view(ours, where).name] = (tensor if write is None else write(tensor)).contiguous()
    return state


def _untold(dialect: Dialect, network: Network) -> dict[str, str]:
    """Everything that tensors don't tell and the dialect takes for something else, as `--assume` wants it."""
    config: Any = network.config
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
    """Parts of a network that a plain Mixer doesn't have."""
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
    masks = [f"the mask of {name}" for name in masked(network)[:1]]
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
    """An archive as numpy.savez writes it, with slashes in names."""
    with zipfile.ZipFile(temporary, "w") as archive:
        for name, tensor in state.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, tensor.numpy(), allow_pickle=False)


def _target(dialect: Dialect, cannot: Callable[[Network], list[str]], save: Save) -> Target:
    return Target(dialect.name, cannot, partial(_state, dialect), partial(_untold, dialect), save)


TARGETS = {"timm": _target(TIMM, _timm_cannot, _save_timm), "flax": _target(FLAX, _flax_cannot, _save_npz)}
"""The targets by the name of --to."""
