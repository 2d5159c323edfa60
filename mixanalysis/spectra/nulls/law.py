"""Questions to the noise of a matrix, open by the kind of its operator: a module of this room answers for one law."""

from __future__ import annotations

from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from mixanalysis.operators import Operator
from mixanalysis.spectra.nulls.null import Null, VarianceSource


@singledispatch
def factor_null(
    factor: Operator,
    values: NDArray[np.float64],
    source: VarianceSource,
    declared: float | None,
    level: float,
) -> Null | None:
    """The null of a matrix.

    Args:
        factor: an independent factor, shape (a, b).
        values: its singular values, descending, structural zeros left out; only for a dense one.
        source: where the entry variance comes from; a masked matrix is never fitted but measured instead.
        declared: the variance of the initialisation.
        level: probability with which noise may exceed the threshold.

    Returns:
        The null, or None where all weights are zero, and for structures whose law isn't known.

    Raises:
        ValueError: the variance shall be declared, but isn't known.
    """
    return None


@singledispatch
def entry_variance(
    factor: Operator,
    values: NDArray[np.float64],
    level: float,
) -> float | None:
    """Variance of the entries of one factor of a product.

    Args:
        factor: the matrix.
        values: its singular values, descending; only for a dense one.
        level: of the fit.

    Returns:
        The variance; None for a structure that has no rule, and where all weights are zero.
    """
    return None


@singledispatch
def has_law(factor: Operator) -> bool:
    """Whether a law is known for noise of this structure."""
    return factor_null.dispatch(type(factor)) is not factor_null.dispatch(object)


def no_null(factor: Operator) -> str:
    """Why a matrix has no null, as the table says it."""
    return "none: all weights are zero" if has_law(factor) else f"none: no law is known for a {type(factor).__name__}"


def declared_variance(declared: float | None) -> float:
    """The variance of the initialisation.

    Returns:
        The declared variance.

    Raises:
        ValueError: it isn't known.
    """
    if declared is None:
        msg = "its initialisation isn't known; use another --variance"
        raise ValueError(msg)
    return declared
