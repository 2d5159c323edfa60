"""ResMLP as timm's `resmlp_*` (timm/models/mlp_mixer.py) and as Facebook's own files (deit, resmlp_models.py)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.families.assemble import View, assemble
from mixanalysis.families.assume import patches_of
from mixanalysis.families.layout import Layout
from mixanalysis.families.resmlp.network import ResMLPConfig
from mixanalysis.families.tensor_shapes import classes, depth, matrix_shape, renaming, stem_shape
from mixanalysis.network import Network

_OURS = {
    ".token.norm.": ".norm1.",
    ".token.mlp.branch.": ".linear_tokens.",
    ".token.mlp.gain": ".ls1",
    ".channel.norm.": ".norm2.",
    ".channel.mlp.branch.": ".mlp_channels.",
    ".channel.mlp.gain": ".ls2",
}
_FACEBOOK = {"stem.": "patch_embed.", ".linear_tokens.": ".attn.", ".mlp_channels.": ".mlp.", ".ls": ".gamma_"}


def _network(name: str, theirs: Mapping[str, str], checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> Network:
    rename = renaming({**_OURS, **theirs})
    channels, colours, patch = stem_shape(checkpoint, rename("stem.proj.weight"))
    tokens, _ = matrix_shape(checkpoint, rename("blocks.0.token.mlp.branch.weight"))
    config = ResMLPConfig(
        patches=patches_of(tokens, patch, colours, assumed["image"]),
        classes=classes(checkpoint, "head.weight"),
        channels=channels,
        depth=depth(checkpoint, "blocks."),
        channel_hidden=matrix_shape(checkpoint, rename("blocks.0.channel.mlp.branch.fc1.weight"))[0],
        gelu=assumed["gelu"],
    )

    def view(ours: str) -> View:
        # timm keeps alpha and beta as 1 x 1 x C
        return View(rename(ours), torch.flatten if ours.endswith((".alpha", ".beta")) else None)

    return assemble(checkpoint, config, layout=name, rename=view)


def _layout(name: str, theirs: Mapping[str, str]) -> Layout:
    rename = renaming(theirs)
    sought = ("stem.proj.weight", *(f"blocks.0.{part}" for part in _PARTS), "norm.alpha")
    return Layout(name, tuple(map(rename, sought)), partial(_network, name, theirs), {"gelu": "erf", "image": "square"})


_PARTS = ("norm1.alpha", "linear_tokens.weight", "mlp_channels.fc1.weight", "ls1", "ls2")

LAYOUTS = (_layout("timm-resmlp", {}), _layout("facebook-resmlp", _FACEBOOK))
