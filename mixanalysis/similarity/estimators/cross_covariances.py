"""Sums over linear Gram matrices from cross-covariances of features: <K, L> is the squared norm of X'Y."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mixanalysis.similarity.estimators.example_groups import Groups, cut
from mixanalysis.similarity.estimators.gram_sums import GramSums
from mixanalysis.similarity.estimators.layer_grams import BLOCK, LayerGram, blocks_of
from mixanalysis.similarity.estimators.layer_pairs import Blocks

_CELLS = 2**18
"""Cells of a cross-covariance that are held at a time."""


def by_features(layers: Sequence[LayerGram], pairs: Blocks, groups: Groups) -> GramSums:
    """Return sums over linear Gram matrices; <K, L> is the squared norm of X'Y."""
    count, slices = len(layers), groups.slices
    diagonals = torch.stack([layer.squares for layer in layers])
    rows = torch.stack([_row_sums(layer, slices) for layer in layers])
    squares = torch.stack([_square_sums(layer) for layer in layers])
    inner = diagonals.new_zeros(1 + len(slices), count, count)
    wanted = {(a, b) for first, second in pairs for a in _positions(first) for b in _positions(second) if a <= b}
    for a, b in sorted(wanted | {(a, a) for a in range(count)}):
        shared = diagonals[a] * diagonals[b]
        without = shared.sum() - torch.stack([torch.zeros_like(shared[0]), *(shared[part].sum() for part in slices)])
        inner[:, a, b] = inner[:, b, a] = _norms(layers[a], layers[b], slices) - without
    # sums over examples are in the features' own precision
    eps = [torch.finfo(layer.dtype).eps for layer in layers]
    return GramSums(groups, inner, rows, squares, diagonals, torch.tensor(eps).to(diagonals))


def _positions(part: slice) -> range:
    return range(part.start, part.stop)


def _covariances(a: LayerGram, b: LayerGram, columns: slice, slices: Sequence[slice]) -> Tensor:
    """Return X'Y of some of X's columns for each group of examples, float64, shape (groups, columns, d2)."""
    covariances = a.squares.new_zeros(len(slices), columns.stop - columns.start, b.features.shape[1])
    dtype = torch.promote_types(a.dtype, b.dtype)
    for group, part in enumerate(slices):
        for block in cut(part, BLOCK):
            x, y = (each.features[block].to(each.device, dtype) for each in (a, b))
            covariances[group] += x[:, columns].mT @ y
    return covariances


def _columns(a: LayerGram, b: LayerGram) -> list[slice]:
    """Return X's columns, as many at a time as X'Y has room for."""
    return cut(slice(0, a.features.shape[1]), max(1, _CELLS // b.features.shape[1]))


def _norms(a: LayerGram, b: LayerGram, slices: Sequence[slice]) -> Tensor:
    """Return squared norms of X'Y over all examples, and without those of each group, shape (1 + groups,)."""
    norms = a.squares.new_zeros(1 + len(slices))
    for columns in _columns(a, b):
        groups = _covariances(a, b, columns, slices).flatten(1)
        whole = groups.sum(dim=0)
        own = torch.linalg.vector_norm(groups, dim=1).square()
        norms += whole @ whole
        norms[1:] += own - 2 * (groups @ whole)
    return norms


def _row_sums(layer: LayerGram, slices: Sequence[slice]) -> Tensor:
    """Return row sums of the hollow Gram matrix over each group's columns, shape (groups, n)."""
    sums = torch.stack([layer.features[part].sum(dim=0, dtype=torch.float64) for part in slices]).to(layer.device)
    parts = [sums @ layer.features[block].to(layer.device).double().mT for block in blocks_of(layer.features)]
    rows = torch.cat(parts, dim=1)
    for group, part in enumerate(slices):
        rows[group, part] -= layer.squares[part]
    return rows


def _square_sums(layer: LayerGram) -> Tensor:
    """Return row sums of the hollow Gram matrix's squares: x' (X'X) x without the diagonal's."""
    sums = -layer.squares.square()
    for columns in _columns(layer, layer):
        covariance = _covariances(layer, layer, columns, [slice(0, len(layer.features))])[0]
        for block in blocks_of(layer.features):
            part = layer.features[block].to(layer.device).double()
            sums[block] += ((part @ covariance.mT) * part[:, columns]).sum(dim=1)
    return sums
