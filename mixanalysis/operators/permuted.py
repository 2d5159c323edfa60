"""Permutations on either side of an operator, as index vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from mixanalysis.operators.base import Operator
from mixanalysis.operators.lanczos import Search
from mixanalysis.operators.spectrum import Density, FloatArray, Spectrum, Top


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
        super().__init__(inner.shape, inner.torch_dtype, inner.device)
        self.inner = inner
        self.rows = None if rows is None else rows.to(inner.device)
        self.columns = None if columns is None else columns.to(inner.device)

    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""
        if self.columns is not None:
            x = x.index_select(-1, self.columns)
        y = self.inner.apply(x)
        return y if self.rows is None else y.index_select(-1, self.rows)

    @property
    def exact(self) -> bool:
        """Whether the inner operator's is."""
        return self.inner.exact

    def spectrum(self) -> Spectrum:
        """That of the inner operator: permutations are orthogonal."""
        return self.inner.spectrum()

    def _top(self, k: int, search: Search) -> Top:
        start = search.start
        if start is not None and self.columns is not None:
            start = start[self.columns.cpu().numpy()]
        top = self.inner._top(k, replace(search, start=start))
        return replace(top, left=_taken(top.left, self.rows), right=_taken(top.right, inverse(self.columns)))

    def _spectral_density(self, probes: int, steps: int, seed: int) -> Density:
        return self.inner._spectral_density(probes, steps, seed)

    @property
    def nnz(self) -> int:
        """That of the inner operator."""
        return self.inner.nnz

    def row_norms(self) -> Tensor:
        """Euclidean norm of every row, shape (rows,), float64."""
        norms = self.inner.row_norms()
        return norms if self.rows is None else norms[self.rows]

    def map_weights(self, function: Callable[[Tensor], Tensor]) -> Permuted:
        """The same permutations of the inner operator's new weights."""
        return Permuted(self.inner.map_weights(function), self.rows, self.columns)

    def _transpose(self) -> Permuted:
        return Permuted(self.inner.T, inverse(self.columns), inverse(self.rows))


def is_permutation(index: Tensor, size: int) -> bool:
    """Whether an integer vector holds each of 0 .. size - 1 exactly once."""
    return index.shape == (size,) and bool((index.sort().values == torch.arange(size, device=index.device)).all())


def inverse(index: Tensor | None) -> Tensor | None:
    """The inverse permutation; None is the identity."""
    return None if index is None else torch.argsort(index)


def _taken(vectors: FloatArray | None, index: Tensor | None) -> FloatArray | None:
    return vectors if vectors is None or index is None else vectors[index.cpu().numpy()]
