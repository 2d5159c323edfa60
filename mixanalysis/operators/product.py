"""Chains of operators, and the rules by which neighbours become one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from mixanalysis.operators.base import Operator, common_dtype
from mixanalysis.operators.dense import Dense
from mixanalysis.operators.kronecker import Kronecker
from mixanalysis.operators.lift import Lift
from mixanalysis.operators.permuted import Permuted
from mixanalysis.operators.spectrum import Spectrum


class Product(Operator):
    """F_1 F_2 ... F_n, the last factor acting first; nothing is formed.

    Its `nnz` counts the cells that some path through the chain reaches, so that `density` stays a share; the
    stored connections are those of its `factors`. Singular values are exact where `product` finds one operator in the
    chain, permutations at its ends left aside, or where the matrix is small.

    Args:
        factors: one or more operators whose sizes fit.

    Raises:
        ValueError: there is no factor, sizes don't fit, or the factors differ in dtype.
    """

    def __init__(self, factors: Sequence[Operator]) -> None:
        if not factors:
            msg = "a product needs at least one factor, got none"
            raise ValueError(msg)
        for index, (after, before) in enumerate(pairwise(factors)):
            if after.shape[1] != before.shape[0]:
                msg = (
                    f"factor {index} of the product takes {after.shape[1]} inputs, but factor {index + 1} gives "
                    f"{before.shape[0]}; the last factor acts first"
                )
                raise ValueError(msg)
        super().__init__((factors[0].shape[0], factors[-1].shape[1]), common_dtype(factors), factors[0].device)
        self.factors = tuple(factors)

    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""
        for factor in reversed(self.factors):
            x = factor.apply(x)
        return x

    @cached_property
    def _simple(self) -> Operator | None:
        """The chain as one operator without a product, or None."""
        simple = product(*self.factors)
        while isinstance(simple, Permuted):
            simple = simple.inner
        return None if isinstance(simple, Product) else simple

    @property
    def exact(self) -> bool:
        """Whether the chain is one operator with an exact spectrum, or small."""
        return super().exact if self._simple is None else self._simple.exact

    def spectrum(self) -> Spectrum:
        """All singular values, computed in float64.

        Returns:
            The distinct values with their multiplicities.

        Raises:
            ValueError: the structure has no rule for them, and the matrix is too large to be made dense.
        """
        return super().spectrum() if self._simple is None else self._simple.spectrum()

    def map_weights(self, function: Callable[[Tensor], Tensor]) -> Product:
        """The chain of the factors' new weights."""
        return Product([factor.map_weights(function) for factor in self.factors])

    def _transpose(self) -> Product:
        return Product([factor.T for factor in reversed(self.factors)])


def product(*operators: Operator) -> Operator:
    """The product of operators, the last acting first, with the structure of neighbours put to use.

    - Kronecker products and lifts whose sizes fit multiply factor by factor, (A kron B)(C kron D) = AC kron BD:
      lifts of one side stay a lift, V kron I and I kron W (in either order) become V kron W.
    - Permutations that meet are composed, and vanish where they cancel.
    - Dense matrices are multiplied, in their own precision, unless the result is larger than both together.
    - One operator that remains is returned itself, between its permutations.

    So the two layers of a linear S-Mixer block give V^T kron W, those of an RP-Mixer block a `Product` of `Permuted`
    lifts.

    Args:
        operators: one or more, sizes and dtypes fitting.

    Returns:
        An operator that equals the product.

    Raises:
        ValueError: there is none, sizes don't fit, or they differ in dtype.
    """
    if len(operators) == 1 and not isinstance(operators[0], Product):
        return operators[0]
    chain: list[Operator | Tensor] = []
    for token in _tokens(Product(operators)):
        _push(chain, token)
    return _assembled(chain)


def _tokens(operator: Operator) -> Iterator[Operator | Tensor]:
    """The chain from left to right, permutations as index vectors: P stands for (P x)[i] = x[index[i]]."""
    if isinstance(operator, Product):
        for factor in operator.factors:
            yield from _tokens(factor)
    elif isinstance(operator, Permuted):
        if operator.rows is not None:
            yield operator.rows
        yield from _tokens(operator.inner)
        if operator.columns is not None:
            yield operator.columns
    else:
        yield operator


def _push(chain: list[Operator | Tensor], token: Operator | Tensor) -> None:
    """Append to a chain in which no two neighbours can be joined, and keep it so."""
    last = chain[-1] if chain else None
    if isinstance(token, Tensor):
        if isinstance(last, Tensor):
            # (P Q x)[i] = (Q x)[p[i]] = x[q[p[i]]]
            chain.pop()
            token = token[last]
        if not torch.equal(token, torch.arange(len(token), device=token.device)):
            chain.append(token)
        return
    joined = _joined(last, token) if isinstance(last, Operator) else None
    if joined is None:
        chain.append(token)
    else:
        chain.pop()
        _push(chain, joined)


def _joined(left: Operator, right: Operator) -> Operator | None:
    """The product of two neighbours as one operator, where there is a rule."""
    if isinstance(left, Dense) and isinstance(right, Dense):
        small = left.shape[0] * right.shape[1] <= left.nnz + right.nnz
        return Dense(left.weight @ right.weight) if small else None
    if not (isinstance(left, Lift | Kronecker) and isinstance(right, Lift | Kronecker)):
        return None
    (a, b), (c, d) = _sides(left), _sides(right)
    return _kronecker(_times(a, c), _times(b, d)) if _size(a, 1) == _size(c, 0) else None


Side = Operator | int
"""A factor of a Kronecker product; a number stands for the identity of that size."""


def _sides(operator: Lift | Kronecker) -> tuple[Side, Side]:
    if isinstance(operator, Kronecker):
        return operator.left, operator.right
    if operator.identity == "left":
        return operator.copies, operator.factor
    return operator.factor, operator.copies


def _size(side: Side, axis: int) -> int:
    return side if isinstance(side, int) else side.shape[axis]


def _times(left: Side, right: Side) -> Side:
    if isinstance(left, int):
        return right
    return left if isinstance(right, int) else product(left, right)


def _kronecker(left: Side, right: Side) -> Operator:
    if isinstance(left, Operator):
        return Kronecker(left, right) if isinstance(right, Operator) else Lift(left, right, "right")
    if isinstance(right, Operator):
        return Lift(right, left, "left")
    msg = "a Kronecker product of two identities isn't an operator with weights"
    raise TypeError(msg)


def _assembled(chain: list[Operator | Tensor]) -> Operator:
    """Operators with the permutations beside them: each on the rows of what follows, the last on the columns."""
    factors: list[Operator] = []
    rows: Tensor | None = None
    for token in chain:
        if isinstance(token, Tensor):
            rows = token
        else:
            factors.append(token if rows is None else Permuted(token, rows=rows))
            rows = None
    if rows is not None:
        last = factors[-1]
        inner, before = (last.inner, last.rows) if isinstance(last, Permuted) else (last, None)
        factors[-1] = Permuted(inner, rows=before, columns=rows)
    return factors[0] if len(factors) == 1 else Product(factors)
