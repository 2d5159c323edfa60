"""Any checkpoint's matrices, where the architecture is unknown: enough for spectra, not for running the network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

import torch
from torch import Tensor

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.errors import CheckpointError
from mixanalysis.network import UNKNOWN, MixingLayer, Network, Provenance
from mixanalysis.operators import Dense, Masked, Operator

NAME = "weights-only"

_FUSED = re.compile(r"(^|[._])(qkv|in_proj|c_attn)([._]|$)")
_NOT_WEIGHTS = re.compile(r"(^|[._])(pos_embed|position|cls_token|running_(mean|var)|relative_position)")
_THIRDS = ("q", "k", "v")


@dataclass(frozen=True)
class UnknownConfig:
    """Stands where a configuration would; nothing of the architecture is known."""

    family: str = UNKNOWN
    width: int = 0
    input_shape: tuple[int, int, int] = (0, 0, 0)


def network(checkpoint: Checkpoint, why: str) -> Network:
    """Every matrix of the checkpoint as a layer of its own.

    Matrices are 2-D weights, 1 x 1 convolutions and 1-D ones of kernel 1 as their matrix, each block of a 3-D block
    weight, and each third of a fused query-key-value projection. The others are listed as unused, with the reason.

    Args:
        checkpoint: any checkpoint.
        why: why its architecture isn't known, for whoever asks for the module.

    Returns:
        A network of layers and no module.

    Raises:
        CheckpointError: no tensor is a matrix.
    """
    layers: list[MixingLayer] = []
    unused: list[str] = []
    for name in checkpoint.names:
        parts = list(_matrices(checkpoint, name))
        reason = next((part for part in parts if isinstance(part, str)), None)
        if reason is None:
            layers += [_layer(checkpoint, name, len(layers) + i, part) for i, part in enumerate(parts)]
        else:
            unused.append(f"{name} ({reason})")
    if not layers:
        raise CheckpointError(f"{why}; nor does it hold a matrix ({'; '.join(unused[:3])})")

    def no_module() -> NoReturn:
        raise CheckpointError(f"{why}; only its weights can be analysed (spectrum)")

    unused += [f"{name} (not a tensor of the network)" for name in checkpoint.ignored]
    source = Provenance(checkpoint.path, checkpoint.format, checkpoint.wrapper, NAME, tuple(unused))
    label = checkpoint.path.name.removesuffix(checkpoint.path.suffix) or checkpoint.path.name
    weights = sum(layer.connections for layer in layers)
    return Network(label, UnknownConfig(), tuple(layers), (), weights, source, no_module)


@dataclass(frozen=True)
class _Part:
    """A matrix within a tensor: rows of its 2-D view, or a block of a 3-D weight."""

    suffix: str
    shape: tuple[int, int]
    rows: slice | None = None
    block: int | None = None


def _matrices(checkpoint: Checkpoint, name: str) -> Iterator[_Part | str]:
    """The matrices that a tensor holds, or the reason why it holds none."""
    shape = checkpoint.shape(name)
    try:
        dtype = checkpoint.dtype(name)
    except CheckpointError:
        yield "a dtype that isn't read"
        return
    if not dtype.is_floating_point:
        yield f"{str(dtype).removeprefix('torch.')}, not a weight"
    elif _NOT_WEIGHTS.search(name):
        yield "a position, class token or statistic by its name"
    elif len(shape) < 2:
        yield "a vector" if shape else "a number"
    elif (len(shape) > 2 and set(shape[2:]) == {1}) or len(shape) == 2:
        yield from _flat(name, (shape[0], shape[1]))
    elif len(shape) == 3 and min(shape[1:]) > 1:
        for block in range(shape[0]):
            yield _Part(f"[{block}]", (shape[1], shape[2]), block=block)
    elif len(shape) in (3, 4, 5):
        yield f"a convolution of kernel {' x '.join(map(str, shape[2:]))}"
    else:
        yield f"{len(shape)} axes"


def _flat(name: str, shape: tuple[int, int]) -> Iterator[_Part | str]:
    rows, columns = shape
    if min(rows, columns) < 2:
        yield "a single row or column"
    elif _FUSED.search(name) and rows == 3 * columns:
        for third, letter in enumerate(_THIRDS):
            yield _Part(f".{letter}", (columns, columns), rows=slice(third * columns, (third + 1) * columns))
    else:
        yield _Part("", shape)


def _layer(checkpoint: Checkpoint, name: str, index: int, part: _Part | str) -> MixingLayer:
    assert isinstance(part, _Part)
    whole = part.rows is None and part.block is None
    cells = part.shape[0] * part.shape[1]
    return MixingLayer(
        name=name.removesuffix(".weight") + part.suffix,
        block=index,
        role="dense",
        stage="in" if part.shape[0] >= part.shape[1] else "out",
        shape=part.shape,
        connections=checkpoint.connections(name) if whole else cells,
        declared_variance=None,
        build=partial(_operator, checkpoint, name, part),
        build_bias=_no_bias,
    )


def _no_bias() -> None:
    """A matrix on its own has no bias."""


def _operator(checkpoint: Checkpoint, name: str, part: _Part) -> Operator:
    whole = part.rows is None and part.block is None
    support = checkpoint.support(name) if whole else None
    if support is not None:
        return Masked(support.rows, support.columns, support.values, part.shape)
    tensor = checkpoint.tensor(name)
    if part.block is not None:
        return Dense(tensor[part.block])
    matrix: Tensor = tensor.reshape(tensor.shape[0], -1)
    if part.rows is not None:
        matrix = matrix[part.rows]
    return Dense(matrix if matrix.dtype in (torch.float32, torch.float64) else matrix.float())
