"""Abdullah-88/NiNformer (ninformer.py, and the classifier of its train.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.families.assemble import assemble
from mixanalysis.families.assume import patches_of
from mixanalysis.families.layout import Layout
from mixanalysis.families.ninformer.network import NiNformerConfig
from mixanalysis.families.tensor_shapes import classes, depth, matrix_shape, renaming, stem_shape
from mixanalysis.network import Network

NAME = "ninformer"

_TOKEN, _CHANNEL = "model.0.mgu.Mixer.token_mix.2.net.0.weight", "model.0.mgu.Mixer.channel_mix.1.net.0.weight"
_FFN = "model.0.ffn.net.0.weight"

_THEIRS = renaming(
    {
        "stem.proj.": "patcher.",
        "head.": "classifier.",
        "blocks.": "model.",
        # one norm stands before both parts of a block
        ".gate.norm.": ".norm.",
        ".ffn.norm.": ".norm.",
        ".gate.mlp.proj.": ".mgu.proj.",
        ".gate.mlp.mixer.token.norm.": ".mgu.Mixer.token_mix.0.",
        ".gate.mlp.mixer.token.mlp.": ".mgu.Mixer.token_mix.2.net.",
        ".gate.mlp.mixer.channel.norm.": ".mgu.Mixer.channel_mix.0.",
        ".gate.mlp.mixer.channel.mlp.": ".mgu.Mixer.channel_mix.1.net.",
        ".ffn.mlp.": ".ffn.net.",
        ".fc1.": ".0.",
        ".fc2.": ".3.",
    }
)


def _network(checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> Network:
    channels, colours, patch = stem_shape(checkpoint, "patcher.weight")
    token_hidden, tokens = matrix_shape(checkpoint, _TOKEN)
    config = NiNformerConfig(
        patches=patches_of(tokens, patch, colours, assumed["image"]),
        classes=classes(checkpoint, "classifier.weight"),
        channels=channels,
        depth=depth(checkpoint, "model."),
        token_hidden=token_hidden,
        channel_hidden=matrix_shape(checkpoint, _CHANNEL)[0],
        hidden=matrix_shape(checkpoint, _FFN)[0],
        norm_eps=assumed["norm_eps"],
        gelu=assumed["gelu"],
    )
    return assemble(checkpoint, config, layout=NAME, rename=_THEIRS)


LAYOUTS = (
    Layout(
        NAME,
        ("patcher.weight", "model.0.norm.weight", "model.0.mgu.proj.weight", _TOKEN, _CHANNEL, _FFN),
        _network,
        {"gelu": "erf", "norm_eps": 1e-5, "image": "square"},
    ),
)
