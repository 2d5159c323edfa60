"""The Mixers of tsumansapkota/Dimension-Mixer whose blocks are MLPs on patches (PatchOnlyMlpMixer/)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.families.assemble import assemble
from mixanalysis.families.assume import GUESSED
from mixanalysis.families.layout import Layout
from mixanalysis.families.patch_mlp_mixer.network import PatchMlpMixerConfig
from mixanalysis.families.tensor_shapes import (
    colours_of,
    depth,
    matrix_shape,
    pointwise_shape,
    renaming,
    square_root,
    vector_size,
)
from mixanalysis.network import Network

NAME = "dimension-mixer-patches"

_BLOCK = "mixer_blocks.0."


def _network(checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> Network:
    classes, features = matrix_shape(checkpoint, "linear.weight")
    count = depth(checkpoint, "mixer_blocks.")
    sizes = [vector_size(checkpoint, f"mixer_blocks.{index}.ln0.weight") for index in range(count)]
    if "conv1x1.weight" in checkpoint:
        channels, colours = pointwise_shape(checkpoint, "conv1x1.weight")
    else:
        channels = colours = colours_of(features, assumed["colours"])
    roots = [square_root(size // channels) or 0 for size in (features, *sizes) if size % channels == 0]
    if len(roots) <= count or 0 in roots:
        msg = f"{features} features and patches of {sizes} are no square numbers of pixels with {channels} channels"
        raise ValueError(msg)
    config = PatchMlpMixerConfig(
        side=roots[0],
        colours=colours,
        channels=channels,
        classes=classes,
        sizes=tuple(roots[1:]),
        expansion=matrix_shape(checkpoint, f"{_BLOCK}mlp_patch.mlp.0.weight")[0] // sizes[0],
        norm_eps=assumed["norm_eps"],
    )
    rename = {"stem.": "conv1x1.", "head.": "linear.", "blocks.": "mixer_blocks."}
    inner = {".mlp.norm.": ".ln0.", ".mlp.fc1.": ".mlp_patch.mlp.0.", ".mlp.fc2.": ".mlp_patch.mlp.2."}
    return assemble(checkpoint, config, layout=NAME, rename=renaming(rename | inner))


def _objection(checkpoint: Checkpoint) -> str:
    return f"it has {_BLOCK}ln1, so that it mixes two axes" if f"{_BLOCK}ln1.weight" in checkpoint else ""


LAYOUTS = (
    Layout(
        NAME,
        (f"{_BLOCK}ln0.weight", f"{_BLOCK}mlp_patch.mlp.0.weight", f"{_BLOCK}mlp_patch.mlp.2.weight", "linear.weight"),
        _network,
        {"norm_eps": 1e-5, "colours": GUESSED},
        _objection,
    ),
)
