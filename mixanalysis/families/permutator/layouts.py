"""lucidrains' Permutator (mlp_mixer_pytorch/permutator.py), for square RGB images.

Height and segments stand in its weights only as their product; segments of 8 channels are those of the project's own
example, and of one channel those of its first version.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.families.assemble import View, assemble
from mixanalysis.families.layout import Layout
from mixanalysis.families.permutator.network import PermutatorConfig
from mixanalysis.families.tensor_shapes import depth, matrix_shape, renaming, square_root
from mixanalysis.network import Network, Patches

NAME = "lucidrains-permutator"

_COLOURS = 3
_HEIGHT, _FC1 = "2.0.fn.0.fns.0.1.weight", "2.1.fn.0.weight"


def convolution(weight: Tensor, size: int) -> Tensor:
    """A linear map of patches, whose pixels are in the order (row, column, colour), as a convolution."""
    return weight.reshape(weight.shape[0], size, size, -1).permute(0, 3, 1, 2)


def _network(checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> Network:
    channels, features = matrix_shape(checkpoint, "1.weight")
    size = square_root(features // _COLOURS) if features % _COLOURS == 0 else None
    if size is None:
        msg = f"patches of {features} features are no square of RGB pixels"
        raise ValueError(msg)
    product, _ = matrix_shape(checkpoint, _HEIGHT)
    segments = assumed["segments"]
    if product % segments or channels % segments:
        msg = (
            f"segments of {segments} channels don't divide its {channels} channels and the {product} features of its "
            "height and a segment; assume others (segments=NUMBER)"
        )
        raise ValueError(msg)
    side, blocks = product // segments * size, depth(checkpoint, "", "0.fn.0.fns.", 2)
    config = PermutatorConfig(
        patches=Patches(side, side, _COLOURS, size),
        classes=matrix_shape(checkpoint, f"{4 + blocks}.weight")[0],
        channels=channels,
        depth=blocks,
        channel_hidden=matrix_shape(checkpoint, _FC1)[0],
        segments=segments,
        norm_eps=assumed["norm_eps"],
        gelu=assumed["gelu"],
    )
    return assemble(checkpoint, config, layout=NAME, rename=partial(_view, config))


_PARTS = renaming(
    {
        ".token.norm.": ".0.norm.",
        ".token.mlp.height.linear.": ".0.fn.0.fns.0.1.",
        ".token.mlp.width.linear.": ".0.fn.0.fns.1.1.",
        ".token.mlp.channel.": ".0.fn.0.fns.2.",
        ".token.mlp.proj.": ".0.fn.1.",
        ".channel.norm.": ".1.norm.",
        ".channel.mlp.fc1.": ".1.fn.0.",
        ".channel.mlp.fc2.": ".1.fn.3.",
    }
)


def _view(config: PermutatorConfig, ours: str) -> str | View:
    kind, _, rest = ours.partition(".")
    if ours == "stem.proj.weight":
        return View("1.weight", partial(convolution, size=config.patches.size))
    if kind == "blocks":
        index, _, rest = rest.partition(".")
        return _PARTS(f"{2 + int(index)}.{rest}")
    numbers = {"stem": "1", "norm": str(2 + config.depth), "head": str(4 + config.depth)}
    return f"{numbers[kind]}.{rest.removeprefix('proj.')}"


def _varies(_checkpoint: Checkpoint) -> tuple[str, ...]:
    return ("segments",)


LAYOUTS = (
    Layout(
        NAME,
        ("1.weight", _HEIGHT, "2.0.fn.0.fns.1.1.weight", "2.0.fn.0.fns.2.weight", _FC1),
        _network,
        {"segments": 8, "gelu": "erf", "norm_eps": 1e-5},
        varies=_varies,
    ),
)
