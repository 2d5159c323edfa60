"""Linear layers that hold the connections of a wide sparse matrix and nothing else."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor, nn

_INDEX_LIMIT = 2**31


class CSRLinear(nn.Module):
    """W x + b for a sparse W of which only the connections are stored, row by row; not meant for training.

    `weight` is the vector of the connections' values; in the state dict it stands as the matrix itself, a CSR tensor.
    The product is torch's CSR product, which needs no memory beyond the connections and is the fastest that was found:
    with 64 images and 5e5 to 2e6 connections it takes 0.7 to 1.1 times as long as scipy's, and about a hundredth of
    gathering and adding. Where torch was built without MKL, scipy's takes its place.

    Args:
        fan_in: inputs.
        fan_out: outputs.
        bias: whether a bias is added.
    """

    columns: Tensor
    starts: Tensor

    def __init__(self, fan_in: int, fan_out: int, *, bias: bool = True) -> None:
        super().__init__()
        hear_the_announcement()
        self.shape = (fan_out, fan_in)
        self.weight = nn.Parameter(torch.zeros(0), requires_grad=False)
        self.register_buffer("columns", torch.zeros(0, dtype=torch.int32), persistent=False)
        self.register_buffer("starts", torch.zeros(fan_out + 1, dtype=torch.int32), persistent=False)
        self.bias = nn.Parameter(torch.zeros(fan_out), requires_grad=False) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, fan_in) to (B, fan_out)."""
        # sparse products know no reduced precision
        dtype = torch.promote_types(x.dtype, torch.float32)
        y = self._product(x.to(dtype), self.weight.to(dtype)).to(x.dtype)
        return y if self.bias is None else y + self.bias

    def _product(self, x: Tensor, values: Tensor) -> Tensor:
        if x.device.type == "cpu" and not torch.backends.mkl.is_available():
            parts = (each.detach().numpy() for each in (values, self.columns, self.starts))
            return torch.from_numpy(csr_array(tuple(parts), shape=self.shape) @ x.detach().mT.numpy()).mT
        return (_csr(self.starts, self.columns, values, self.shape) @ x.mT).mT

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        values = destination[f"{prefix}weight"]
        destination[f"{prefix}weight"] = _csr(self.starts, self.columns, values, self.shape)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        matrix = state_dict.get(f"{prefix}weight")
        if matrix is not None and matrix.layout == torch.sparse_csr and tuple(matrix.shape) == self.shape:
            device = matrix.device if self.weight.is_meta else self.weight.device
            self.columns, self.starts = matrix.col_indices().to(device), matrix.crow_indices().to(device)
            # as many as there are connections, then filled or replaced like any parameter
            self.weight = nn.Parameter(self.weight.new_empty(len(matrix.values())), requires_grad=False)
            state_dict[f"{prefix}weight"] = matrix.values()
        super()._load_from_state_dict(state_dict, prefix, *rest)


def csr_matrix(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """The CSR tensor of connections in any order, no cell occurring twice; values keep their dtype.

    Args:
        rows: int64, shape (nnz,).
        columns: int64, shape (nnz,).
        values: shape (nnz,).
        shape: (rows, columns) of the matrix.

    Returns:
        Indices are int32 where they fit.
    """
    hear_the_announcement()
    index = "int32" if max(len(values), *shape) < _INDEX_LIMIT else "int64"
    places = (rows.numpy().astype(index), columns.numpy().astype(index))
    # scipy sorts in linear time, and what it sorts are the numbers of the connections
    numbers: NDArray[np.int64] = np.arange(len(values))
    compressed = csr_array((numbers, places), shape=shape)
    compressed.sort_indices()  # scipy 1.13 leaves them as they come
    starts, sorted_columns, order = (
        torch.from_numpy(part) for part in (compressed.indptr, compressed.indices, compressed.data)
    )
    return _csr(starts, sorted_columns, values.detach()[order], shape)


def hear_the_announcement() -> None:
    """Torch says once that its CSR layout may still change."""
    index = torch.zeros(2, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        torch.sparse_csr_tensor(index, index[:0], torch.zeros(0), (1, 1), check_invariants=False)


def _csr(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False)
