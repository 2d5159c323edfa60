"""Diagonal matrices on either side of an operator, such as the gain of a norm before a layer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mixanalysis.operators.base import Operator
from mixanalysis.operators.dense import Dense
from mixanalysis.operators.masked import Masked
from mixanalysis.operators.spectrum import Spectrum


class Scaled(Operator):
    """diag(rows) A diag(columns).

    Args:
        inner: the operator A.
        rows: shape (rows of A,), or None for ones.
        columns: shape (columns of A,), or None for ones.

    Raises:
        ValueError: a scale has the wrong shape, or another dtype than the operator.
    """

    def __init__(self, inner: Operator, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
        for name, scale, size in (("row", rows, inner.shape[0]), ("column", columns, inner.shape[1])):
            if scale is not None and (scale.shape != (size,) or scale.dtype != inner.torch_dtype):
                msg = (
                    f"{name} scales must be {inner.torch_dtype} of shape ({size},) like their operator, got "
                    f"{scale.dtype} of shape {tuple(scale.shape)}"
                )
                raise ValueError(msg)
        super().__init__(inner.shape, inner.torch_dtype, inner.device)
        self.inner = inner
        self.rows = None if rows is None else rows.to(inner.device)
        self.columns = None if columns is None else columns.to(inner.device)

    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""
        y = self.inner.apply(x if self.columns is None else x * self.columns)
        return y if self.rows is None else y * self.rows

    def absorbed(self) -> Operator | None:
        """The scaled cells in float64, dense or masked, where the inner operator holds its cells one by one."""
        inner = self.inner.to(torch.float64)
        rows, columns = (None if scale is None else scale.double() for scale in (self.rows, self.columns))
        if isinstance(inner, Dense):
            weight = inner.weight if rows is None else rows[:, None] * inner.weight
            return Dense(weight if columns is None else weight * columns)
        if isinstance(inner, Masked):
            values = inner.values if rows is None else rows[inner.rows] * inner.values
            return inner.map_weights(lambda _: values if columns is None else values * columns[inner.columns])
        return None

    @property
    def exact(self) -> bool:
        """For a dense or masked matrix as without scales; otherwise where it can be made dense."""
        return self.inner.exact if isinstance(self.inner, Dense | Masked) else super().exact

    def spectrum(self) -> Spectrum:
        """All singular values, of the scaled cells or of the dense matrix.

        Returns:
            The distinct values with their multiplicities.

        Raises:
            ValueError: the inner operator doesn't hold its cells, and the matrix is too large to be made dense.
        """
        absorbed = self.absorbed()
        return super().spectrum() if absorbed is None else absorbed.spectrum()

    @property
    def nnz(self) -> int:
        """That of the inner operator."""
        return self.inner.nnz

    def row_norms(self) -> Tensor:
        """Euclidean norm of every row, shape (rows,), float64.

        Returns:
            The norms, from the first row on.

        Raises:
            ValueError: columns are scaled, and an inner operator that doesn't hold its cells is too large.
        """
        absorbed = self.absorbed()
        if absorbed is not None:
            return absorbed.row_norms()
        if self.columns is not None:
            return super().row_norms()
        norms = self.inner.row_norms()
        return norms if self.rows is None else norms * self.rows.double().abs()

    def map_weights(self, function: Callable[[Tensor], Tensor]) -> Scaled:
        """The same structure with new scales and the inner operator's new weights."""
        rows, columns = (None if scale is None else function(scale) for scale in (self.rows, self.columns))
        return Scaled(self.inner.map_weights(function), rows, columns)

    def _transpose(self) -> Scaled:
        return Scaled(self.inner.T, self.columns, self.rows)
