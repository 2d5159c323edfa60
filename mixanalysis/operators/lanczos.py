"""The largest singular values of an operator that is only applied: implicitly restarted Lanczos on a Gram matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from mixanalysis.operators.spectrum import FloatArray, Top

if TYPE_CHECKING:
    from mixanalysis.operators.base import Operator

_CHECK = 1e-3
"""Relative accuracy with which a missing copy is looked for; one that is found is then computed to full accuracy."""

_BASIS = 40
"""Vectors in the Krylov basis, at least; twice the values sought and 20 more if that is more."""

_ROUNDING = 1e-13
"""Eigenvalues below this share of the largest are rounding."""

_ZERO = 1e-12
"""Singular values below this share of the largest are zero, as far as their vectors go."""


@dataclass(frozen=True, eq=False)
class Search:
    """How the largest singular values are looked for; the arguments of `Operator.top`."""

    tol: float
    vectors: bool
    start: FloatArray | None
    seed: int


def dense_top(operator: Operator, k: int) -> Top:
    """The k largest singular values and their vectors, from a decomposition of the dense matrix."""
    left, values, right = torch.linalg.svd(operator.to(torch.float64).dense().cpu(), full_matrices=False)
    return Top(values[:k].numpy(), np.zeros(k), "exact", left[:, :k].numpy(), right[:k].mT.numpy())


def lanczos_top(operator: Operator, k: int, search: Search) -> Top:
    """The k largest singular values from the smaller Gram matrix, which isn't formed (Lehoucq & Sorensen 1996).

    A Krylov space holds one copy of a multiple eigenvalue, and rounding brings in some of the others. So what was
    found is projected out, and the largest eigenvalue of the rest, from a random vector, has to lie below it;
    copies that were missed are taken in until it does.

    Returns:
        The values in descending order, with vectors where the search asks for them.
    """
    operator = operator.to(torch.float64)
    rows, columns = operator.shape
    if rows < columns:
        # the smaller Gram matrix is that of the transposed operator
        start = None if search.start is None else operator @ search.start
        top = lanczos_top(operator.T, k, replace(search, start=start))
        return replace(top, left=top.right, right=top.left)
    if max(_BASIS, 2 * k + 20) >= columns:
        top = dense_top(operator, k)
        return top if search.vectors else replace(top, left=None, right=None)
    transposed = operator.T
    generator = np.random.default_rng(search.seed)
    gram = LinearOperator(
        shape=(columns, columns),
        dtype=np.float64,
        matvec=lambda x: transposed.matvec(operator.matvec(x)),
    )
    right = _with_missing_copies(gram, k, search, generator)
    images = operator @ right
    values = np.linalg.norm(images, axis=0)
    order = np.argsort(-values, kind="stable")
    return _with_residuals(operator, values[order], images[:, order], right[:, order], search, generator)


def _largest(
    gram: LinearOperator, k: int, search: Search, generator: np.random.Generator, rounding: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """The k largest eigenvalues, descending, and their vectors; zeros for an operator that is zero up to rounding."""
    n = gram.shape[0]
    v0 = generator.standard_normal(n)
    if search.start is not None:
        # one percent of noise, so that nothing is out of reach, whatever the start
        start = search.start.reshape(n, -1).sum(axis=1)
        v0 += 100 * np.sqrt(n) / (np.linalg.norm(start) or 1.0) * start
    if np.linalg.norm(gram.matvec(v0)) <= rounding * np.linalg.norm(v0):
        vectors, _ = np.linalg.qr(generator.standard_normal((n, k)))
        return np.zeros(k), vectors
    squares, vectors = eigsh(gram, k=k, which="LA", tol=search.tol, ncv=max(_BASIS, 2 * k + 20), v0=v0)
    return squares[::-1], vectors[:, ::-1]


def _with_missing_copies(
    gram: LinearOperator,
    k: int,
    search: Search,
    generator: np.random.Generator,
) -> FloatArray:
    """Vectors of the k largest eigenvalues, multiple ones in full number."""
    squares, vectors = _largest(gram, k, search, generator)
    rounding = _ROUNDING * squares[0]
    for _ in range(k):
        rest = _without(gram, vectors)
        largest, vector = _largest(rest, 1, Search(_CHECK, False, None, 0), generator, rounding)
        if largest[0] <= squares[k - 1] * (1 + search.tol) + rounding:
            break
        largest, vector = _largest(rest, 1, replace(search, start=vector), generator, rounding)
        squares = np.append(squares, largest)
        order = np.argsort(-squares, kind="stable")
        squares, vectors = squares[order], np.hstack([vectors, vector])[:, order]
    return vectors[:, :k]


def _without(gram: LinearOperator, vectors: FloatArray) -> LinearOperator:
    def project(x: FloatArray) -> FloatArray:
        rest: FloatArray = x - vectors @ (vectors.T @ x)
        return rest

    return LinearOperator(
        shape=gram.shape,
        dtype=np.float64,
        matvec=lambda x: project(gram.matvec(project(x))),
    )


def _with_residuals(
    operator: Operator,
    values: FloatArray,
    images: FloatArray,
    right: FloatArray,
    search: Search,
    generator: np.random.Generator,
) -> Top:
    """From right singular vectors and their images A v = s u, in descending order of s."""
    rank = int((values > _ZERO * values[0]).sum()) if values[0] > 0 else 0
    left = images[:, :rank] / values[:rank]
    back = np.linalg.norm(operator.T @ left - right[:, :rank] * values[:rank], axis=0)
    # a value of zero leaves its left vector free, and its image is the residual
    residuals = np.concatenate([back, values[rank:]]) / (values[0] or 1.0)
    if not search.vectors:
        return Top(values, residuals, "Lanczos")
    left = complete(left, len(values) - rank, generator)
    return Top(values, residuals, "Lanczos", left, right)


def complete(vectors: FloatArray, more: int, generator: np.random.Generator) -> FloatArray:
    """Orthonormal columns with `more` random ones beside them, orthonormal too."""
    if not more:
        return vectors
    rest = generator.standard_normal((len(vectors), more))
    for _ in range(2):
        rest -= vectors @ (vectors.T @ rest)
        rest, _ = np.linalg.qr(rest)
    return np.hstack([vectors, rest])
