"""Nulls that are drawn: the largest singular value over draws of the same weights without their arrangement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, eigsh

from mixanalysis.spectra import tracy_widom

DRAWS, MANY = 32, 128
"""Draws on which the fluctuations of the largest singular value are measured, and where the matrix is small."""

TAIL = 0.96
"""Share of many draws below the point at which their upper tail is measured."""

SMALL = 256
"""Smaller sides up to this are decomposed at once."""

TW_MEAN, TW_SD = -1.2065335746, 1.2679830577
"""Of the Tracy-Widom law of real matrices (Bornemann 2010)."""

Draw = Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]


def signs(matrix: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """The entries with random signs: sizes and places are kept."""
    return matrix * (2.0 * generator.integers(0, 2, matrix.shape, dtype=np.int8) - 1.0)


def permuted(matrix: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """The entries in random places."""
    return generator.permutation(matrix.ravel()).reshape(matrix.shape)


def dense_fluctuations(matrix: NDArray[np.float64], draw: Draw) -> tuple[float, float]:
    """Centre and scale of s_max^2, in Tracy-Widom units, over draws from one seed.

    Args:
        matrix: shape (a, b).
        draw: how noise of these entries is made.

    Returns:
        Centre and scale of the Tracy-Widom law that the draws follow.
    """
    generator = np.random.default_rng(0)
    return tracy_widom_units(
        [largest_square(draw(matrix, generator), generator) for _ in range(draws_of(matrix.shape))]
    )


def draws_of(shape: tuple[int, ...]) -> int:
    """How many draws a matrix of this shape gets."""
    return MANY if min(shape) <= SMALL else DRAWS


def tracy_widom_units(squares: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Centre and scale of a Tracy-Widom law with the mean and standard deviation of drawn squares."""
    drawn = np.asarray(squares)
    # draws that change nothing, such as signs on a diagonal, leave rounding alone
    scale = max(float(drawn.std(ddof=1)) / TW_SD, 1e-6 * float(drawn.mean()))
    if len(drawn) >= MANY:
        # single large entries make the upper tail longer than Tracy and Widom's
        middle, upper = np.quantile(drawn, (0.5, TAIL))
        scale = max(scale, float(upper - middle) / (tracy_widom.isf(1 - TAIL) - tracy_widom.isf(0.5)))
    return float(drawn.mean()) - TW_MEAN * scale, scale


def largest_square(matrix: NDArray[np.float64], generator: np.random.Generator) -> float:
    """Largest squared singular value, beyond a smaller side of `SMALL` to a tenth of its fluctuations.

    Args:
        matrix: shape (a, b).
        generator: of the start vector of Lanczos iterations.

    Returns:
        The square.
    """
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    size = tall.shape[1]
    if size <= SMALL:
        return float(eigh(tall.T @ tall, eigvals_only=True, subset_by_index=[size - 1, size - 1])[0])
    # entries as float32, which are half as many bytes to read
    single = tall.astype(np.float32)

    def squared(x: Any) -> Any:
        return single.T @ (single @ x.astype(np.float32))

    gram: Any = LinearOperator(shape=(size, size), matvec=squared, dtype=np.float32)
    start: Any = generator.standard_normal(size, dtype=np.float32)
    return float(eigsh(gram, k=1, v0=start, tol=1e-3, return_eigenvectors=False)[0])
