"""Mixing layers whose matrix is made of blocks: block-diagonal ones and Monarch matrices, as fly's Mixers have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from mixanalysis.network.blocks import Axis, fan_in_normal_
from mixanalysis.network.config import positive
from mixanalysis.network.effective_layers import along
from mixanalysis.network.network import MixingLayer, Stage, Weights
from mixanalysis.operators import BlockDiagonal, Lift, Monarch, Operator, Permuted
from mixanalysis.operators.cropped import cropped
from mixanalysis.operators.monarch import stride_order


@dataclass(frozen=True)
class Structure:
    """How a mixing layer's matrix is made.

    Attributes:
        kind: "dense", "block-diagonal" (fly's `BlockdiagLinear`) or "monarch" (fly's `MonarchLinear`).
        blocks: number of blocks of each factor; sizes that they don't divide are padded and cropped.
        shuffle: whether the inputs of a block-diagonal matrix are dealt out to the blocks in turn.
    """

    kind: Literal["dense", "block-diagonal", "monarch"] = "dense"
    blocks: int = 1
    shuffle: bool = False

    def __post_init__(self) -> None:
        """Check the number of blocks."""
        positive(self, "blocks")

    def shapes(self, size: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
        """Names and shapes of the tensors of a matrix with `size` = (in, out) features."""
        into, out = (-(-features // self.blocks) for features in size)
        if self.kind == "block-diagonal":
            return {"weight": (self.blocks, out, into)}
        middle = into if into < out else out
        return {"blkdiag1": (self.blocks, middle, into), "blkdiag2": (self.blocks, out, middle)}

    def operator(self, tensors: Mapping[str, Tensor], size: tuple[int, int]) -> Operator:
        """The matrix, shape (out, in), from its tensors."""
        into, out = size
        if self.kind == "monarch":
            return Monarch(tensors["blkdiag1"], tensors["blkdiag2"], (out, into))
        blocks: Operator = BlockDiagonal(tensors["weight"])
        if self.shuffle:
            order = stride_order(blocks.shape[1], blocks.shape[1] // self.blocks, blocks.device)
            blocks = Permuted(blocks, columns=order)
        return cropped(blocks, (out, into))

    def connections(self, size: tuple[int, int]) -> int:
        """Cells of the matrix that its structure allows to be non-zero."""
        into, out = size
        shapes = self.shapes(size)
        if self.kind == "monarch":
            # a matrix of this structure without weights of its own
            first, second = (torch.zeros(()).expand(shape) for shape in shapes.values())
            return Monarch(first, second, (out, into)).nnz
        _, rows, columns = shapes["weight"]
        place = np.arange(self.blocks * columns)
        if self.shuffle:
            place = place % columns * self.blocks + place // columns
        kept = np.bincount(place[:into] // columns, minlength=self.blocks)
        return int(kept @ np.bincount(np.arange(out) // rows, minlength=self.blocks))


@dataclass(frozen=True)
class Structures:
    """The structure of each matrix of a Mixer's blocks."""

    token_fc1: Structure = Structure()
    token_fc2: Structure = Structure()
    channel_fc1: Structure = Structure()
    channel_fc2: Structure = Structure()

    def of(self, axis: Axis, name: str) -> Structure:
        """That of `fc1` or `fc2` of an axis."""
        structure: Structure = getattr(self, f"{axis}_{name}")
        return structure


ALL_DENSE = Structures()


class StructuredLinear(nn.Module):
    """A mixing layer with a structured matrix, shared along the other axis.

    Args:
        size: features in and out along the axis.
        axis: "token" maps (B, in, C) to (B, out, C); "channel" (B, S, in) to (B, S, out).
        structure: how the matrix is made; not "dense".
        bias: whether a bias, shared like the matrix, is added.
    """

    def __init__(self, size: tuple[int, int], axis: Axis, structure: Structure, *, bias: bool = True) -> None:
        super().__init__()
        self.size, self.axis, self.structure = size, axis, structure
        for name, shape in structure.shapes(size).items():
            self.register_parameter(name, nn.Parameter(fan_in_normal_(torch.empty(shape), shape[-1])))
        self.bias = nn.Parameter(torch.zeros(size[1])) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Mix along the axis."""
        y = self.structure.operator(dict(self.named_parameters()), self.size).apply(x.mT if self.axis == "token" else x)
        y = y if self.bias is None else y + self.bias
        return y.mT if self.axis == "token" else y


def structured_layer(
    weights: Weights, name: str, structure: Structure, size: tuple[int, int], *, block: int, axis: Axis, copies: int
) -> MixingLayer:
    """A `StructuredLinear` as its effective layer.

    Args:
        weights: the tensors.
        name: the layer's path.
        structure: how its matrix is made.
        size: features in and out along the axis.
        block: index of its mixing block.
        axis: what it mixes.
        copies: length of the other axis.

    Returns:
        A lift of the structured matrix.
    """
    stage: Stage = "out" if name.endswith("fc2") else "in"
    return MixingLayer(
        name=name,
        block=block,
        role=axis,
        stage=stage,
        shape=(size[1] * copies, size[0] * copies),
        connections=structure.connections(size) * copies,
        declared_variance=None,
        build=partial(_operator, weights, name, structure, size, axis, copies),
        build_bias=partial(_bias, weights, name, axis, copies),
    )


def _operator(
    weights: Weights, name: str, structure: Structure, size: tuple[int, int], axis: Axis, copies: int
) -> Operator:
    tensors = {part: weights.tensor(f"{name}.{part}") for part in structure.shapes(size)}
    return Lift(structure.operator(tensors, size), copies, "left" if axis == "token" else "right")


def _bias(weights: Weights, name: str, axis: Axis, copies: int) -> Tensor | None:
    if f"{name}.bias" not in weights:
        return None
    return along(weights.tensor(f"{name}.bias"), copies, axis)
