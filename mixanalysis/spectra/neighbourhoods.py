"""Where a very sparse mask is heaviest: the largest singular value of single neighbourhoods, one by one.

A row's or column's energy alone misses that its neighbours can be heavy too, as where one large entry makes both its
row and its column stand out. In a mask of few entries a row that decides the largest singular value.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import csr_array

CANDIDATES = 12
"""Rows, and columns, whose neighbourhoods are looked at: those with the largest second-order estimate."""

LARGEST = 300
"""Neighbourhoods of more lines than this are left out: with so many neighbours, their scatter averages out."""

CYCLES = 0.1
"""Share of entries that may close a cycle; with more, the entries' signs matter, which aren't known here."""


def neighbourhood_edge(matrix: csr_array) -> float | None:
    """Largest singular value of the neighbourhoods of heavy rows and columns.

    A row's neighbourhood holds all rows that share a column with it, with all their entries. Its largest singular
    value is never above that of the matrix (rows were removed), where the neighbourhood is a tree whatever the signs.

    Args:
        matrix: absolute values of the entries, shape (rows, columns).

    Returns:
        A singular value, or None where every neighbourhood is too large or closes too many cycles.
    """
    transposed = matrix.T.tocsr()
    found = [
        value
        for first, second in ((matrix, transposed), (transposed, matrix))
        for line in _candidates(first, second)
        if (value := _value(first, second, int(line))) is not None
    ]
    return max(found, default=None)


def _candidates(first: csr_array, second: csr_array) -> NDArray[np.intp]:
    """Lines with the largest (A A^T A A^T)_rr / (A A^T)_rr without what goes forth and back."""
    squares, across = first.power(2), second.power(2)
    own = np.asarray(squares.sum(axis=1)).ravel()
    others = np.asarray(across.sum(axis=1)).ravel()
    mixed = squares @ others - np.asarray(squares.power(2).sum(axis=1)).ravel()
    score = own + np.divide(mixed, own, out=np.zeros_like(own), where=own > 0)
    count = min(CANDIDATES, len(score))
    return np.argpartition(-score, count - 1)[:count]


def _value(first: csr_array, second: csr_array, line: int) -> float | None:
    """Largest singular value of the neighbourhood of one line of `first`."""
    across = first.indices[first.indptr[line] : first.indptr[line + 1]]
    lines = np.unique(second[across].indices)
    if len(lines) > LARGEST:
        return None
    block = first[lines]
    nodes = len(lines) + len(np.unique(block.indices))
    if block.nnz - nodes + 1 > CYCLES * block.nnz:
        return None
    gram = (block @ block.T).toarray()
    last = len(lines) - 1
    return math.sqrt(max(float(eigh(gram, eigvals_only=True, subset_by_index=[last, last])[0]), 0.0))
