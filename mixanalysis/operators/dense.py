"""An operator without structure."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mixanalysis.operators.base import Operator
from mixanalysis.operators.spectrum import Spectrum
from mixanalysis.operators.svd import singular_values


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
        super().__init__((weight.shape[0], weight.shape[1]), weight.dtype, weight.device)
        self.weight = weight

    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""
        return x @ self.weight.mT

    @property
    def exact(self) -> bool:
        """Always: the matrix is there."""
        return True

    def spectrum(self) -> Spectrum:
        """All min(rows, columns) singular values."""
        return Spectrum.of(singular_values(self.weight), min(self.shape))

    @property
    def nnz(self) -> int:
        """Number of cells."""
        return self.weight.numel()

    def row_norms(self) -> Tensor:
        """Euclidean norm of every row, shape (rows,), float64."""
        norms: Tensor = torch.linalg.vector_norm(self.weight.double(), dim=1)
        return norms

    def map_weights(self, function: Callable[[Tensor], Tensor]) -> Dense:
        """The same structure with another matrix."""
        return Dense(function(self.weight))

    def _transpose(self) -> Dense:
        return Dense(self.weight.mT)
