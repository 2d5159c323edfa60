"""W - W0: what training added to an initial weight, with the structure of both."""

from __future__ import annotations

import torch
from torch import Tensor

from mixanalysis.operators import Dense, Kronecker, Lift, Masked, Monarch, Operator, Permuted


def difference(trained: Operator, initial: Operator) -> Operator:
    """The operator of one structure whose weights are those of `trained` minus those of `initial`.

    The difference of two Monarch matrices or Kronecker products has no such structure, and is made dense.

    Raises:
        ValueError: the two differ in kind, shape, mask or permutation, or are too large to be made dense.
    """
    _check(trained, initial)
    if isinstance(trained, Monarch | Kronecker):
        return Dense(trained.dense() - initial.dense().to(trained.torch_dtype))
    weights: list[Tensor] = []

    def collect(weight: Tensor) -> Tensor:
        weights.append(weight)
        return weight

    initial.map_weights(collect)
    rest = iter(weights)
    return trained.map_weights(lambda weight: weight - next(rest).to(weight.dtype))


def _check(first: Operator, second: Operator) -> None:
    if type(first) is not type(second) or first.shape != second.shape:
        kinds = [f"{each.shape[0]} x {each.shape[1]} ({type(each).__name__})" for each in (first, second)]
        msg = f"{kinds[0]} and {kinds[1]} have no difference; give the checkpoint that the training began from"
        raise ValueError(msg)
    match first, second:
        case (Dense(), Dense()) | (Monarch(), Monarch()) | (Kronecker(), Kronecker()):
            return
        case Masked(), Masked():
            same = torch.equal(first.rows, second.rows) and torch.equal(first.columns, second.columns)
            if not same:
                msg = "the masks differ; give the checkpoint that the training began from"
                raise ValueError(msg)
        case Lift(), Lift():
            _check(first.factor, second.factor)
        case Permuted(), Permuted():
            pairs = ((first.rows, second.rows), (first.columns, second.columns))
            if not all((a is None and b is None) or (a is not None and b is not None and a.equal(b)) for a, b in pairs):
                msg = "the permutations differ; give the checkpoint that the training began from"
                raise ValueError(msg)
            _check(first.inner, second.inner)
        case _:
            msg = f"no rule for the difference of two operators of kind {type(first).__name__}"
            raise ValueError(msg)
