"""timm's `mixer_*` (timm/models/mlp_mixer.py): everything but LayerNorm's epsilon, 1e-6, is in the shapes."""

from __future__ import annotations

import math
import re

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.errors import CheckpointError
from mixanalysis.layouts.assemble import assemble
from mixanalysis.models import MixerConfig, Network, Patches

NAME = "timm-mixer"
SOUGHT = "stem.proj.weight, blocks.0.mlp_tokens.fc1.weight and blocks.0.mlp_channels.fc1.weight"

_FIRST = ("stem.proj.weight", "blocks.0.mlp_tokens.fc1.weight", "blocks.0.mlp_channels.fc1.weight")
_RENAMES = {
    ".token.norm.": ".norm1.",
    ".token.mlp.": ".mlp_tokens.",
    ".channel.norm.": ".norm2.",
    ".channel.mlp.": ".mlp_channels.",
}


def recognise(checkpoint: Checkpoint) -> bool:
    """Whether the names are timm's."""
    return all(name in checkpoint for name in _FIRST)


def network(checkpoint: Checkpoint) -> Network:
    """The network, as an exact-GELU Mixer with mean pooling on square images.

    Raises:
        CheckpointError: the network is a gated one, the number of tokens isn't a square, or tensors are missing or
            misshaped.
    """
    if not recognise(checkpoint):
        raise CheckpointError(f"{checkpoint.path}: isn't in the {NAME} layout: it lacks one of {SOUGHT}")
    try:
        config = _config(checkpoint)
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.path}: not a timm mixer: {error}") from None
    return assemble(checkpoint, config, layout=NAME, rename=_theirs)


def _config(checkpoint: Checkpoint) -> MixerConfig:
    stem, token, channel = (checkpoint.shape(name) for name in _FIRST)
    if len(stem) != 4 or stem[2] != stem[3] or len(token) != 2 or len(channel) != 2:
        msg = (
            f"{_FIRST[0]} of shape {stem}, {_FIRST[1]} of shape {token} and {_FIRST[2]} of shape {channel} are not "
            "a square patch embedding and two matrices"
        )
        raise ValueError(msg)
    second = _FIRST[1].replace("fc1", "fc2")
    if second in checkpoint and checkpoint.shape(second)[1:] == (token[0] / 2,):
        msg = f"{second} takes half of what {_FIRST[1]} gives, as in a gated gmixer_*, which isn't read"
        raise ValueError(msg)
    tokens, patch = token[1], stem[2]
    side = math.isqrt(tokens)
    if side**2 != tokens:
        msg = f"{tokens} tokens are not a square number, so that the image's height and width can't be told"
        raise ValueError(msg)
    head = checkpoint.shape("head.weight") if "head.weight" in checkpoint else (0,)
    return MixerConfig(
        patches=Patches(side * patch, side * patch, stem[1], patch),
        classes=head[0] if head else 0,
        tokens=tokens,
        channels=stem[0],
        token_hidden=token[0],
        channel_hidden=channel[0],
        depth=_depth(checkpoint),
        stem_norm="stem.norm.weight" in checkpoint,
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
