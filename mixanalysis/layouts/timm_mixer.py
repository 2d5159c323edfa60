"""timm's `mixer_*` (timm/models/mlp_mixer.py): everything but LayerNorm's epsilon, 1e-6, is in the shapes."""

from __future__ import annotations

import math
import re

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.errors import CheckpointError
from mixanalysis.layouts.assemble import Renamed, assemble
from mixanalysis.models import MixerConfig, Network, Patches

NAME = "timm-mixer"
SOUGHT = "stem.proj.weight, blocks.0.mlp_tokens.fc1.weight and blocks.0.mlp_channels.fc1.weight"

_FIRST = ("stem.proj.weight", "blocks.0.mlp_tokens.fc1.weight", "blocks.0.mlp_channels.fc1.weight")
_RENAMES = (
    ("norm1", "token.norm"),
    ("norm2", "channel.norm"),
    ("mlp_tokens", "token.mlp"),
    ("mlp_channels", "channel.mlp"),
)


def recognise(checkpoint: Checkpoint) -> bool:
    """Whether the names are timm's and the hidden sizes those of a plain MLP, not of a gated one."""
    return all(name in checkpoint for name in (*_FIRST, "blocks.0.mlp_tokens.fc2.weight")) and (
        checkpoint.shape(_FIRST[1])[0] == checkpoint.shape("blocks.0.mlp_tokens.fc2.weight")[-1]
    )


def network(checkpoint: Checkpoint) -> Network:
    """The network, as an exact-GELU Mixer with mean pooling on square images.

    Raises:
        CheckpointError: the number of tokens isn't a square, or tensors are missing or misshaped.
    """
    config = _config(checkpoint)
    names = {own: name for name in checkpoint.names if (own := _own_name(name, config.depth)) is not None}
    used = set(names.values())
    unused = (*(name for name in checkpoint.names if name not in used), *checkpoint.ignored)
    return assemble(checkpoint, config, Renamed(checkpoint, names), layout=NAME, unused=unused)


def _config(checkpoint: Checkpoint) -> MixerConfig:
    stem, token, channel = (checkpoint.shape(name) for name in _FIRST)
    if len(stem) != 4 or stem[2] != stem[3] or len(token) != 2 or len(channel) != 2:
        message = (
            f"{checkpoint.path}: has the names of a timm mixer, but {_FIRST[0]} of shape {stem}, {_FIRST[1]} of "
            f"shape {token} and {_FIRST[2]} of shape {channel} are not a square patch embedding and two matrices"
        )
        raise CheckpointError(message)
    tokens, patch = token[1], stem[2]
    side = math.isqrt(tokens)
    if side**2 != tokens:
        message = (
            f"{checkpoint.path}: a timm mixer of {tokens} tokens, which is not a square number, so that the "
            "image's height and width can't be told"
        )
        raise CheckpointError(message)
    blocks = {int(match[1]) for name in checkpoint.names if (match := re.match(r"blocks\.(\d+)\.", name))}
    depth = next(index for index in range(len(blocks) + 1) if index not in blocks)
    return MixerConfig(
        patches=Patches(side * patch, side * patch, stem[1], patch),
        classes=checkpoint.shape("head.weight")[0] if "head.weight" in checkpoint else 0,
        tokens=tokens,
        channels=stem[0],
        token_hidden=token[0],
        channel_hidden=channel[0],
        depth=depth,
        stem_norm="stem.norm.weight" in checkpoint,
    )


_LEAF = re.compile(r"stem\.(proj|norm)|norm|head|blocks\.(\d+)\.(norm1|norm2|mlp_tokens\.fc[12]|mlp_channels\.fc[12])")


def _own_name(name: str, depth: int) -> str | None:
    module, _, part = name.rpartition(".")
    match = _LEAF.fullmatch(module)
    if part not in ("weight", "bias") or match is None or int(match[2] or 0) >= depth:
        return None
    for theirs, ours in _RENAMES:
        module = re.sub(rf"^(blocks\.\d+\.){theirs}", rf"\g<1>{ours}", module)
    return f"{module}.{part}"
