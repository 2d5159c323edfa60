"""The matrices of independent entries that a layer is made of."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import singledispatch

from mixanalysis.operators import BlockDiagonal, Lift, Monarch, Operator, Permuted


@singledispatch
def independent_factor(operator: Operator) -> Operator:
    """The matrix whose entries the null takes as independent: permutations and copies are stripped."""
    return operator


@independent_factor.register
def _(operator: Lift) -> Operator:
    return independent_factor(operator.factor)


@independent_factor.register
def _(operator: Permuted) -> Operator:
    return independent_factor(operator.inner)


@singledispatch
def independent_parts(operator: Operator) -> list[list[Operator]]:
    """The matrices with independent entries that an operator is made of, leftmost first, in groups that are free.

    Returns:
        One group of one for a shared or masked matrix; the two block-diagonal factors of a Monarch matrix are one
        group, the two factors of a Kronecker product are two, unless one holds nothing but gains.
    """
    factor = independent_factor(operator)
    return [[factor]] if factor is operator else independent_parts(factor)


@independent_parts.register
def _(operator: Monarch) -> list[list[Operator]]:
    second, first = BlockDiagonal(operator.second), BlockDiagonal(operator.first)
    return [[first.T, second.T] if operator.transposed else [second, first]]


def free_groups(parts: Sequence[list[list[Operator]]], roles: Sequence[str]) -> list[list[Operator]]:
    """The independent matrices of a product of layers, in groups that mix the same axis; the leftmost layer first.

    Args:
        parts: of each layer, its `independent_parts`.
        roles: what each layer mixes.

    Returns:
        Groups of operators, leftmost first.
    """
    if all(len(sides) == 2 for sides in parts):
        # Kronecker products multiply side by side
        return [[each for sides in parts for each in sides[side]] for side in (0, 1)]
    flat = [(role, each) for role, sides in zip(roles, parts, strict=True) for side in sides for each in side]
    return [[each for _, each in group] for _, group in itertools.groupby(flat, lambda pair: pair[0])]
