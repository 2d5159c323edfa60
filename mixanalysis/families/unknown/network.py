"""Any checkpoint's matrices, where the architecture is unknown: enough for spectra, not for running the network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

import torch
from torch import Tensor

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.errors import CheckpointError
from mixanalysis.families.assemble import label
from mixanalysis.families.unknown.matrices import Matrix, matrices
from mixanalysis.network import UNKNOWN, MixingLayer, Network, Provenance
from mixanalysis.operators import Dense, Masked, Operator, Product

NAME = "weights-only"


@dataclass(frozen=True)
class UnknownConfig:
    """Stands where a configuration would; nothing of the architecture is known."""

    family: str = UNKNOWN
    width: int = 0
    input_shape: tuple[int, int, int] = (0, 0, 0)


def network(checkpoint: Checkpoint, why: str) -> Network:
    """Every matrix of the checkpoint as a layer of its own.

    Matrices are 2-D weights, 1 x 1 convolutions and 1-D ones of kernel 1 as their matrix, each block of a 3-D block
    weight, and each third of a fused query-key-value projection, in either orientation. Masks stay with each of them.
    The other tensors are listed as unused, with the reason.

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
        held = matrices(checkpoint, name)
        if isinstance(held, str):
            unused.append(f"{name} ({held})")
        else:
            layers += [_layer(checkpoint, name, len(layers) + i, matrix) for i, matrix in enumerate(held)]
    if not layers:
        quantised = "; its weights are quantised" if any("quantised" in line for line in unused) else ""
        raise CheckpointError(f"{why}; nor does it hold a matrix ({'; '.join(unused[:3])}){quantised}")

    def no_module() -> NoReturn:
        raise CheckpointError(f"{why}; only its weights can be analysed (spectrum)")

    unused += [f"{name} (not a tensor of the network)" for name in checkpoint.ignored]
    source = Provenance(checkpoint.path, checkpoint.format, checkpoint.wrapper, NAME, tuple(unused))
    weights = sum(layer.connections for layer in layers)
    return Network(label(checkpoint.path), UnknownConfig(), tuple(layers), (), weights, source, no_module)


def _layer(checkpoint: Checkpoint, name: str, index: int, matrix: Matrix) -> MixingLayer:
    return MixingLayer(
        name=name.removesuffix(".weight") + matrix.suffix,
        block=index,
        role="dense",
        stage="in" if matrix.shape[0] >= matrix.shape[1] else "out",
        shape=matrix.shape,
        connections=_connections(checkpoint, name, matrix),
        declared_variance=None,
        build=partial(_operator, checkpoint, name, matrix),
        build_bias=_no_bias,
    )


def _no_bias() -> None:
    """A matrix on its own has no bias."""


def _connections(checkpoint: Checkpoint, name: str, matrix: Matrix) -> int:
    if matrix.whole:
        return checkpoint.connections(name)
    kept = checkpoint.kept(name)
    return math.prod(matrix.shape) if kept is None else int(matrix.of(kept).sum())


def _operator(checkpoint: Checkpoint, name: str, matrix: Matrix) -> Operator:
    support = checkpoint.support(name) if matrix.whole else None
    if support is not None:
        return Masked(support.rows, support.columns, support.values, matrix.shape)
    factors = checkpoint.factors(name)
    if factors is not None:
        up, down = (Dense(_computable(factor)) for factor in factors)
        return Product((up, down))
    values = _computable(matrix.of(checkpoint.tensor(name)))
    kept = checkpoint.kept(name)
    if kept is None:
        return Dense(values)
    rows, columns = torch.nonzero(matrix.of(kept), as_tuple=True)
    return Masked(rows, columns, values[rows, columns], matrix.shape)


def _computable(values: Tensor) -> Tensor:
    return values if values.dtype in (torch.float32, torch.float64) else values.float()
