"""A matrix with a mask: only the cells on the mask's support are connections."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mixanalysis.operators.base import Operator, Spectrum, singular_values


class Masked(Operator):
    """A sparse matrix M * A whose support is known, not inferred: a connection may hold the value zero.

    Args:
        rows: int64, shape (nnz,); row of each connection.
        columns: int64, shape (nnz,); column of each connection.
        values: shape (nnz,); weight of each connection.
        shape: (rows, columns) of the matrix.

    Raises:
        ValueError: the three vectors differ in length, or an index lies outside the shape.
    """

    def __init__(self, rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> None:
        if not rows.shape == columns.shape == values.shape or values.ndim != 1:
            msg = (
                "rows, columns and values must be vectors of one length, got shapes "
                f"{tuple(rows.shape)}, {tuple(columns.shape)} and {tuple(values.shape)}"
            )
            raise ValueError(msg)
        for name, index, size in (("row", rows, shape[0]), ("column", columns, shape[1])):
            if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < size:
                msg = f"{name} indices must lie in [0, {size}), got {int(index.min())} to {int(index.max())}"
                raise ValueError(msg)
        super().__init__(shape, values.dtype)
        self.rows, self.columns, self.values = rows, columns, values

    @classmethod
    def from_dense(cls, weight: Tensor, mask: Tensor) -> Masked:
        """The product weight * (mask != 0), for a weight and a mask of shape (rows, columns)."""
        if weight.shape != mask.shape or weight.ndim != 2:
            msg = f"a mask needs the shape of its weight matrix, got {tuple(mask.shape)} for {tuple(weight.shape)}"
            raise ValueError(msg)
        rows, columns = torch.nonzero(mask, as_tuple=True)
        return cls(rows, columns, weight[rows, columns], (weight.shape[0], weight.shape[1]))

    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""
        flat = x.reshape(-1, self.shape[1])
        indices = torch.stack([self.rows, self.columns])
        matrix = torch.sparse_coo_tensor(indices, self.values, self.shape, check_invariants=False)
        product: Tensor = torch.sparse.mm(matrix, flat.mT)
        return product.mT.reshape(*x.shape[:-1], self.shape[0])

    def spectrum(self) -> Spectrum:
        """Singular values of the rows and columns that hold a connection; the others give structural zeros."""
        used_rows, row = torch.unique(self.rows, return_inverse=True)
        used_columns, column = torch.unique(self.columns, return_inverse=True)
        core = torch.zeros(len(used_rows), len(used_columns), dtype=torch.float64)
        core[row, column] = self.values.double()
        values = singular_values(core)
        return Spectrum(values, np.ones(len(values), dtype=np.int64), min(self.shape) - len(values))

    @property
    def nnz(self) -> int:
        """Number of connections, zero-valued ones included."""
        return self.values.numel()

    def row_norms(self) -> Tensor:
        """Euclidean norm of every row, shape (rows,), float64."""
        squares = torch.zeros(self.shape[0], dtype=torch.float64)
        return squares.index_add_(0, self.rows, self.values.double() ** 2).sqrt_()

    def _transpose(self) -> Masked:
        return Masked(self.columns, self.rows, self.values, (self.shape[1], self.shape[0]))

    def _astype(self, dtype: torch.dtype) -> Masked:
        return Masked(self.rows, self.columns, self.values.to(dtype), self.shape)
