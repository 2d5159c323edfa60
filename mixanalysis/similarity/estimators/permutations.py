"""HSIC_1 under random pairings of a batch's examples."""

from __future__ import annotations

import numpy as np
import torch

from mixanalysis.errors import UsageError
from mixanalysis.similarity.estimators.batch_sums import Floats
from mixanalysis.similarity.estimators.centring import Centred
from mixanalysis.similarity.estimators.layer_pairs import Blocks


def check_permutations(draws: int, seed: int, covariate: str = "") -> None:
    """Refuse what can't be drawn.

    Raises:
        UsageError: a number is negative, or a covariate is regressed out.
    """
    if draws < 0 or seed < 0:
        raise UsageError(f"permutations and their seed must be numbers from 0, got {draws} and {seed}")
    if draws and covariate:
        raise UsageError(f"permutations can't be combined with regressing the {covariate} out; leave one of them out")


def permuted(centred: Centred, pairs: Blocks, draws: int, seed: int, index: int) -> Floats:
    """HSIC_1 of all pairs of layers, the second one's examples in random order.

    Args:
        centred: of all layers for one batch.
        pairs: which layers are compared: a network's with others', or with themselves.
        draws: how many orders are drawn.
        seed: together with `index` decides the orders, whichever process draws them.
        index: number of the batch in the data.

    Returns:
        Float64, shape (draws, layers, layers), symmetric; 0 for other pairs.
    """
    n, layers = centred.examples, len(centred.matrices)
    generator = np.random.default_rng([seed, index])
    hsic = np.zeros((draws, layers, layers))
    first = min(columns.start for _, columns in pairs)
    for draw in range(draws):
        order = torch.from_numpy(generator.permutation(n)).to(centred.matrices.device)
        moved = torch.zeros_like(centred.matrices)
        moved[first:] = centred.matrices[first:, order][:, :, order]
        for rows, columns in pairs:
            block = (centred.products(rows, columns, moved) / (n * (n - 3))).cpu().numpy()
            if rows == columns:
                # a pair of layers of one network in either order is the same question
                block = np.triu(block) + np.triu(block, 1).T
            hsic[draw, rows, columns] = block
            hsic[draw, columns, rows] = block.T
    return hsic
