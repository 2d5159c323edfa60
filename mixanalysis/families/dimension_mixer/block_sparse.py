"""Block-diagonal layers along one axis of S x C features, and the sparse MLPs that are made of them."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixanalysis.network.blocks import Axis, fan_in_normal_
from mixanalysis.network.effective_layers import along
from mixanalysis.network.network import MixingLayer, Stage, Weights
from mixanalysis.operators import BlockDiagonal, Lift, Operator, Permuted
from mixanalysis.operators.monarch import stride_order


class BlockLinear(nn.Module):
    """Blocks with weights of their own along the last axis, (..., blocks * in) -> (..., blocks * out)."""

    def __init__(self, blocks: int, into: int, out: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(fan_in_normal_(torch.empty(blocks, out, into), into))
        self.bias = nn.Parameter(torch.zeros(blocks * out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Apply each block to its entries."""
        blocks, _, into = self.weight.shape
        y = torch.einsum("boi,...bi->...bo", self.weight, x.unflatten(-1, (blocks, into))).flatten(-2)
        return y if self.bias is None else y + self.bias


class MonarchMlp(nn.Module):
    """Two pairs of block-diagonal layers with an ELU between (Dimension-Mixer's `sparse_linear`), for b^2 features.

    The first pair leads from b blocks of b features to b blocks of h b, and, transposed, through h b blocks of b; the
    second pair leads back.
    """

    def __init__(self, size: int, expansion: int, axis: Axis) -> None:
        super().__init__()
        root = block_root(size)
        self.axis, self.inner, self.outer = axis, root * expansion, root
        self.linear0_0 = BlockLinear(root, root, root * expansion, bias=False)
        self.linear0_1 = BlockLinear(root * expansion, root, root, bias=True)
        self.linear1_0 = BlockLinear(root * expansion, root, root, bias=False)
        self.linear1_1 = BlockLinear(root, root * expansion, root, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers along the axis."""
        x = x.mT if self.axis == "token" else x
        x = self.linear0_0(x).unflatten(-1, (self.outer, self.inner)).mT.flatten(-2)
        x = self.linear1_0(F.elu(self.linear0_1(x)))
        x = self.linear1_1(x.unflatten(-1, (self.inner, self.outer)).mT.flatten(-2))
        return x.mT if self.axis == "token" else x


class ButterflyMlp(nn.Module):
    """Blockwise MLPs on entries that are 1, then b apart (Dimension-Mixer's `sparse_mlp`), for b^2 features."""

    def __init__(self, size: int, expansion: int, axis: Axis) -> None:
        super().__init__()
        self.axis, root = axis, block_root(size)
        self.factors = nn.ModuleList(ButterflyFactor(size, root, expansion, gap) for gap in (1, root))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the factors along the axis."""
        x = x.mT if self.axis == "token" else x
        for factor in self.factors:
            x = factor(x)
        return x.mT if self.axis == "token" else x


class ButterflyFactor(nn.Module):
    """fc2(GELU(fc1(.))), a small MLP for every block of entries that are `gap` apart."""

    def __init__(self, size: int, root: int, expansion: int, gap: int) -> None:
        super().__init__()
        self.root, self.gap = root, gap
        self.fc1 = BlockLinear(size // root, root, root * expansion, bias=True)
        self.fc2 = BlockLinear(size // root, root * expansion, root, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Gather the blocks, apply their MLPs, and put the entries back."""
        gathered = x.unflatten(-1, (-1, self.root, self.gap)).mT
        mixed: Tensor = self.fc2(F.gelu(self.fc1(gathered.flatten(-3))))
        return mixed.view(gathered.shape).mT.flatten(-3)


def block_root(size: int) -> int:
    """The b of b^2 features.

    Returns:
        The square root of the size.

    Raises:
        ValueError: the size is no square number.

    Examples:
        >>> block_root(49)
        7
    """
    root = math.isqrt(size)
    if root**2 != size:
        msg = f"sparse mixing needs a square number of features along its axis, got {size}"
        raise ValueError(msg)
    return root


def monarch_layers(weights: Weights, path: str, *, block: int, axis: Axis, copies: int) -> tuple[MixingLayer, ...]:
    """The four layers of a `MonarchMlp`, each with the permutation before it."""
    outer, inner, _ = weights.shape(f"{path}.linear0_0.weight")
    orders = {"0_1": stride_order(outer * inner, inner, _CPU), "1_1": stride_order(outer * inner, outer, _CPU)}
    return tuple(
        _block_layer(
            weights,
            f"{path}.linear{name}",
            block,
            axis,
            copies,
            "out" if name == "1_1" else "in",
            columns=orders.get(name),
        )
        for name in ("0_0", "0_1", "1_0", "1_1")
    )


def butterfly_layers(weights: Weights, path: str, *, block: int, axis: Axis, copies: int) -> tuple[MixingLayer, ...]:
    """The two layers of both factors of a `ButterflyMlp`, each between the permutations beside it."""
    layers = []
    for index in (0, 1):
        name = f"{path}.factors.{index}"
        blocks, _, root = weights.shape(f"{name}.fc1.weight")
        gathered = torch.arange(blocks * root).view(-1, root, root**index).mT.flatten()
        make = partial(_block_layer, weights, block=block, axis=axis, copies=copies)
        layers += [
            make(f"{name}.fc1", stage="in", columns=gathered),
            make(f"{name}.fc2", stage="out", rows=torch.argsort(gathered)),
        ]
    return tuple(layers)


_CPU = torch.device("cpu")


def _block_layer(
    weights: Weights,
    name: str,
    block: int,
    axis: Axis,
    copies: int,
    stage: Stage,
    rows: Tensor | None = None,
    columns: Tensor | None = None,
) -> MixingLayer:
    """A `BlockLinear` along an axis; `rows` and `columns` say where its entries stand on the axis."""
    blocks, out, into = weights.shape(f"{name}.weight")
    return MixingLayer(
        name=name,
        block=block,
        role=axis,
        stage=stage,
        shape=(blocks * out * copies, blocks * into * copies),
        connections=weights.connections(f"{name}.weight") * copies,
        declared_variance=None,
        build=partial(_operator, weights, name, axis, copies, rows, columns),
        build_bias=partial(_bias, weights, name, axis, copies, rows),
    )


def _operator(
    weights: Weights, name: str, axis: Axis, copies: int, rows: Tensor | None, columns: Tensor | None
) -> Operator:
    blocks = BlockDiagonal(weights.tensor(f"{name}.weight"))
    return Lift(Permuted(blocks, rows, columns), copies, "left" if axis == "token" else "right")


def _bias(weights: Weights, name: str, axis: Axis, copies: int, rows: Tensor | None) -> Tensor | None:
    if f"{name}.bias" not in weights:
        return None
    bias = weights.tensor(f"{name}.bias")
    return along(bias if rows is None else bias[rows], copies, axis)
