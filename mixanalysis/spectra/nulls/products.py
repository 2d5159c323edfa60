"""Noise in products of layers: free products, and classical ones for Kronecker products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from mixanalysis.operators import Kronecker, Operator
from mixanalysis.spectra import marchenko_pastur, tracy_widom
from mixanalysis.spectra.free_products import Factor, free_edge, free_law
from mixanalysis.spectra.nulls.draws import SMALL, draws_of, largest_square, tracy_widom_units
from mixanalysis.spectra.nulls.null import Null

DRAWN_SIDE = 16_384
"""Products with a larger side are not drawn, and nothing is counted in them: their law's edge alone is told."""

_TOLERANCE = 1e-4


def product_null(operator: Operator, chain: Sequence[Sequence[Factor]], level: float = 0.01) -> Null:
    """The null of a product of layers: a classical product of free ones for a Kronecker product, else a free one.

    Args:
        operator: the product.
        chain: its factors with fitted variances, leftmost first, in groups that mix the same axis.
        level: probability with which noise may exceed the threshold.

    Returns:
        The edge of the law, and where the product is small enough p-values from draws: all weights keep their sizes and
        places, and their signs are random.
    """
    if isinstance(operator, Kronecker):
        edge = float(np.prod([free_edge(group) for group in chain]))
        return _drawn(
            Null("classical product (Kronecker)", np.nan, "fitted", np.nan, edge, edge, edge), operator, level
        )
    flat = tuple(factor for group in chain for factor in group)
    edge = free_edge(flat)
    return _drawn(Null("free product", np.nan, "fitted", np.nan, edge, edge, edge, chain=flat), operator, level)


def _drawn(null: Null, operator: Operator, level: float) -> Null:
    """The null with centre, scale and threshold from draws; without any of them for a large product."""
    if max(operator.shape) > DRAWN_SIDE:
        return replace(null, threshold=np.nan, outliers=0)
    generator = np.random.default_rng(0)
    whole = operator.to(torch.float64)

    def signs(weight: Tensor) -> Tensor:
        drawn = generator.integers(0, 2, tuple(weight.shape), dtype=np.int8)
        return weight * torch.from_numpy(2.0 * drawn - 1.0).to(weight.device)

    count = draws_of(operator.shape)
    squares = [_largest_square(whole.map_weights(signs), generator) for _ in range(count)]
    centre, scale = tracy_widom_units(squares)
    threshold = float(np.sqrt(max(centre + scale * float(tracy_widom.isf(level)), 0.0)))
    return replace(null, threshold=threshold, centre=centre, scale=scale)


def _largest_square(operator: Operator, generator: np.random.Generator) -> float:
    if isinstance(operator, Kronecker):
        return float(operator.top(1).values[0]) ** 2
    if min(operator.shape) <= SMALL:
        return largest_square(operator.dense().cpu().numpy(), generator)
    turned = operator.T

    def squared(x: Any) -> Any:
        return turned.matvec(operator.matvec(x))

    gram = LinearOperator(shape=(operator.shape[1],) * 2, dtype=np.float64, matvec=squared)
    start = generator.standard_normal(operator.shape[1])
    return float(eigsh(gram, k=1, v0=start, tol=_TOLERANCE, return_eigenvectors=False)[0])


def density(null: Null, s: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64] | None:
    """Density of the null's singular values for a picture; None where it isn't known."""
    if null.chain:
        law = free_law(null.chain, 400)
        order = np.argsort(law.s)
        return np.interp(s, law.s[order], law.density[order], left=0.0, right=0.0)
    if np.isfinite(null.variance):
        return np.asarray(marchenko_pastur.density(s, *shape, null.variance))
    return None
