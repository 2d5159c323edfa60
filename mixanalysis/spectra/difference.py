"""W - W0: what training added to an initial weight, with the structure of both."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from torch import Tensor

from mixanalysis.operators import Dense, Kronecker, Lift, Masked, Monarch, Operator, Permuted

START = "give the checkpoint that the training began from"


def difference(trained: Operator, initial: Operator) -> Operator:
    """The operator of one structure whose weights are those of `trained` minus those of `initial`.

    The difference of two Monarch matrices or Kronecker products has no such structure, and is made dense.

    Returns:
        An operator of the kind and shape of `trained`, or a dense one.

    Raises:
        ValueError: the two differ in kind, shape, mask or permutation, or are too large to be made dense.
    """
    if type(trained) is not type(initial) or trained.shape != initial.shape:
        kinds = [f"{each.shape[0]} x {each.shape[1]} ({type(each).__name__})" for each in (trained, initial)]
        msg = f"{kinds[0]} and {kinds[1]} have no difference; {START}"
        raise ValueError(msg)
    return subtracted(trained, initial)


@singledispatch
def subtracted(trained: Operator, initial: Any) -> Operator:
    """The difference of two operators of one kind and shape; a structure registers its rule.

    Raises:
        ValueError: the kind has no rule, or the two differ in mask or permutation.
    """
    msg = f"no rule for the difference of two operators of kind {type(trained).__name__}"
    raise ValueError(msg)


@subtracted.register
def _(trained: Dense, initial: Dense) -> Operator:
    return _by_weights(trained, initial)


@subtracted.register
def _(trained: Masked, initial: Masked) -> Operator:
    if not (trained.rows.equal(initial.rows) and trained.columns.equal(initial.columns)):
        msg = f"the masks differ; {START}"
        raise ValueError(msg)
    return _by_weights(trained, initial)


@subtracted.register
def _(trained: Lift, initial: Lift) -> Operator:
    return Lift(difference(trained.factor, initial.factor), trained.copies, trained.identity)


@subtracted.register
def _(trained: Permuted, initial: Permuted) -> Operator:
    pairs = ((trained.rows, initial.rows), (trained.columns, initial.columns))
    if not all((a is None and b is None) or (a is not None and b is not None and a.equal(b)) for a, b in pairs):
        msg = f"the permutations differ; {START}"
        raise ValueError(msg)
    return Permuted(difference(trained.inner, initial.inner), trained.rows, trained.columns)


@subtracted.register(Monarch)
@subtracted.register(Kronecker)
def _(trained: Operator, initial: Operator) -> Operator:
    return Dense(trained.dense() - initial.dense().to(trained.torch_dtype))


def _by_weights(trained: Operator, initial: Operator) -> Operator:
    weights: list[Tensor] = []

    def collect(weight: Tensor) -> Tensor:
        weights.append(weight)
        return weight

    initial.map_weights(collect)
    rest = iter(weights)
    return trained.map_weights(lambda weight: weight - next(rest).to(weight.dtype))
