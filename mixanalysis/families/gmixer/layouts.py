"""timm's gated Mixer, `gmixer_*` (timm/models/mlp_mixer.py, timm/layers/mlp.py)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.families.assemble import View, assemble
from mixanalysis.families.assume import patches_of
from mixanalysis.families.gmixer.network import GMixerConfig
from mixanalysis.families.layout import Layout
from mixanalysis.families.tensor_shapes import classes, depth, matrix_shape, renaming, stem_shape
from mixanalysis.network import Network

NAME = "timm-gmixer"

_OURS = renaming(
    {
        ".token.norm.": ".norm1.",
        ".token.mlp.": ".mlp_tokens.",
        ".channel.norm.": ".norm2.",
        ".channel.mlp.": ".mlp_channels.",
    }
)
_STEM = "stem.proj.weight"


def half(tensor: Tensor, second: bool) -> Tensor:
    """The first or second half of the rows."""
    size = tensor.shape[0] // 2
    return tensor[size:] if second else tensor[:size]


def _view(ours: str) -> str | View:
    """fc1 gives values in its first half of rows and their gates in the second."""
    theirs = _OURS(ours)
    for part in ("value", "gate"):
        if f".{part}." in theirs:
            return View(theirs.replace(f".{part}.", ".fc1."), partial(half, second=part == "gate"))
    return theirs


def _network(checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> Network:
    channels, colours, patch = stem_shape(checkpoint, _STEM)
    tokens, token_hidden = matrix_shape(checkpoint, "blocks.0.mlp_tokens.fc2.weight")
    config = GMixerConfig(
        patches=patches_of(tokens, patch, colours, assumed["image"]),
        classes=classes(checkpoint, "head.weight"),
        channels=channels,
        depth=depth(checkpoint, "blocks."),
        token_hidden=token_hidden,
        channel_hidden=matrix_shape(checkpoint, "blocks.0.mlp_channels.fc2.weight")[1],
        norm_eps=assumed["norm_eps"],
        stem_norm="stem.norm.weight" in checkpoint,
    )
    return assemble(checkpoint, config, layout=NAME, rename=_view)


def _ungated(checkpoint: Checkpoint) -> str:
    first, second = (checkpoint.shape(f"blocks.0.mlp_tokens.{fc}.weight") for fc in ("fc1", "fc2"))
    gated = len(first) == len(second) == 2 and first[0] == 2 * second[1]
    return "" if gated else "its fc1 doesn't give twice what fc2 takes, value and gate"


_PARTS = tuple(f"blocks.0.mlp_{axis}.{fc}.weight" for axis in ("tokens", "channels") for fc in ("fc1", "fc2"))

LAYOUTS = (
    Layout(
        NAME,
        (_STEM, "blocks.0.norm1.weight", "norm.weight", *_PARTS),
        _network,
        {"norm_eps": 1e-6, "image": "square"},
        _ungated,
    ),
)
