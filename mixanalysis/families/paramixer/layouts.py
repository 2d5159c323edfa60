"""Toshihiro-Ota/paramixer's vanilla, parallel, symmetric and asymmetric Mixers (models/mixers.py, models/layers.py).

Serial or parallel, and symmetric or not, is in the names. How often each block is applied isn't in the tensors (the
`_ni2` models apply it twice), nor whether a parallel block with two matrices is a plain or an asymmetric one
(`asymmixer_*`); timm's training script saves the model's name beside them. The coefficient `lcoeff` of their names
weighs a term of the training loss alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.families.assemble import assemble
from mixanalysis.families.assume import patches_of
from mixanalysis.families.layout import Layout
from mixanalysis.families.paramixer.network import ParaMixerConfig
from mixanalysis.families.tensor_shapes import classes, depth, matrix_shape, renaming, stem_shape
from mixanalysis.network import Network

PARALLEL, SERIAL = "paramixer", "vanillamixer"

_FIRST, _SECOND = (
    {axis: f"blocks.0.mlp_{axis}s.{fc}.weight" for axis in ("token", "channel")} for fc in ("fc1", "fc2")
)
_NORMS = {PARALLEL: ("blocks.0.norm.weight",), SERIAL: ("blocks.0.norm1.weight", "blocks.0.norm2.weight")}


def _objection(layout: str, checkpoint: Checkpoint) -> str:
    both = all(len(checkpoint.shape(norm)) == 2 for norm in _NORMS[layout])
    return "" if both else "its norms aren't over tokens and channels"


def _network(layout: str, checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> Network:
    channels, colours, patch = stem_shape(checkpoint, "stem.proj.weight")
    tokens, _ = matrix_shape(checkpoint, _NORMS[layout][0])
    symmetric = _FIRST["token"] not in checkpoint
    mlp = assumed.get("mlp", "plain")
    if symmetric and mlp == "asymmetric":
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
        parallel=layout == PARALLEL,
        mlp="symmetric" if symmetric else mlp,
        iterations=assumed["iterations"],
        bias=_SECOND["token"].replace("weight", "bias") in checkpoint,
        norm_eps=assumed["norm_eps"],
        gelu=assumed["gelu"],
    )
    return assemble(checkpoint, config, layout=layout, rename=_theirs(config))


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


def _told(layout: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """Values from timm's record of the training: by the model's name, and by arguments that override it."""
    said = checkpoint.record
    model = next((name for key in _MODEL if _MODELS.match(name := str(said.get(key, "")))), "")
    told: dict[str, Any] = {}
    if model:
        repeated = re.search(r"_ni([1-9][0-9]?)(_|$)", model)
        told["iterations"] = int(repeated[1]) if repeated else 1
    for key in _ITERATIONS:
        if isinstance(number := said.get(key), int) and 0 < number < 100:
            told["iterations"] = int(number)
    if model and layout == PARALLEL and _FIRST["token"] in checkpoint:
        told["mlp"] = "asymmetric" if model.startswith("asym") else "plain"
    return told


def _varies(layout: str, checkpoint: Checkpoint) -> tuple[str, ...]:
    symmetric = _FIRST["token"] not in checkpoint
    return ("iterations",) if symmetric or layout == SERIAL else ("mlp", "iterations")


_MODEL = ("args.model", "arch", "architecture")
_MODELS = re.compile(r"(vanilla|para|sym|asym)mixer")
_ITERATIONS = ("args.model_kwargs.n_iter", "args.n_iter")

_ASSUMES = {"iterations": 1, "gelu": "erf", "norm_eps": 1e-6, "image": "square"}
_ENDS = ("stem.proj.weight", "norm.weight")

LAYOUTS = (
    Layout(
        PARALLEL,
        (*_ENDS, *_NORMS[PARALLEL], *_SECOND.values()),
        partial(_network, PARALLEL),
        {"mlp": "plain"} | _ASSUMES,
        partial(_objection, PARALLEL),
        told=partial(_told, PARALLEL),
        varies=partial(_varies, PARALLEL),
    ),
    Layout(
        SERIAL,
        (*_ENDS, *_NORMS[SERIAL], *_FIRST.values(), *_SECOND.values()),
        partial(_network, SERIAL),
        _ASSUMES,
        partial(_objection, SERIAL),
        told=partial(_told, SERIAL),
        varies=partial(_varies, SERIAL),
    ),
)
