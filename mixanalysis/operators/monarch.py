"""Monarch matrices: two block-diagonal factors with a fixed permutation after each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mixanalysis.operators.base import Operator
from mixanalysis.operators.block_diagonal import BlockDiagonal
from mixanalysis.operators.cropped import cropped
from mixanalysis.operators.permuted import Permuted
from mixanalysis.operators.product import Product


class Monarch(Operator):
    """[Pi(l s, s) bd(second) Pi(l r, l) bd(first)][:rows, :columns], as fly's `MonarchLinear` (Dao et al. 2022).

    Pi(n, d) sends entry r d + i of a vector to entry i n/d + r: it writes an n/d x d matrix by columns. Inputs are
    padded with zeros, outputs cut. With all blocks equal it is a Kronecker product (HK Cor. 3.4); with independent
    blocks its singular values follow from the blocks by no rule, and are exact where the matrix is small.

    Args:
        first: `blkdiag1`, shape (k, q, p).
        second: `blkdiag2`, shape (l, s, r) with l r = k q.
        shape: (rows, columns), at most (l s, k p), which is the default.
        transposed: whether the operator is the transposed matrix, of shape (columns, rows).

    Raises:
        ValueError: the factors don't fit each other, or the shape is too large.
    """

    def __init__(
        self, first: Tensor, second: Tensor, shape: tuple[int, int] | None = None, *, transposed: bool = False
    ) -> None:
        if first.ndim != 3 or second.ndim != 3 or first.shape[0] * first.shape[1] != second.shape[0] * second.shape[2]:
            msg = (
                "Monarch factors need shapes (k, q, p) and (l, s, r) with k q = l r, got "
                f"{tuple(first.shape)} and {tuple(second.shape)}"
            )
            raise ValueError(msg)
        inner, outer = BlockDiagonal(first), BlockDiagonal(second)
        inner_order = stride_order(inner.shape[0], second.shape[0], first.device)
        outer_order = stride_order(outer.shape[0], second.shape[1], second.device)
        full = Product([Permuted(outer, rows=outer_order), Permuted(inner, rows=inner_order)])
        whole = cropped(full, full.shape if shape is None else shape)
        self.chain = whole.T if transposed else whole
        super().__init__(self.chain.shape, self.chain.torch_dtype, self.chain.device)
        self.first, self.second, self.transposed = first, second, transposed

    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""
        return self.chain.apply(x)

    @property
    def nnz(self) -> int:
        """Cells that some path through both factors reaches.

        Output f of the first factor, in block f // q, is an input of the second factor's block f mod l. Where two
        blocks share an f, all rows of the second (they end up l apart) see all columns of the first.
        """
        rows, columns = reversed(self.shape) if self.transposed else self.shape
        (firsts, q, p), seconds = self.first.shape, self.second.shape[0]
        middle = np.arange(firsts * q)
        reached = np.zeros((seconds, firsts), dtype=np.int64)
        reached[middle % seconds, middle // q] = 1
        block_rows = np.bincount(np.arange(rows) % seconds, minlength=seconds)
        block_columns = np.bincount(np.arange(columns) // p, minlength=firsts)
        return int(block_rows @ reached @ block_columns)

    def map_weights(self, function: Callable[[Tensor], Tensor]) -> Monarch:
        """The same structure with other factors."""
        return self._with(function(self.first), function(self.second), transposed=self.transposed)

    def _transpose(self) -> Monarch:
        return self._with(self.first, self.second, transposed=not self.transposed)

    def _with(self, first: Tensor, second: Tensor, *, transposed: bool) -> Monarch:
        rows, columns = reversed(self.shape) if self.transposed else self.shape
        return Monarch(first, second, (rows, columns), transposed=transposed)


def stride_order(size: int, step: int, device: torch.device) -> Tensor:
    """Pi(size, step), fly's 'b (r l) -> b (l r)', as an index vector: 0, step, 2 step, ..., then 1, step + 1, ..."""
    return torch.arange(size, device=device).view(-1, step).T.reshape(-1)
