"""The Mixers of tsumansapkota/Dimension-Mixer (SparseNonLinearMixer/)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.families.assemble import View, assemble
from mixanalysis.families.assume import GUESSED, patches_of
from mixanalysis.families.dimension_mixer.network import DimensionMixerConfig, Kind
from mixanalysis.families.layout import Layout
from mixanalysis.families.tensor_shapes import (
    colours_of,
    depth,
    matrix_shape,
    pointwise_shape,
    renaming,
    square_root,
)
from mixanalysis.network import Network

NAME = "dimension-mixer"

_BLOCK = "mixer_blocks.0."
_KINDS: dict[str, Kind] = {
    "mlp.0.weight": "dense",
    "linear0_0.conv.weight": "monarch",
    "facto_nets.0.mlp.0.conv.weight": "butterfly",
}


def convolution(weight: Tensor, colours: int, size: int) -> Tensor:
    """A linear map of unfolded patches as a convolution."""
    return weight.reshape(weight.shape[0], colours, size, size)


def blocks(weight: Tensor, inputs: int) -> Tensor:
    """A grouped 1 x 1 convolution of so many inputs as its blocks."""
    into = max(weight.shape[1], 1)
    return weight.reshape(inputs // into, -1, into)


def _network(checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> Network:
    channels, patch_features = matrix_shape(checkpoint, "channel_change.weight")
    classes, features = matrix_shape(checkpoint, "linear.weight")
    colours = colours_of(patch_features, assumed["colours"])
    tokens, size = features // channels, square_root(patch_features // colours) or 0
    token, channel = _kind(checkpoint, "mlp_patch."), _kind(checkpoint, "mlp_channel.")
    shape = matrix_shape if token == "mlp.0.weight" else pointwise_shape
    config = DimensionMixerConfig(
        patches=patches_of(tokens, size, colours, assumed["image"]),
        classes=classes,
        channels=channels,
        depth=depth(checkpoint, "mixer_blocks."),
        token=_KINDS[token],
        channel=_KINDS[channel],
        # either kind's first layer leads to all hidden features
        expansion=shape(checkpoint, f"{_BLOCK}mlp_patch.{token}")[0] // tokens,
        norm_eps=assumed["norm_eps"],
    )
    return assemble(checkpoint, config, layout=NAME, rename=partial(_view, config))


def _kind(checkpoint: Checkpoint, mlp: str) -> str:
    kinds = [name for name in _KINDS if f"{_BLOCK}{mlp}{name}" in checkpoint]
    if len(kinds) != 1:
        msg = f"its {_BLOCK}{mlp} is neither dense nor sparse_linear nor sparse_mlp"
        raise ValueError(msg)
    return kinds[0]


_OURS = renaming(
    {
        "stem.proj.": "channel_change.",
        "head.": "linear.",
        "blocks.": "mixer_blocks.",
        ".token.norm.": ".ln0.",
        ".channel.norm.": ".ln1.",
        ".token.mlp.": ".mlp_patch.",
        ".channel.mlp.": ".mlp_channel.",
    }
)
_DENSE = renaming({".fc1.": ".mlp.0.", ".fc2.": ".mlp.2."})
_FACTORS = renaming({".factors.": ".facto_nets.", ".fc1.": ".mlp.0.conv.", ".fc2.": ".mlp.2.conv."})


def _view(config: DimensionMixerConfig, ours: str) -> str | View:
    theirs = _OURS(ours)
    if ours == "stem.proj.weight":
        return View(theirs, partial(convolution, colours=config.patches.channels, size=config.patches.size))
    size = config.tokens if ".token." in ours else config.channels
    hidden = size * config.expansion
    if ".linear" in ours:
        name = theirs.replace(".weight", ".conv.weight").replace(".bias", ".conv.bias")
        inputs = size if ".linear0_0." in ours else hidden
    elif ".factors." in ours:
        name, inputs = _FACTORS(theirs), size if ".fc1." in ours else hidden
    else:
        return _DENSE(theirs)
    return View(name, partial(blocks, inputs=inputs)) if ours.endswith("weight") else name


LAYOUTS = (
    Layout(
        NAME,
        (
            "channel_change.weight",
            f"{_BLOCK}mlp_patch.*",
            f"{_BLOCK}mlp_channel.*",
            f"{_BLOCK}ln1.weight",
            "linear.weight",
        ),
        _network,
        {"norm_eps": 1e-5, "image": "square", "colours": GUESSED},
    ),
)
