"""The connections of a structured operator one by one, as a wide sparse matrix would store them."""

from __future__ import annotations

from functools import singledispatch
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from mixanalysis.operators.base import Operator
from mixanalysis.operators.block_diagonal import BlockDiagonal, DirectSum
from mixanalysis.operators.butterfly import Butterfly
from mixanalysis.operators.cropped import Cropped
from mixanalysis.operators.dense import Dense
from mixanalysis.operators.kronecker import Kronecker
from mixanalysis.operators.lift import Lift
from mixanalysis.operators.masked import Masked
from mixanalysis.operators.monarch import Monarch
from mixanalysis.operators.permuted import Permuted, inverse
from mixanalysis.operators.product import Product
from mixanalysis.operators.scaled import Scaled


class Coordinates(NamedTuple):
    """Connections of a matrix: int64 rows and columns and their values, each of shape (nnz,); no cell occurs twice."""

    rows: Tensor
    columns: Tensor
    values: Tensor


@singledispatch
def coordinates(operator: Operator) -> Coordinates:
    """The connections of an operator, in no particular order; as many as its `nnz` says, never a dense matrix.

    A connection is a cell that the structure allows to be non-zero, so that its value may be zero. A chain of factors
    is multiplied out, in float64.

    Raises:
        TypeError: there is no rule for such an operator.
    """
    msg = f"coordinates: no rule for {type(operator).__name__}"
    raise TypeError(msg)


@coordinates.register
def _dense(operator: Dense) -> Coordinates:
    rows, columns = operator.shape
    device = operator.device
    return Coordinates(
        torch.arange(rows, device=device).repeat_interleave(columns),
        torch.arange(columns, device=device).repeat(rows),
        operator.weight.reshape(-1),
    )


@coordinates.register
def _masked(operator: Masked) -> Coordinates:
    return Coordinates(operator.rows, operator.columns, operator.values)


@coordinates.register
def _lift(operator: Lift) -> Coordinates:
    factor, copies = operator.factor, operator.copies
    copy = torch.arange(copies, device=operator.device)
    rows, columns, values = coordinates(factor)
    if operator.identity == "left":
        return Coordinates(
            (copy[:, None] * factor.shape[0] + rows).reshape(-1),
            (copy[:, None] * factor.shape[1] + columns).reshape(-1),
            values.repeat(copies),
        )
    return Coordinates(
        (rows[:, None] * copies + copy).reshape(-1),
        (columns[:, None] * copies + copy).reshape(-1),
        values.repeat_interleave(copies),
    )


@coordinates.register
def _kronecker(operator: Kronecker) -> Coordinates:
    left, right = coordinates(operator.left), coordinates(operator.right)
    height, width = operator.right.shape
    return Coordinates(
        (left.rows[:, None] * height + right.rows).reshape(-1),
        (left.columns[:, None] * width + right.columns).reshape(-1),
        (left.values[:, None] * right.values).reshape(-1),
    )


@coordinates.register
def _permuted(operator: Permuted) -> Coordinates:
    rows, columns, values = coordinates(operator.inner)
    # row i of the product is row rows[i] of A, and column columns[j] is A's column j
    to = inverse(operator.rows)
    return Coordinates(
        rows if to is None else to[rows],
        columns if operator.columns is None else operator.columns[columns],
        values,
    )


@coordinates.register
def _scaled(operator: Scaled) -> Coordinates:
    rows, columns, values = coordinates(operator.inner)
    if operator.rows is not None:
        values = operator.rows[rows] * values
    return Coordinates(rows, columns, values if operator.columns is None else values * operator.columns[columns])


@coordinates.register
def _cropped(operator: Cropped) -> Coordinates:
    rows, columns, values = coordinates(operator.inner)
    kept = (rows < operator.shape[0]) & (columns < operator.shape[1])
    return Coordinates(rows[kept], columns[kept], values[kept])


@coordinates.register
def _block_diagonal(operator: BlockDiagonal) -> Coordinates:
    return coordinates(DirectSum([Dense(block) for block in operator.blocks]))


@coordinates.register
def _direct_sum(operator: DirectSum) -> Coordinates:
    parts, row, column = [], 0, 0
    for block in operator.blocks:
        rows, columns, values = coordinates(block)
        parts.append((rows + row, columns + column, values))
        row, column = row + block.shape[0], column + block.shape[1]
    return Coordinates(*(torch.cat(each) for each in zip(*parts, strict=True)))


@coordinates.register
def _chained(operator: Monarch | Butterfly) -> Coordinates:
    return coordinates(operator.chain)


@coordinates.register
def _product(operator: Product) -> Coordinates:
    factors = [_sparse(factor) for factor in operator.factors]
    paths, matrix = _ones(factors[0]), factors[0]
    for factor in factors[1:]:
        paths, matrix = _ones(paths @ _ones(factor)), matrix @ factor
    paths.sort_indices()
    rows = np.repeat(np.arange(paths.shape[0]), np.diff(paths.indptr))
    columns = paths.indices.astype(np.int64)
    # scipy leaves out sums that happen to be zero: they are connections all the same
    values = np.zeros(len(columns))
    values[np.searchsorted(_cells(paths), _cells(matrix))] = matrix.data
    device = operator.device
    return Coordinates(
        torch.from_numpy(rows).to(device),
        torch.from_numpy(columns).to(device),
        torch.from_numpy(values).to(device, operator.torch_dtype),
    )


def _sparse(operator: Operator) -> csr_array:
    rows, columns, values = (each.detach().cpu() for each in coordinates(operator))
    return csr_array((values.double().numpy(), (rows.numpy(), columns.numpy())), shape=operator.shape)


def _ones(matrix: csr_array) -> csr_array:
    """One on every connection."""
    return csr_array((np.ones(len(matrix.data)), matrix.indices, matrix.indptr), shape=matrix.shape, copy=True)


def _cells(matrix: csr_array) -> NDArray[np.int64]:
    """The number of each connection's cell, counted along the rows, in the order of the connections."""
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    cells: NDArray[np.int64] = rows * matrix.shape[1] + matrix.indices
    return cells
