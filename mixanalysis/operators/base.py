"""The contract of a structured linear operator, and the spectrum that it answers with."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

DENSE_LIMIT = 2**28
"""Largest number of cells that `dense()` is willing to build (2 GiB in float64)."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular values of an operator of shape a x b: `count` = min(a, b) of them, repeated ones kept once.

    Attributes:
        values: float64, shape (k,), descending; distinct as the structure knows it, not merged by size.
        multiplicity: int64, shape (k,); how often each value occurs.
        zeros: singular values that are zero by structure alone (an empty row, a rank limit of a factor).
        method: how the values were obtained, "exact" here.
    """

    values: NDArray[np.float64]
    multiplicity: NDArray[np.int64]
    zeros: int = 0
    method: str = "exact"

    @property
    def count(self) -> int:
        """Number of singular values with multiplicity, structural zeros included."""
        return int(self.multiplicity.sum()) + self.zeros

    def repeated(self) -> NDArray[np.float64]:
        """All `count` singular values, descending, structural zeros at the end. Meant for small operators."""
        return np.concatenate([np.repeat(self.values, self.multiplicity), np.zeros(self.zeros)])

    def times(self, copies: int) -> Spectrum:
        """The spectrum of `copies` equal diagonal blocks."""
        return Spectrum(self.values, self.multiplicity * copies, self.zeros * copies, self.method)


class Operator(LinearOperator):
    """A linear map R^columns -> R^rows that knows its structure; weights are torch tensors.

    It acts on torch tensors through `apply` (dtype and device kept, any leading batch axes) and, as a scipy
    `LinearOperator`, on numpy arrays through `@`, `matvec` and `matmat`. A subclass is final and writes
    `apply`, `_transpose`, `spectrum`, `nnz`, `row_norms` and `_astype`; the rest follows.

    Args:
        shape: (rows, columns).
        dtype: torch dtype of the weights.
    """

    def __init__(self, shape: tuple[int, int], dtype: torch.dtype) -> None:
        self.torch_dtype = dtype
        # bfloat16 has no numpy name: numpy sees such an operator as float32
        name = str(dtype).removeprefix("torch.")
        super().__init__(np.dtype("float32" if name == "bfloat16" else name), shape)  # type: ignore[call-arg]

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""

    @abstractmethod
    def spectrum(self) -> Spectrum:
        """All singular values, from the structure, computed in float64."""

    @property
    @abstractmethod
    def nnz(self) -> int:
        """Number of connections: cells that the structure allows to be non-zero."""

    @abstractmethod
    def row_norms(self) -> Tensor:
        """Euclidean norm of every row, shape (rows,), float64."""

    @abstractmethod
    def _transpose(self) -> Operator: ...

    @abstractmethod
    def _astype(self, dtype: torch.dtype) -> Operator: ...

    @property
    def T(self) -> Operator:  # type: ignore[override]  # noqa: N802
        """The transposed operator."""
        return self._transpose()

    def to(self, dtype: torch.dtype) -> Operator:
        """The same operator with weights of another dtype (itself when nothing changes)."""
        return self if dtype == self.torch_dtype else self._astype(dtype)

    def column_norms(self) -> Tensor:
        """Euclidean norm of every column, shape (columns,), float64."""
        return self.T.row_norms()

    def frobenius(self) -> float:
        """Frobenius norm."""
        return float(torch.linalg.vector_norm(self.row_norms()))

    @property
    def density(self) -> float:
        """Share of cells that are connections, p."""
        return self.nnz / (self.shape[0] * self.shape[1])

    def dense(self) -> Tensor:
        """The matrix itself, shape (rows, columns). For small sizes.

        Raises:
            ValueError: the matrix would have more than `DENSE_LIMIT` cells.
        """
        rows, columns = self.shape
        if rows * columns > DENSE_LIMIT:
            msg = (
                f"{type(self).__name__} of shape {rows} x {columns} would need {rows * columns * 8 / 2**30:.1f} GiB "
                "as a dense matrix; use apply, spectrum or the norms instead"
            )
            raise ValueError(msg)
        return self.apply(torch.eye(columns, dtype=self.torch_dtype)).mT.contiguous()

    def _adjoint(self) -> Operator:
        return self._transpose()

    def _matmat(self, x: NDArray[np.generic]) -> NDArray[np.generic]:
        columns = torch.from_numpy(np.ascontiguousarray(x.T)).to(self.torch_dtype)
        result = self.apply(columns).mT
        return (result.float() if self.torch_dtype == torch.bfloat16 else result).numpy()

    def _matvec(self, x: NDArray[np.generic]) -> NDArray[np.generic]:
        return self._matmat(x.reshape(-1, 1))[:, 0]


def singular_values(matrix: Tensor) -> NDArray[np.float64]:
    """Singular values of a dense matrix, descending, in float64."""
    values: NDArray[np.float64] = torch.linalg.svdvals(matrix.to("cpu", torch.float64)).numpy()
    return values
