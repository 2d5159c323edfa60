"""A sparse matrix as the diagonal blocks that it falls into: the connected components of its connections."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from mixanalysis.operators.spectrum import FloatArray

_BATCH_CELLS = 2**25
"""Cells of dense blocks that are made at once, unless one block has more (256 MiB)."""


class Components:
    """Connected components of the bipartite graph of rows and columns.

    Rows and columns of different components share no cell, so that the matrix is block-diagonal up to the order
    of its rows and columns: its singular values are those of the blocks, and zeros for what is missing.

    Args:
        matrix: the connections, those of value zero included; int32 indices.

    Attributes:
        rows: int64, shape (components,); rows of each.
        columns: int64, shape (components,); columns of each.
    """

    def __init__(self, matrix: csr_array) -> None:
        a, b = matrix.shape
        square = csr_array(
            (
                # where the connections are counts, not what they hold
                matrix.data,
                matrix.indices + np.int32(a),
                np.concatenate([matrix.indptr, np.full(b, matrix.indptr[-1], dtype=matrix.indptr.dtype)]),
            ),
            shape=(a + b, a + b),
        )
        count, labels = connected_components(square, directed=False)
        self._row_label, self._column_label = labels[:a], labels[a:]
        self.rows: NDArray[np.int64] = np.bincount(self._row_label, minlength=count)
        self.columns: NDArray[np.int64] = np.bincount(self._column_label, minlength=count)

    def blocks(self, matrix: csr_array) -> Iterator[FloatArray]:
        """The dense blocks, those of one shape stacked: shapes (some, rows of each, columns of each)."""
        row_of, column_of = _rank_within(self._row_label), _rank_within(self._column_label)
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        label = self._row_label[rows]
        order = np.argsort(label, kind="stable")
        first = np.concatenate([[0], np.cumsum(np.bincount(label, minlength=len(self.rows)))])
        shapes, kind = np.unique(np.stack([self.rows, self.columns], axis=1), axis=0, return_inverse=True)
        for index, (a, b) in enumerate(shapes.tolist()):
            if a == 0 or b == 0:
                continue
            members = np.flatnonzero(kind == index)
            for some in np.array_split(members, -(-len(members) * a * b // _BATCH_CELLS)):
                entries = order[_ranges(first[some], first[some + 1])]
                block = np.repeat(np.arange(len(some)), first[some + 1] - first[some])
                stack = np.zeros((len(some), a, b))
                stack[block, row_of[rows[entries]], column_of[matrix.indices[entries]]] = matrix.data[entries]
                yield stack


def _rank_within(labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """The how-manieth of its label each element is."""
    order = np.argsort(labels, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(labels))])
    rank = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels)) - first[labels[order]]
    return rank


def _ranges(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> NDArray[np.int64]:
    """The integers of [start, stop) for each pair, one after another."""
    lengths = stops - starts
    offsets = np.repeat(starts - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    return offsets + np.arange(int(lengths.sum()))
