"""Noise in products of layers: free products, and classical ones for Kronecker products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixanalysis.operators import Kronecker, Operator
from mixanalysis.spectra import marchenko_pastur
from mixanalysis.spectra.free_products import Factor, free_edge, free_law
from mixanalysis.spectra.nulls.null import Null


def product_null(operator: Operator, chain: Sequence[Sequence[Factor]]) -> Null:
    """The null of a product of layers: a classical product of free ones for a Kronecker product, else a free one.

    Args:
        operator: the product.
        chain: its factors with fitted variances, leftmost first, in groups that mix the same axis.

    Returns:
        The null that fits the operator's structure.
    """
    if isinstance(operator, Kronecker):
        edge = float(np.prod([free_edge(group) for group in chain]))
        return Null("classical product (Kronecker)", np.nan, "fitted", np.nan, edge, edge, edge)
    flat = tuple(factor for group in chain for factor in group)
    edge = free_edge(flat)
    return Null("free product", np.nan, "fitted", np.nan, edge, edge, edge, chain=flat)


def density(null: Null, s: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64] | None:
    """Density of the null's singular values for a picture; None where it isn't known."""
    if null.chain:
        law = free_law(null.chain, 400)
        order = np.argsort(law.s)
        return np.interp(s, law.s[order], law.density[order], left=0.0, right=0.0)
    if np.isfinite(null.variance):
        return np.asarray(marchenko_pastur.density(s, *shape, null.variance))
    return None
