"""HSIC of all pairs of layers in one batch."""

from __future__ import annotations

import numpy as np
import torch

from mixanalysis.similarity.estimators.batch_sums import Floats
from mixanalysis.similarity.estimators.centring import Centred
from mixanalysis.similarity.estimators.hsic import biased
from mixanalysis.similarity.estimators.layer_pairs import LayerPairs


def batch_hsic(centred: Centred, pairs: LayerPairs) -> tuple[Floats, Floats]:
    """HSIC_1 and HSIC_0 of the pairs of layers that are compared.

    Args:
        centred: U-centred Gram matrices of all layers.
        pairs: which layers are compared.

    Returns:
        Two symmetric float64 arrays of shape (layers, layers), with self-terms; 0 for other pairs.
    """
    n, count = centred.examples, pairs.layers
    one, zero = np.zeros((count, count)), np.zeros((count, count))
    for rows, columns in pairs.blocks:
        products = centred.products(rows, columns)
        below = biased(products, centred.diagonals[rows], centred.diagonals[columns])
        _write(one, rows, columns, products / (n * (n - 3)))
        _write(zero, rows, columns, below / (n - 1) ** 2)
    if not pairs.within:
        np.fill_diagonal(one, centred.own_hsic.cpu().numpy())
        np.fill_diagonal(zero, _own_biased(centred).cpu().numpy())
    return one, zero


def _write(array: Floats, rows: slice, columns: slice, terms: torch.Tensor) -> None:
    block = terms.cpu().numpy()
    if rows == columns:
        # BLAS may differ in the last digit between (a, b) and (b, a)
        array[rows, columns] = (block + block.T) / 2
    else:
        array[rows, columns] = block
        array[columns, rows] = block.T


def _own_biased(centred: Centred) -> torch.Tensor:
    """Return HSIC_0 of each layer with itself, shape (layers,)."""
    n, k = centred.examples, centred.diagonals
    own = centred.contributions.sum(dim=1) + k.square().sum(dim=1) * (n / (n - 2))
    own -= k.sum(dim=1).square() / ((n - 1) * (n - 2))
    return own / (n - 1) ** 2
