"""timm's gMLP, `gmlp_*` (timm/models/mlp_mixer.py, timm/layers/mlp.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.families.assemble import assemble
from mixanalysis.families.assume import patches_of
from mixanalysis.families.gmlp.network import GMLPConfig
from mixanalysis.families.layout import Layout
from mixanalysis.families.tensor_shapes import classes, depth, matrix_shape, renaming, stem_shape
from mixanalysis.network import Network

NAME = "timm-gmlp"

_STEM = "stem.proj.weight"


def _network(checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> Network:
    channels, colours, patch = stem_shape(checkpoint, _STEM)
    tokens, _ = matrix_shape(checkpoint, "blocks.0.mlp_channels.gate.proj.weight")
    config = GMLPConfig(
        patches=patches_of(tokens, patch, colours, assumed["image"]),
        classes=classes(checkpoint, "head.weight"),
        channels=channels,
        depth=depth(checkpoint, "blocks."),
        hidden=matrix_shape(checkpoint, "blocks.0.mlp_channels.fc1.weight")[0],
        norm_eps=assumed["norm_eps"],
        gelu=assumed["gelu"],
        stem_norm="stem.norm.weight" in checkpoint,
    )
    return assemble(checkpoint, config, layout=NAME, rename=renaming({".mlp.": ".mlp_channels."}))


_PARTS = tuple(f"blocks.0.mlp_channels.{part}.weight" for part in ("fc1", "gate.norm", "gate.proj", "fc2"))

LAYOUTS = (
    Layout(
        NAME,
        (_STEM, "blocks.0.norm.weight", "norm.weight", *_PARTS),
        _network,
        {"gelu": "erf", "norm_eps": 1e-6, "image": "square"},
    ),
)
