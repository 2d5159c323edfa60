"""Toshihiro-Ota/paramixer's vanilla, parallel, symmetric and asymmetric Mixers (models/mixers.py, models/layers.py).

Serial or parallel, and symmetric or not, is in the names. How often each block is applied isn't in the tensors (the
`_ni2` models apply it twice), nor whether a parallel block with two matrices is a plain or an asymmetric one
(`asymmixer_*`). The coefficient `lcoeff` of their names weighs a term of the training loss alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.layouts.assemble import assemble
from mixanalysis.layouts.assume import patches_of
from mixanalysis.layouts.blocks import classes, depth, matrix_shape, renaming, stem_shape
from mixanalysis.layouts.layout import Layout
from mixanalysis.models import Network, ParaMixerConfig

NAME = "paramixer"

_SECOND = {axis: f"blocks.0.mlp_{axis}s.fc2.weight" for axis in ("token", "channel")}


def _norm(checkpoint: Checkpoint) -> str:
    return next(f"blocks.0.{norm}.weight" for norm in ("norm1", "norm") if f"blocks.0.{norm}.weight" in checkpoint)


def _objection(checkpoint: Checkpoint) -> str:
    axes = len(checkpoint.shape(_norm(checkpoint)))
    return "" if axes == 2 else "its norms aren't over tokens and channels"


def _network(checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> Network:
    channels, colours, patch = stem_shape(checkpoint, "stem.proj.weight")
    tokens, _ = matrix_shape(checkpoint, _norm(checkpoint))
    symmetric = "blocks.0.mlp_tokens.fc1.weight" not in checkpoint
    if symmetric and assumed["mlp"] == "asymmetric":
        msg = "its MLPs have one matrix, so that they can't be assumed to be asymmetric"
        raise ValueError(msg)
    # the one matrix of a symmetric MLP is called fc2, but leads in
    hidden = {axis: matrix_shape(checkpoint, name)[0 if symmetric else 1] for axis, name in _SECOND.items()}
    config = ParaMixerConfig(
        patches=patches_of(tokens, patch, colours, assumed["image"]),
        classes=classes(checkpoint, "head.weight"),
        channels=channels,
        depth=depth(checkpoint, "blocks."),
        token_hidden=hidden["token"],
        channel_hidden=hidden["channel"],
        parallel="blocks.0.norm.weight" in checkpoint,
        mlp="symmetric" if symmetric else assumed["mlp"],
        iterations=assumed["iterations"],
        bias=_SECOND["token"].replace("weight", "bias") in checkpoint,
        norm_eps=assumed["norm_eps"],
        gelu=assumed["gelu"],
    )
    return assemble(checkpoint, config, layout=NAME, rename=_theirs(config))


def _theirs(config: ParaMixerConfig) -> Callable[[str], str]:
    names = {
        ".mlp.token.": ".mlp_tokens.",
        ".mlp.channel.": ".mlp_channels.",
        ".token.norm.": ".norm1.",
        ".token.mlp.": ".mlp_tokens.",
        ".channel.norm.": ".norm2.",
        ".channel.mlp.": ".mlp_channels.",
    }
    if config.mlp == "symmetric":
        names[".fc1."] = ".fc2."
    renamed = renaming(names)

    def first(match: re.Match[str]) -> str:
        return f"blocks.{int(match[1]) // config.iterations}."

    # every repetition of a block has the same weights
    return lambda ours: re.sub(r"^blocks\.([0-9]+)\.", first, renamed(ours))


LAYOUT = Layout(
    NAME,
    ("stem.proj.weight", "blocks.0.norm*.weight", *_SECOND.values(), "norm.weight"),
    _network,
    {"mlp": "plain", "iterations": 1, "gelu": "erf", "norm_eps": 1e-6, "image": "square"},
    _objection,
)
