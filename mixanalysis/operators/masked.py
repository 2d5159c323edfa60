"""A matrix with a mask: only the cells on the mask's support are connections."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array
from torch import Tensor

from mixanalysis.operators.base import DENSE_LIMIT, EXACT_LIMIT, Operator
from mixanalysis.operators.components import Components
from mixanalysis.operators.quadrature import lanczos_quadrature
from mixanalysis.operators.spectrum import Density, Spectrum
from mixanalysis.operators.svd import singular_values

CORE_LIMIT = 8192
"""Largest smaller side of a connected part of a mask that `spectrum()` makes dense (a minute or two)."""


class Masked(Operator):
    """A sparse matrix M * A whose support is known, not inferred: a connection may hold the value zero.

    Args:
        rows: int64, shape (nnz,); row of each connection.
        columns: int64, shape (nnz,); column of each connection. No cell occurs twice.
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
        super().__init__(shape, values.dtype, values.device)
        self.rows, self.columns, self.values = rows.to(values.device), columns.to(values.device), values
        self._twin: Masked | None = None

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
        flat = x.reshape(-1, self.shape[1]).mT
        product = self._sparse_product(flat) if self._on_scipy(x) else torch.sparse.mm(self._coordinates(), flat)
        return product.mT.reshape(*x.shape[:-1], self.shape[0])

    def _on_scipy(self, x: Tensor) -> bool:
        """Whether scipy's product, some ten times faster than torch's, can stand in."""
        tracked = torch.is_grad_enabled() and (x.requires_grad or self.values.requires_grad)
        plain = self.torch_dtype in (torch.float32, torch.float64) and x.dtype == self.torch_dtype
        return plain and not tracked and x.device == self.device == torch.device("cpu")

    def _sparse_product(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._sparse @ x.detach().numpy())

    def _coordinates(self) -> Tensor:
        indices = torch.stack([self.rows, self.columns])
        return torch.sparse_coo_tensor(indices, self.values, self.shape, check_invariants=False)

    @cached_property
    def _sparse(self) -> csr_array | csc_array:
        """The matrix for scipy, shared with the transposed operator."""
        if self._twin is not None:
            return self._twin._sparse.T
        values = self.values.detach().cpu()
        data = values.numpy() if values.dtype == torch.float64 else values.float().numpy()
        rows, columns = (index.cpu().numpy().astype(np.int32) for index in (self.rows, self.columns))
        return csr_array((data, (rows, columns)), shape=self.shape)

    @cached_property
    def _components(self) -> Components:
        return Components(self._sparse.tocsr())

    def _largest_core(self) -> tuple[int, int]:
        """Smaller side and cells of the largest connected part."""
        rows, columns = self._components.rows, self._components.columns
        return int(np.minimum(rows, columns).max(initial=0)), int((rows * columns).max(initial=0))

    @property
    def exact(self) -> bool:
        """Whether no connected part of the mask is larger than `EXACT_LIMIT`."""
        side, cells = self._largest_core()
        return side <= EXACT_LIMIT and cells <= DENSE_LIMIT

    def spectrum(self) -> Spectrum:
        """Singular values of the connected parts of the mask; what is missing to min(rows, columns) is zero.

        An empty row or column is a part without values, and a part of shape a x b has min(a, b) of them.

        Returns:
            The distinct values with their multiplicities.

        Raises:
            ValueError: a connected part is too large to be made dense.
        """
        side, cells = self._largest_core()
        if side > CORE_LIMIT or cells > DENSE_LIMIT:
            raise self.no_rule()
        blocks = self._components.blocks(self._sparse.tocsr())
        values = [singular_values(torch.from_numpy(block)).reshape(-1) for block in blocks]
        return Spectrum.of(np.concatenate([np.zeros(0), *values]), min(self.shape))

    def _spectral_density(self, probes: int, steps: int, seed: int) -> Density:
        if self.exact:
            return Density.exact(self.spectrum())
        core = self.core()
        zeros = min(self.shape) - min(core.shape)
        return Density(*lanczos_quadrature(core, probes, steps, seed), zeros, min(self.shape), "stochastic")

    def core(self) -> Masked:
        """The rows and columns that hold a connection."""
        used_rows, rows = torch.unique(self.rows, return_inverse=True)
        used_columns, columns = torch.unique(self.columns, return_inverse=True)
        return Masked(rows, columns, self.values, (len(used_rows), len(used_columns)))

    @property
    def nnz(self) -> int:
        """Number of connections, zero-valued ones included."""
        return self.values.numel()

    def row_norms(self) -> Tensor:
        """Euclidean norm of every row, shape (rows,), float64."""
        squares = torch.zeros(self.shape[0], dtype=torch.float64, device=self.device)
        return squares.index_add_(0, self.rows, self.values.double() ** 2).sqrt_()

    def map_weights(self, function: Callable[[Tensor], Tensor]) -> Masked:
        """The same mask with other values."""
        return Masked(self.rows, self.columns, function(self.values), self.shape)

    def _transpose(self) -> Masked:
        transposed = Masked(self.columns, self.rows, self.values, (self.shape[1], self.shape[0]))
        transposed._twin = self
        return transposed

    def _matmat(self, x: NDArray[np.generic]) -> NDArray[np.generic]:
        product: NDArray[np.generic] = self._sparse @ x.astype(self._sparse.dtype, copy=False)
        return product.astype(self.dtype, copy=False)
