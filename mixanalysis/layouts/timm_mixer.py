"""timm's `mixer_*` (timm/models/mlp_mixer.py): everything but LayerNorm's epsilon, 1e-6, is in the shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.layouts.assemble import assemble
from mixanalysis.layouts.assume import patches_of
from mixanalysis.layouts.layout import Layout
from mixanalysis.models import MixerConfig, Network

NAME = "timm-mixer"
_FIRST = ("stem.proj.weight", "blocks.0.mlp_tokens.fc1.weight", "blocks.0.mlp_channels.fc1.weight")
_RENAMES = {
    ".token.norm.": ".norm1.",
    ".token.mlp.": ".mlp_tokens.",
    ".channel.norm.": ".norm2.",
    ".channel.mlp.": ".mlp_channels.",
}


def network(checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> Network:
    """The network, with mean pooling."""
    return assemble(checkpoint, _config(checkpoint, assumed), layout=NAME, rename=_theirs)


def _config(checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> MixerConfig:
    stem, token, channel = (checkpoint.shape(name) for name in _FIRST)
    if len(stem) != 4 or stem[2] != stem[3] or len(token) != 2 or len(channel) != 2:
        msg = (
            f"{_FIRST[0]} of shape {stem}, {_FIRST[1]} of shape {token} and {_FIRST[2]} of shape {channel} are not "
            "a square patch embedding and two matrices"
        )
        raise ValueError(msg)
    head = checkpoint.shape("head.weight") if "head.weight" in checkpoint else (0,)
    return MixerConfig(
        patches=patches_of(token[1], stem[2], stem[1], assumed["image"]),
        classes=head[0] if head else 0,
        tokens=token[1],
        channels=stem[0],
        token_hidden=token[0],
        channel_hidden=channel[0],
        depth=_depth(checkpoint),
        stem_norm="stem.norm.weight" in checkpoint,
        norm_eps=assumed["norm_eps"],
        gelu=assumed["gelu"],
    )


def _depth(checkpoint: Checkpoint) -> int:
    blocks = {int(match[1]) for name in checkpoint.names if (match := re.match(r"blocks\.([0-9]{1,9})\.", name))}
    missing = sorted(set(range(len(blocks))) - blocks)
    if missing:
        msg = f"it has {len(blocks)} blocks up to number {max(blocks)}, but no block {missing[0]}"
        raise ValueError(msg)
    return len(blocks)


def _theirs(name: str) -> str:
    for ours, theirs in _RENAMES.items():
        name = name.replace(ours, theirs)
    return name


def _objection(checkpoint: Checkpoint) -> str:
    first, second = (checkpoint.shape(f"blocks.0.mlp_tokens.{fc}.weight") for fc in ("fc1", "fc2"))
    return "its fc1 gives value and gate, as in a gated gmixer_*" if second[1:] == (first[0] / 2,) else ""


LAYOUT = Layout(
    NAME,
    (*_FIRST, "blocks.0.mlp_tokens.fc2.weight", "blocks.0.norm1.weight", "norm.weight"),
    network,
    {"gelu": "erf", "norm_eps": 1e-6, "image": "square"},
    _objection,
)
