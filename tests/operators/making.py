"""Operators beside their matrices: the table that tests are crossed with, and trees of structures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import strategies as st
from torch import Tensor

from mixanalysis.operators import (
    BlockDiagonal,
    Butterfly,
    Cropped,
    Dense,
    DirectSum,
    Kronecker,
    Lift,
    Masked,
    Monarch,
    Operator,
    Permuted,
    Product,
    Scaled,
    butterfly_factor,
)
from operators import naive_blocks

Pair = tuple[Operator, Tensor]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def masked(rows: int, columns: int, density: float, seed: int = 0) -> Masked:
    mask = normal(rows, columns, seed=seed + 1).abs() < density
    return Masked.from_dense(normal(rows, columns, seed=seed), mask)


def order(size: int, seed: int = 0) -> Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


def kron(left: Tensor, right: Tensor) -> Tensor:
    # torch.kron refuses some matrices that have a side of one
    size = left.shape[0] * right.shape[0], left.shape[1] * right.shape[1]
    return torch.einsum("ij,kl->ikjl", left, right).reshape(size)


def eye(size: int) -> Tensor:
    return torch.eye(size, dtype=torch.float64)


def permutation(index: Tensor) -> Tensor:
    """The matrix P with (P x)[i] = x[index[i]]."""
    return eye(len(index))[index]


def _monarch(first: tuple[int, int, int], second: tuple[int, int, int], shape: tuple[int, int]) -> Pair:
    factors = normal(*first), normal(*second, seed=1)
    return Monarch(*factors, shape), naive_blocks.monarch(*factors, shape)


def _butterfly(twiddle: tuple[int, int, int], shape: tuple[int, int], *, increasing: bool) -> Pair:
    weights = normal(*twiddle, 2 ** (twiddle[2] - 1), 2, 2)
    operator = Butterfly(weights, shape, increasing_stride=increasing)
    return operator, naive_blocks.butterfly(weights, shape, increasing=increasing)


OPERATORS: dict[str, Callable[[], Pair]] = {
    "dense": lambda: (Dense(normal(5, 3)), normal(5, 3)),
    "dense-wide": lambda: (Dense(normal(3, 5)), normal(3, 5)),
    "dense-long": lambda: (Dense(normal(20, 70)), normal(20, 70)),
    "masked": lambda: (masked(6, 4, 0.5), normal(6, 4) * (normal(6, 4, seed=1).abs() < 0.5)),
    "masked-empty": lambda: (masked(6, 4, 0.0), torch.zeros(6, 4, dtype=torch.float64)),
    "masked-sparse": lambda: (masked(9, 7, 0.15), normal(9, 7) * (normal(9, 7, seed=1).abs() < 0.15)),
    "lift-left": lambda: (Lift(Dense(normal(4, 3)), 5, "left"), kron(eye(5), normal(4, 3))),
    "lift-right": lambda: (Lift(Dense(normal(4, 3)), 5, "right"), kron(normal(4, 3), eye(5))),
    "lift-masked": lambda: (
        Lift(masked(4, 3, 0.4), 2, "right"),
        kron(normal(4, 3) * (normal(4, 3, seed=1).abs() < 0.4), eye(2)),
    ),
    "permuted": lambda: (
        Permuted(Dense(normal(5, 4)), order(5), order(4)),
        # (J2 A J1) x = (A x[columns])[rows], so that column columns[i] of the matrix is column i of A
        normal(5, 4)[order(5)][:, torch.argsort(order(4))],
    ),
    "permuted-rows": lambda: (Permuted(Dense(normal(5, 4)), rows=order(5)), normal(5, 4)[order(5)]),
    "kronecker": lambda: (
        Kronecker(Dense(normal(3, 4)), Dense(normal(5, 2, seed=1))),
        kron(normal(3, 4), normal(5, 2, seed=1)),
    ),
    "kronecker-same-side": lambda: (
        Kronecker(Dense(normal(3, 4)), masked(2, 5, 0.6)),
        kron(normal(3, 4), normal(2, 5) * (normal(2, 5, seed=1).abs() < 0.6)),
    ),
    "block-diagonal": lambda: (BlockDiagonal(normal(3, 4, 2)), torch.block_diag(*normal(3, 4, 2))),
    "direct-sum": lambda: (
        DirectSum([Dense(normal(2, 4)), Lift(Dense(normal(3, 1)), 2, "left"), masked(3, 3, 0.5)]),
        torch.block_diag(normal(2, 4), kron(eye(2), normal(3, 1)), normal(3, 3) * (normal(3, 3, seed=1).abs() < 0.5)),
    ),
    "scaled": lambda: (
        Scaled(Lift(Dense(normal(2, 3)), 2, "left"), normal(4), normal(6, seed=1)),
        normal(4)[:, None] * kron(eye(2), normal(2, 3)) * normal(6, seed=1),
    ),
    "scaled-rows": lambda: (
        Scaled(Lift(Dense(normal(2, 3)), 2, "left"), rows=normal(4)),
        normal(4)[:, None] * kron(eye(2), normal(2, 3)),
    ),
    "scaled-dense": lambda: (Scaled(Dense(normal(4, 3)), columns=normal(3)), normal(4, 3) * normal(3)),
    "scaled-masked": lambda: (
        Scaled(masked(6, 4, 0.5), normal(6), normal(4, seed=1)),
        normal(6)[:, None] * masked(6, 4, 0.5).dense() * normal(4, seed=1),
    ),
    "cropped": lambda: (Cropped(BlockDiagonal(normal(3, 4, 2)), (10, 5)), torch.block_diag(*normal(3, 4, 2))[:10, :5]),
    "product": lambda: (
        Product([Dense(normal(4, 6)), Permuted(Lift(Dense(normal(3, 2)), 2, "left"), rows=order(6))]),
        normal(4, 6) @ kron(eye(2), normal(3, 2))[order(6)],
    ),
    "product-masked": lambda: (
        Product([masked(4, 6, 0.3), masked(6, 5, 0.3, seed=4)]),
        masked(4, 6, 0.3).dense() @ masked(6, 5, 0.3, seed=4).dense(),
    ),
    "product-simple": lambda: (
        Product([Permuted(Lift(Dense(normal(2, 3)), 4, "right"), rows=order(8)), Lift(Dense(normal(4, 2)), 3, "left")]),
        kron(normal(2, 3), normal(4, 2))[order(8)],
    ),
    "monarch": lambda: _monarch((3, 4, 4), (3, 4, 4), (12, 12)),
    "monarch-expanding": lambda: _monarch((4, 3, 3), (4, 5, 3), (20, 12)),
    "monarch-contracting": lambda: _monarch((4, 3, 5), (4, 3, 3), (12, 20)),
    "monarch-padded": lambda: _monarch((4, 3, 3), (4, 4, 3), (14, 10)),
    "monarch-sparse": lambda: _monarch((6, 2, 3), (4, 2, 3), (7, 16)),
    "factor": lambda: (butterfly_factor(normal(6, 3, 3), 2), naive_blocks.factor(normal(6, 3, 3), 2)),
    "butterfly": lambda: _butterfly((1, 1, 3), (8, 8), increasing=True),
    "butterfly-decreasing": lambda: _butterfly((1, 3, 3), (8, 8), increasing=False),
    "butterfly-stacks": lambda: _butterfly((3, 2, 2), (11, 3), increasing=True),
}


@st.composite
def leaves(draw: st.DrawFn) -> Pair:
    rows, columns, seed = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(0, 99))
    if draw(st.booleans()):
        return Dense(normal(rows, columns, seed=seed)), normal(rows, columns, seed=seed)
    operator = masked(rows, columns, 0.7, seed)
    return operator, normal(rows, columns, seed=seed) * (normal(rows, columns, seed=seed + 1).abs() < 0.7)


@st.composite
def trees(draw: st.DrawFn, depth: int = 4) -> Pair:
    """A random tree of structures over small leaves, and its matrix."""
    operator, matrix = draw(leaves())
    for seed in range(draw(st.integers(0, depth))):
        grow = draw(st.sampled_from(list(GROWTH)))
        if max(operator.shape) > 60:
            break
        operator, matrix = GROWTH[grow](draw, operator, matrix, seed)
    return operator, matrix


def _permuted(draw: st.DrawFn, operator: Operator, matrix: Tensor, seed: int) -> Pair:
    rows, columns = order(operator.shape[0], seed), order(operator.shape[1], seed + 1)
    return Permuted(operator, rows, columns), permutation(rows) @ matrix @ permutation(columns)


def _lift(draw: st.DrawFn, operator: Operator, matrix: Tensor, seed: int) -> Pair:
    copies = draw(st.integers(1, 3))
    if draw(st.booleans()):
        return Lift(operator, copies, "left"), kron(eye(copies), matrix)
    return Lift(operator, copies, "right"), kron(matrix, eye(copies))


def _kronecker(draw: st.DrawFn, operator: Operator, matrix: Tensor, seed: int) -> Pair:
    other, factor = draw(leaves())
    if draw(st.booleans()):
        return Kronecker(operator, other), kron(matrix, factor)
    return Kronecker(other, operator), kron(factor, matrix)


def _direct_sum(draw: st.DrawFn, operator: Operator, matrix: Tensor, seed: int) -> Pair:
    other, block = draw(leaves())
    return DirectSum([operator, other, operator]), torch.block_diag(matrix, block, matrix)


def _product(draw: st.DrawFn, operator: Operator, matrix: Tensor, seed: int) -> Pair:
    rows = draw(st.integers(1, 5))
    weight = normal(rows, operator.shape[0], seed=seed + 7) / operator.shape[0] ** 0.5
    return Product([Dense(weight), operator]), weight @ matrix


def _scaled(draw: st.DrawFn, operator: Operator, matrix: Tensor, seed: int) -> Pair:
    rows = normal(operator.shape[0], seed=seed) if draw(st.booleans()) else None
    columns = normal(operator.shape[1], seed=seed + 1) if draw(st.booleans()) else None
    scaled = matrix if rows is None else rows[:, None] * matrix
    return Scaled(operator, rows, columns), scaled if columns is None else scaled * columns


def _cropped(draw: st.DrawFn, operator: Operator, matrix: Tensor, seed: int) -> Pair:
    rows, columns = (draw(st.integers(1, size)) for size in operator.shape)
    return Cropped(operator, (rows, columns)), matrix[:rows, :columns]


def _transposed(draw: st.DrawFn, operator: Operator, matrix: Tensor, seed: int) -> Pair:
    return operator.T, matrix.mT


GROWTH: dict[str, Callable[[st.DrawFn, Operator, Tensor, int], Pair]] = {
    "permuted": _permuted,
    "lift": _lift,
    "kronecker": _kronecker,
    "direct sum": _direct_sum,
    "product": _product,
    "scaled": _scaled,
    "cropped": _cropped,
    "transposed": _transposed,
}
