"""Exact zeros of a weight that was pruned without a mask, taken for the mask."""

from __future__ import annotations

from functools import singledispatch

from mixanalysis.operators import Dense, Lift, Masked, Operator, Permuted


@singledispatch
def zeros_masked(operator: Operator) -> Operator:
    """The operator with the exact zeros of its dense weight as missing connections.

    Returns:
        An equal operator; itself where its structure holds no single dense weight, or no weight is zero.
    """
    return operator


@zeros_masked.register
def _(operator: Dense) -> Operator:
    support = operator.weight != 0
    return operator if bool(support.all()) else Masked.from_dense(operator.weight, support)


@zeros_masked.register
def _(operator: Lift) -> Operator:
    return Lift(zeros_masked(operator.factor), operator.copies, operator.identity)


@zeros_masked.register
def _(operator: Permuted) -> Operator:
    return Permuted(zeros_masked(operator.inner), operator.rows, operator.columns)
