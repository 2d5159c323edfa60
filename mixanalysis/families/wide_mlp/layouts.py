"""MLP1 of google-research/wide-sparse-nets (MLP/models.py), whose connections are the weights that aren't zero.

Its masks aren't saved: the project recovers them as the weights that are exactly zero, and so does this layout. Nor do
the tensors tell whether the network is linear, or of NTK parametrisation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.families.assemble import assemble
from mixanalysis.families.assume import GUESSED, patches_of
from mixanalysis.families.layout import Layout
from mixanalysis.families.tensor_shapes import colours_of, matrix_shape, renaming
from mixanalysis.families.wide_mlp.network import WideMLPConfig
from mixanalysis.network import Network

NAME = "wide-sparse-nets"

_WEIGHTS = ("layers.fc.weight", "layers.cl.weight")


def _network(checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> Network:
    hidden, inputs = matrix_shape(checkpoint, _WEIGHTS[0])
    image = assumed["image"]
    colours = colours_of(inputs, assumed["colours"]) if image == "square" else max(1, inputs // math.prod(image))
    config = WideMLPConfig(
        patches=patches_of(inputs // colours, 1, colours, image),
        classes=matrix_shape(checkpoint, _WEIGHTS[1])[0],
        hidden=hidden,
        batch_norm="layers.bn.weight" in checkpoint,
        bias="layers.fc.bias" in checkpoint,
        activation=assumed["activation"],
        parametrisation=assumed["parametrisation"],
    )
    sparse = [name for name in _WEIGHTS if not bool(checkpoint.tensor(name).all())]
    rename = renaming({"hidden.fc.": "layers.fc.", "hidden.norm.": "layers.bn.", "head.": "layers.cl."})
    return assemble(checkpoint.with_inferred_masks(sparse), config, layout=NAME, rename=rename)


def _varies(_checkpoint: Checkpoint) -> tuple[str, ...]:
    return ("activation", "parametrisation")


LAYOUTS = (
    Layout(
        NAME,
        _WEIGHTS,
        _network,
        {"activation": "relu", "parametrisation": "standard", "image": "square", "colours": GUESSED},
        varies=_varies,
    ),
)
