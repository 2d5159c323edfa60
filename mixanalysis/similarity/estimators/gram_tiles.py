"""Sums over Gram matrices from tiles of their lower triangles."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from mixanalysis.similarity.estimators.example_groups import Groups
from mixanalysis.similarity.estimators.gram_sums import GramSums
from mixanalysis.similarity.estimators.kernels import mirror_
from mixanalysis.similarity.estimators.layer_grams import LayerGram
from mixanalysis.similarity.estimators.layer_pairs import Blocks


def by_tiles(layers: Sequence[LayerGram], pairs: Blocks, groups: Groups) -> GramSums:
    """Return sums over Gram matrices, from tiles of their lower triangles."""
    sums = GramSums.zeros(len(layers), groups, layers[0].device)
    touched = torch.zeros_like(sums.inner[1:])
    for panel in groups.panels():
        for columns in groups.runs(panel):
            products = _products(layers, panel, columns)
            for high, wide in itertools.product(groups.tiles_in(panel), groups.tiles_in(columns)):
                if wide.start > high.start:
                    continue
                cells = products[:, _within(high, panel), _within(wide, columns)].double()
                inner = _add(sums, cells, (high, wide), pairs)
                sums.inner[0] += inner
                for group in {groups.group(high), groups.group(wide)}:
                    touched[group] += inner
    torch.sub(sums.inner[0], touched, out=sums.inner[1:])
    return sums


def _within(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)


def _products(layers: Sequence[LayerGram], rows: slice, columns: slice) -> Tensor:
    """Return K[rows, columns] of all layers, in the widest of their precisions."""
    dtype = functools.reduce(torch.promote_types, [layer.dtype for layer in layers])
    shape = (len(layers), rows.stop - rows.start, columns.stop - columns.start)
    products = torch.empty(shape, dtype=dtype, device=layers[0].device)
    for position, layer in enumerate(layers):
        layer.write(products[position], rows, columns)
    return products


def _add(sums: GramSums, cells: Tensor, place: tuple[slice, slice], pairs: Blocks) -> Tensor:
    """Add one tile of all layers with its mirror image, and give the inner products, shape (layers, layers).

    Args:
        sums: what is added to.
        cells: float64, shape (layers, rows, columns), overwritten; of a tile upon the diagonal its lower triangle.
        place: rows and columns of the tile.
        pairs: which layers are multiplied.

    Returns:
        The inner products of the tile and its mirror image.
    """
    rows, columns = place
    mirrored = rows != columns
    if not mirrored:
        diagonal = mirror_(cells).diagonal(dim1=1, dim2=2)
        sums.diagonals[:, rows] = diagonal
        diagonal.zero_()
    squared = cells.square()
    own = squared.sum(dim=2)
    sums.rows[:, sums.groups.group(columns), rows] += cells.sum(dim=2)
    sums.squares[:, rows] += own
    if mirrored:
        sums.rows[:, sums.groups.group(rows), columns] += cells.sum(dim=1)
        sums.squares[:, columns] += squared.sum(dim=1)
    inner, flat = torch.diag(own.sum(dim=1)), cells.flatten(1)
    for a, b in pairs:
        cross = flat[a] @ flat[b].mT
        if a == b:
            # BLAS may differ in the last digit between (a, b) and (b, a)
            inner[a, b] = (cross + cross.mT) / 2
        else:
            inner[a, b], inner[b, a] = cross, cross.mT
    return inner * 2 if mirrored else inner
