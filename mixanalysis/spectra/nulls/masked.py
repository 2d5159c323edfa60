"""Noise on a mask, in blocks or with uneven scales: the edge of its graph, and the hubs beyond it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixanalysis.operators import BlockDiagonal, Dense, Masked, Scaled
from mixanalysis.spectra import marchenko_pastur, tracy_widom
from mixanalysis.spectra.masked_edge import graph_edge
from mixanalysis.spectra.nulls.law import declared_variance, entry_variance, factor_null
from mixanalysis.spectra.nulls.null import Null, VarianceSource
from mixanalysis.spectra.nulls.signs import random_signs

SIGN_LIMIT = 400_000
"""Masks with more connections are too large for draws of signs; the width of a dense matrix's fluctuations is taken."""


@factor_null.register
def masked_null(
    factor: Masked, _values: NDArray[np.float64], source: VarianceSource, declared: float | None, level: float
) -> Null | None:
    """Independent entries of one variance on the support of a mask; see `factor_null`."""
    a, b = factor.shape
    energy = factor.frobenius() ** 2
    # one number has no edge
    if a == b == 1 or energy == 0:
        return None
    initial = declared_variance(declared) if source == "declared" else 0.0
    return _masked(factor, initial or energy / (a * b), source, level)


@factor_null.register
def _(
    factor: BlockDiagonal, values: NDArray[np.float64], source: VarianceSource, declared: float | None, level: float
) -> Null | None:
    return masked_null(_cells(factor.blocks), values, source, declared, level)


@factor_null.register
def _(
    factor: Scaled, values: NDArray[np.float64], source: VarianceSource, declared: float | None, level: float
) -> Null | None:
    # scales make the variance uneven, and the cells are weighed one by one as on a mask
    cells = factor.absorbed()
    if isinstance(cells, Dense):
        cells = Masked.from_dense(cells.weight.cpu(), torch.ones(cells.shape))
    return None if cells is None else factor_null(cells, values, source, declared, level)


@entry_variance.register
def _(factor: Masked, _values: NDArray[np.float64], _level: float) -> float | None:
    return factor.frobenius() ** 2 / (factor.shape[0] * factor.shape[1]) or None


@entry_variance.register
def _(factor: BlockDiagonal, _values: NDArray[np.float64], _level: float) -> float | None:
    # that of the blocks alone
    return factor.frobenius() ** 2 / factor.nnz or None


def _cells(blocks: Tensor) -> Masked:
    """Blocks on a diagonal as a mask, with all their cells connections.

    Args:
        blocks: shape (blocks, rows, columns).

    Returns:
        The mask, of shape (blocks rows, blocks columns).
    """
    count, rows, columns = blocks.shape
    block, row, column = torch.meshgrid(*(torch.arange(size) for size in blocks.shape), indexing="ij")
    places = (block * rows + row).flatten(), (block * columns + column).flatten()
    return Masked(*places, blocks.flatten().cpu(), (count * rows, count * columns))


def _masked(factor: Masked, variance: float, source: VarianceSource, level: float) -> Null:
    a, b = factor.shape
    squares = factor.values.double().square().numpy()
    # the mask's own energies, at the variance of the null
    unit = np.sqrt(variance * a * b / squares.sum())
    graph = graph_edge(factor.rows.numpy(), factor.columns.numpy(), squares, factor.shape)
    edge = marchenko_pastur.edge(a, b, variance)
    bulk, expected = unit * graph.bulk_edge, unit * graph.predicted
    if factor.nnz <= SIGN_LIMIT:
        centre, scale = random_signs(factor, unit)
        name = "mask: graph edge and hubs, p-value from random signs"
    else:
        dense = tracy_widom.largest(a, b, variance)
        centre, scale = dense.mu + expected**2 - edge**2, dense.sigma
        name = "mask: graph edge and hubs"
    threshold = max(expected, float(np.sqrt(max(centre + scale * float(tracy_widom.isf(level)), 0.0))))
    used = "declared" if source == "declared" else "measured"
    return Null(name, variance, used, edge, bulk, expected, threshold, centre, scale, graph=graph)
