"""Random signs: a p-value for independent entries of any sizes, whatever the mask."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, eigsh

from mixanalysis.operators import Masked
from mixanalysis.spectra.nulls.draws import tracy_widom_units

SIGN_DRAWS = 32
"""Draws of random signs on which the fluctuations of a mask's largest singular value are measured."""

SMALL = 32
"""Smaller sides up to this are made dense."""


def random_signs(factor: Masked, unit: float = 1.0) -> tuple[float, float]:
    """Centre and scale of s_max^2, in Tracy-Widom units, of a masked matrix with its signs drawn anew.

    Independent entries with symmetric laws have such signs, whatever the mask and the scatter of its rows; sizes and
    places are kept. The draws start from one seed, so that the answer is always the same.

    Args:
        factor: the matrix.
        unit: by which its weights are multiplied first.

    Returns:
        Centre and scale.
    """
    generator = np.random.default_rng(0)
    sizes = unit * factor.values.double().abs().numpy()
    places = (factor.rows.numpy(), factor.columns.numpy())
    squares = np.empty(SIGN_DRAWS)
    for draw in range(SIGN_DRAWS):
        signs = generator.choice((-1.0, 1.0), factor.nnz)
        squares[draw] = largest_square(csr_array((signs * sizes, places), factor.shape), generator)
    return tracy_widom_units(squares)


def largest_square(matrix: csr_array, generator: np.random.Generator) -> float:
    """Largest squared singular value to 1e-5, by Lanczos on the smaller Gram matrix, which isn't formed.

    Args:
        matrix: sparse, float64.
        generator: of the start vector.

    Returns:
        The squared value.
    """
    if min(matrix.shape) <= SMALL:
        return float(np.linalg.norm(matrix.toarray(), 2)) ** 2
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T.tocsr()
    wide, size = tall.T.tocsr(), tall.shape[1]
    gram = LinearOperator(shape=(size, size), matvec=lambda x: wide @ (tall @ x), dtype=np.float64)
    start = generator.standard_normal(size)
    return float(eigsh(gram, k=1, v0=start, tol=1e-5, return_eigenvectors=False)[0])
