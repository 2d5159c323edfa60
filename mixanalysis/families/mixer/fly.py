"""fly's Mixer (HazyResearch/fly, src/models/mlp_mixer.py): timm's names, matrices kept as blocks or Monarch factors.

Padding hides the sizes of such a matrix, so that they are those of the biases. Whether `BlockdiagLinear` shuffles its
inputs, tensors don't tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.families.assemble import assemble
from mixanalysis.families.layout import Layout
from mixanalysis.families.mixer.dialect import MixerSizes, Whereabouts
from mixanalysis.families.mixer.projects import TIMM
from mixanalysis.network import Network, Structure, Structures

NAME = "fly-mixer"
DIALECT = replace(TIMM, name=NAME)

_FCS = tuple((axis, fc) for axis in ("token", "channel") for fc in ("fc1", "fc2"))
_SOUGHT = tuple(name.replace(".weight", ".*") if ".fc" in name else name for name in DIALECT.sought())


def network(checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> Network:
    """The network.

    Returns:
        A Mixer with a structure for each matrix of its blocks.

    Raises:
        ValueError: a mixing layer has no bias, from which its size would follow.
    """
    where = DIALECT.find(checkpoint, assumed)
    structures = _structures(checkpoint, where, shuffle=assumed["shuffle"])
    sizes = {}
    for axis, fc in _FCS:
        bias = DIALECT.view(f"blocks.0.{axis}.mlp.{fc}.bias", where).name
        if bias not in checkpoint:
            msg = f"{bias} is missing, without which the size of a padded matrix can't be told"
            raise ValueError(msg)
        sizes[axis, fc] = (*checkpoint.shape(bias), 0)[0]
    mixer = MixerSizes(sizes["token", "fc2"], sizes["token", "fc1"], sizes["channel", "fc2"], sizes["channel", "fc1"])
    config = DIALECT.config(checkpoint, where, assumed, mixer, structures)
    return assemble(checkpoint, config, layout=NAME, rename=partial(DIALECT.view, where=where))


def _structures(checkpoint: Checkpoint, where: Whereabouts, *, shuffle: bool) -> Structures:
    """How each matrix of the first block is made."""
    structures = {}
    for axis, fc in _FCS:
        monarch, blocks = (
            DIALECT.shape(checkpoint, f"blocks.0.{axis}.mlp.{fc}.{part}", where) for part in ("blkdiag1", "weight")
        )
        kind: Literal["dense", "block-diagonal", "monarch"] = "dense"
        if len(monarch) == 3:
            kind, count = "monarch", monarch[0]
        elif len(blocks) == 3:
            kind, count = "block-diagonal", blocks[0]
        shuffled = shuffle and kind == "block-diagonal"
        structures[f"{axis}_{fc}"] = Structure() if kind == "dense" else Structure(kind, count, shuffled)
    return Structures(**structures)


def _has_blocks(checkpoint: Checkpoint, *parts: str) -> bool:
    """Whether a matrix of the first block is kept as blocks, in a tensor of one of these names."""
    names = (f"blocks.0.{axis}.mlp.{fc}.{part}" for axis, fc in _FCS for part in parts)
    return any(len(DIALECT.shape(checkpoint, name, Whereabouts("", 1))) == 3 for name in names)


def _objection(checkpoint: Checkpoint) -> str:
    return "" if _has_blocks(checkpoint, "weight", "blkdiag1") else "none of its matrices is kept as blocks"


def _varies(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The shuffle, which block-diagonal matrices may have or not; Monarch matrices always do."""
    return ("shuffle",) if _has_blocks(checkpoint, "weight") else ()


LAYOUT = Layout(NAME, _SOUGHT, network, DIALECT.assumes | {"shuffle": False}, _objection, varies=_varies)
