"""An operator without structure."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mixanalysis.operators.base import Operator, Spectrum, singular_values


class Dense(Operator):
    """A dense matrix: every cell is a connection.

    Args:
        weight: shape (rows, columns), as in `torch.nn.Linear`.

    Raises:
        ValueError: the weight is not a matrix.
    """

    def __init__(self, weight: Tensor) -> None:
        if weight.ndim != 2:
            msg = f"a dense operator needs a matrix, got a tensor of shape {tuple(weight.shape)}"
            raise ValueError(msg)
        super().__init__((weight.shape[0], weight.shape[1]), weight.dtype)
        self.weight = weight

    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""
        return x @ self.weight.mT

    def spectrum(self) -> Spectrum:
        """All min(rows, columns) singular values."""
        values = singular_values(self.weight)
        return Spectrum(values, np.ones(len(values), dtype=np.int64))

    @property
    def nnz(self) -> int:
        """Number of cells."""
        return self.weight.numel()

    def row_norms(self) -> Tensor:
        """Euclidean norm of every row, shape (rows,), float64."""
        norms: Tensor = torch.linalg.vector_norm(self.weight.double(), dim=1)
        return norms

    def _transpose(self) -> Dense:
        return Dense(self.weight.mT)

    def _astype(self, dtype: torch.dtype) -> Dense:
        return Dense(self.weight.to(dtype))
