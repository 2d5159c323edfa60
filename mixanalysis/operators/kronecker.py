"""Kronecker products of two operators: the effective matrix of a linear S-Mixer block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch import Tensor

from mixanalysis.operators.base import Operator, common_dtype
from mixanalysis.operators.lanczos import Search, complete
from mixanalysis.operators.spectrum import Spectrum, Top


class Kronecker(Operator):
    """A kron B, never formed: entry (i b + k, j d + l) is A[i, j] B[k, l] for B of shape b x d.

    With the column vec, vec(B X A^T) = (A kron B) vec(X); without its inner activation an S-Mixer block
    X -> W X V is V^T kron W (HK Cor. 3.4).

    Args:
        left: the operator A.
        right: the operator B.

    Raises:
        ValueError: the factors differ in dtype.

    Examples:
        >>> import torch
        >>> from mixanalysis.operators import Dense
        >>> left, right = (Dense(torch.diag(torch.tensor(values))) for values in ([3.0, 1.0], [2.0, 1.0]))
        >>> Kronecker(left, right).dense().diagonal().tolist()
        [6.0, 3.0, 2.0, 1.0]
    """

    def __init__(self, left: Operator, right: Operator) -> None:
        shape = (left.shape[0] * right.shape[0], left.shape[1] * right.shape[1])
        super().__init__(shape, common_dtype([left, right]), left.device)
        self.left, self.right = left, right

    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""
        inner = self.right.apply(x.reshape(*x.shape[:-1], self.left.shape[1], self.right.shape[1]))
        return self.left.apply(inner.mT).mT.reshape(*x.shape[:-1], self.shape[0])

    @property
    def exact(self) -> bool:
        """Whether both factors' are."""
        return self.left.exact and self.right.exact

    def spectrum(self) -> Spectrum:
        """All products of the factors' singular values; rectangular factors leave zeros besides."""
        left, right = self.left.spectrum(), self.right.spectrum()
        values = np.multiply.outer(left.values, right.values).reshape(-1)
        multiplicity = np.multiply.outer(left.multiplicity, right.multiplicity).reshape(-1)
        return Spectrum.of(values, min(self.shape), multiplicity)

    def _top(self, k: int, search: Search) -> Top:
        """From the k largest of each factor: no other product can be among the k largest."""
        search = replace(search, start=None)
        left = self.left._top(min(k, *self.left.shape), search)
        right = self.right._top(min(k, *self.right.shape), search)
        products = np.multiply.outer(left.values, right.values)
        order = np.argsort(-products, axis=None, kind="stable")[:k]
        i, j = np.unravel_index(order, products.shape)
        values, more = products[i, j], k - len(order)
        # (A kron B)(v kron v') - s s' (u kron u') with A v = s u + e and B v' = s' u' + e'
        shares = [top.values / (top.values[0] or 1.0) for top in (left, right)]
        a, b = left.residuals[i], right.residuals[j]
        residuals = shares[0][i] * b + shares[1][j] * a + a * b
        method = "Lanczos" if "Lanczos" in (left.method, right.method) else "exact"
        top = Top(np.append(values, np.zeros(more)), np.append(residuals, np.zeros(more)), method)
        if not search.vectors:
            return top
        generator = np.random.default_rng(search.seed)
        u, v = (
            complete(np.einsum("ak,bk->abk", x[:, i], y[:, j]).reshape(-1, len(order)), more, generator)
            for x, y in ((left.left, right.left), (left.right, right.right))
            if x is not None and y is not None
        )
        return replace(top, left=u, right=v)

    @property
    def nnz(self) -> int:
        """Product of the factors' connections."""
        return self.left.nnz * self.right.nnz

    def row_norms(self) -> Tensor:
        """Euclidean norm of every row, shape (rows,), float64."""
        return (self.left.row_norms()[:, None] * self.right.row_norms()).reshape(-1)

    def map_weights(self, function: Callable[[Tensor], Tensor]) -> Kronecker:
        """The product of the factors' new weights."""
        return Kronecker(self.left.map_weights(function), self.right.map_weights(function))

    def _transpose(self) -> Kronecker:
        return Kronecker(self.left.T, self.right.T)
