"""Permutations on either side of an operator, as index vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from mixanalysis.operators.base import Operator, Spectrum


class Permuted(Operator):
    """J2 A J1: (J1 x)[i] = x[columns[i]] before A, (J2 y)[i] = y[rows[i]] after it (HK Def. 5.1).

    Args:
        inner: the operator A.
        rows: int64, shape (rows of A,), a permutation, or None for the identity.
        columns: int64, shape (columns of A,), a permutation, or None for the identity.

    Raises:
        ValueError: an index vector is not a permutation of the right size.
    """

    def __init__(self, inner: Operator, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
        for name, index, size in (("rows", rows, inner.shape[0]), ("columns", columns, inner.shape[1])):
            if index is not None and not is_permutation(index, size):
                msg = f"{name} must be a permutation of 0 .. {size - 1}, got a vector of shape {tuple(index.shape)}"
                raise ValueError(msg)
        super().__init__(inner.shape, inner.torch_dtype)
        self.inner, self.rows, self.columns = inner, rows, columns

    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""
        if self.columns is not None:
            x = x.index_select(-1, self.columns)
        y = self.inner.apply(x)
        return y if self.rows is None else y.index_select(-1, self.rows)

    def spectrum(self) -> Spectrum:
        """That of the inner operator: permutations are orthogonal."""
        return self.inner.spectrum()

    @property
    def nnz(self) -> int:
        """That of the inner operator."""
        return self.inner.nnz

    def row_norms(self) -> Tensor:
        """Euclidean norm of every row, shape (rows,), float64."""
        norms = self.inner.row_norms()
        return norms if self.rows is None else norms[self.rows]

    def _transpose(self) -> Permuted:
        return Permuted(self.inner.T, _inverse(self.columns), _inverse(self.rows))

    def _astype(self, dtype: torch.dtype) -> Permuted:
        return Permuted(self.inner.to(dtype), self.rows, self.columns)


def is_permutation(index: Tensor, size: int) -> bool:
    """Whether an integer vector holds each of 0 .. size - 1 exactly once."""
    return index.shape == (size,) and bool((index.sort().values == torch.arange(size)).all())


def _inverse(index: Tensor | None) -> Tensor | None:
    return None if index is None else torch.argsort(index)
