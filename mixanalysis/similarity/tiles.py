"""Sums over the Gram matrices of all examples, none of which is ever whole in memory.

Two ways give the same: products of tiles of Gram matrices, n^2 sum(d) / 2 multiplications for layers of sizes d; or
for the linear kernel products of features with features, n sum(d1 d2) over all pairs of layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from mixanalysis.similarity.grams import Kernel, median_square, squared_distances

GROUPS = 16
"""Examples are left out in this many groups of consecutive ones, for the jackknife."""

_TILE = 128
"""Most rows of a tile."""

_CELLS = 2**20
"""Cells of the tiles of all layers that are multiplied in float64 at a time."""

_BLOCK = 4096
"""Examples whose features are multiplied in their own precision before they are summed in float64."""

_SUBSET = 2048
"""Examples, evenly spaced, whose median distance is the RBF kernel's."""

Pairs = Sequence[tuple[slice, slice]]
"""Which layers are multiplied with which: some with later ones, or a network's with themselves."""


@dataclass(frozen=True)
class Groups:
    """Groups of consecutive examples, each of whole tiles.

    Attributes:
        examples: n.
        tile: rows of a tile; the last one may have fewer.
        tiles: of a group.
    """

    examples: int
    tile: int
    tiles: int

    @classmethod
    def of(cls, examples: int) -> Groups:
        """At most GROUPS groups."""
        tiles = math.ceil(examples / (GROUPS * _TILE))
        return cls(examples, math.ceil(examples / (GROUPS * tiles)), tiles)

    @property
    def slices(self) -> list[slice]:
        """Examples of each group."""
        return self._cut(self.tile * self.tiles)

    def rows(self) -> list[slice]:
        """Examples of each tile."""
        return self._cut(self.tile)

    def _cut(self, size: int) -> list[slice]:
        return [slice(first, min(first + size, self.examples)) for first in range(0, self.examples, size)]


@dataclass(frozen=True, eq=False)
class GramSums:
    """Sums over Gram matrices K~ with zero diagonals, all float64, for `layers` layers, n examples, g groups.

    Attributes:
        groups: of examples.
        inner: shape (1 + g, layers, layers), <K~, L~> over all examples, then without those of each group; zero for
            pairs that weren't asked for.
        rows: shape (layers, n, g), row sums over the columns of each group.
        squares: shape (layers, n), row sums of squares.
        diagonals: shape (layers, n), the diagonals that K~ lacks.
    """

    groups: Groups
    inner: Tensor
    rows: Tensor
    squares: Tensor
    diagonals: Tensor


@dataclass(frozen=True, eq=False)
class LayerGram:
    """A layer's Gram matrix, tile by tile.

    Attributes:
        features: shape (n, d), centred.
        spread: 2 sigma^2 of the RBF kernel, 0 where the examples don't differ; None for the linear one.
        device: where products are made.
    """

    features: Tensor
    spread: float | None
    device: torch.device

    @classmethod
    def of(cls, features: Tensor, kernel: Kernel, device: torch.device) -> LayerGram:
        """With the bandwidth of the kernel."""
        spread = None
        if kernel.name == "rbf":
            n = len(features)
            count = min(n, _SUBSET)
            subset = features[torch.arange(count, device=features.device) * n // count].to(device)
            spread = 2 * kernel.bandwidth**2 * median_square(squared_distances(subset @ subset.mT))
        return cls(features, spread, device)

    @cached_property
    def squares(self) -> Tensor:
        """Squared norms of the examples, float64, shape (n,)."""
        parts = [self.features[block].to(self.device) for block in self.blocks()]
        return torch.cat([torch.linalg.vector_norm(part, dim=1, dtype=torch.float64) for part in parts]).square()

    def tile(self, rows: slice, columns: slice) -> Tensor:
        """K[rows, columns]."""
        product = self.features[rows].to(self.device) @ self.features[columns].to(self.device).mT
        if self.spread is None:
            return product
        if self.spread == 0:
            return torch.zeros_like(product)
        distances = (self.squares[rows, None] + self.squares[None, columns] - 2 * product.double()).clamp_(min=0)
        kernel = torch.exp_(distances.mul_(-1 / self.spread))
        return kernel.fill_diagonal_(1) if rows == columns else kernel

    def blocks(self) -> Iterator[slice]:
        """Examples, some at a time."""
        return _blocks(slice(0, len(self.features)))

    def times(self, weights: Tensor) -> Tensor:
        """K w of the linear kernel, for float64 weights of shape (n,)."""
        parts = [(block, self.features[block].to(self.device)) for block in self.blocks()]
        whole = torch.stack([weights[block].to(part.dtype) @ part for block, part in parts]).sum(dim=0)
        return torch.cat([part @ whole for _, part in parts]).double()


def by_tiles(layers: Sequence[LayerGram], pairs: Pairs, groups: Groups) -> GramSums:
    """From the tiles of the lower triangle."""
    n, count = groups.examples, len(layers)
    slices, of_tile = groups.slices, torch.arange(len(groups.rows()), device=layers[0].device) // groups.tiles
    new = partial(torch.zeros, dtype=torch.float64, device=layers[0].device)
    touched, total = new(len(slices), count, count), new(count, count)
    rows, squares, diagonals = new(count, n, len(slices)), new(count, n), new(count, n)
    for position, high in enumerate(groups.rows()):
        group = position // groups.tiles
        for wide in _runs(position, count, groups):
            first = wide.start // groups.tile
            diagonal = first == position
            block = _block(layers, high, wide, 1 if diagonal else (wide.stop - wide.start) // groups.tile)
            if diagonal:
                diagonals[:, high] = block.diagonal(dim1=2, dim2=3)[0]
                block.diagonal(dim1=2, dim2=3).zero_()
            columns = of_tile[first : first + len(block)]
            rows[:, high].index_add_(2, columns, block.sum(dim=3).permute(1, 2, 0))
            squared = block.square()
            by_row = squared.sum(dim=3)
            squares[:, high] += by_row.sum(dim=0)
            if not diagonal:
                # the mirrored tiles above the diagonal
                rows[:, wide, group] += block.sum(dim=2).transpose(0, 1).flatten(1)
                squares[:, wide] += squared.sum(dim=2).transpose(0, 1).flatten(1)
            products = _products(block, by_row.sum(dim=2), pairs) * (1 if diagonal else 2)
            both = products.sum(dim=0)
            total += both
            touched[group] += both
            others = columns != group
            touched.index_add_(0, columns[others], products[others])
    inner = torch.cat([total[None], total - touched])
    return GramSums(groups, inner, rows, squares, diagonals)


def _runs(position: int, layers: int, groups: Groups) -> Iterator[slice]:
    """Columns left of the tile on the diagonal, several tiles at a time; then those of that tile."""
    start = position * groups.tile
    step = groups.tile * max(1, _CELLS // (layers * groups.tile**2))
    for first in range(0, start, step):
        yield slice(first, min(first + step, start))
    yield slice(start, min(start + groups.tile, groups.examples))


def _block(layers: Sequence[LayerGram], rows: slice, columns: slice, tiles: int) -> Tensor:
    """Tiles of all layers side by side, float64, shape (tiles, layers, rows, columns of a tile)."""
    height, width = rows.stop - rows.start, (columns.stop - columns.start) // tiles
    block = torch.empty(tiles, len(layers), height, width, dtype=torch.float64, device=layers[0].device)
    for position, layer in enumerate(layers):
        block[:, position] = layer.tile(rows, columns).view(height, tiles, width).transpose(0, 1)
    return block


def _products(block: Tensor, own: Tensor, pairs: Pairs) -> Tensor:
    """Inner products of a block's layers, shape (tiles, layers, layers), and each layer's with itself."""
    flat = block.flatten(2)
    products = torch.diag_embed(own)
    for a, b in pairs:
        cross = torch.bmm(flat[:, a], flat[:, b].mT)
        if a == b:
            # BLAS may differ in the last digit between (a, b) and (b, a)
            products[:, a, b] = (cross + cross.mT) / 2
        else:
            products[:, a, b], products[:, b, a] = cross, cross.mT
    return products


def by_features(layers: Sequence[LayerGram], pairs: Pairs, groups: Groups) -> GramSums:
    """From cross-covariances, for the linear kernel: <K, L> is the squared norm of X'Y."""
    count, slices = len(layers), groups.slices
    diagonals = torch.stack([layer.squares for layer in layers])
    rows = torch.stack([_row_sums(layer, slices) for layer in layers])
    squares = torch.stack([_square_sums(layer) for layer in layers])
    inner = diagonals.new_zeros(1 + len(slices), count, count)
    wanted = {(a, b) for first, second in pairs for a in _span(first) for b in _span(second) if a <= b}
    for a, b in sorted(wanted | {(a, a) for a in range(count)}):
        shared = diagonals[a] * diagonals[b]
        without = shared.sum() - torch.stack([torch.zeros_like(shared[0]), *(shared[part].sum() for part in slices)])
        inner[:, a, b] = inner[:, b, a] = _norms(layers[a], layers[b], slices) - without
    return GramSums(groups, inner, rows, squares, diagonals)


def _span(part: slice) -> range:
    return range(part.start, part.stop)


def _blocks(part: slice) -> Iterator[slice]:
    for first in range(part.start, part.stop, _BLOCK):
        yield slice(first, min(first + _BLOCK, part.stop))


def _covariances(a: LayerGram, b: LayerGram, columns: slice, slices: Sequence[slice]) -> Tensor:
    """X'Y of some of X's columns for each group of examples, float64, shape (groups, columns, d2)."""
    found = a.squares.new_zeros(len(slices), columns.stop - columns.start, b.features.shape[1])
    dtype = torch.promote_types(a.features.dtype, b.features.dtype)
    for group, part in enumerate(slices):
        for block in _blocks(part):
            x, y = (each.features[block].to(each.device, dtype) for each in (a, b))
            found[group] += x[:, columns].mT @ y
    return found


def _columns(a: LayerGram, b: LayerGram) -> Iterator[slice]:
    """X's columns, as many at a time as X'Y has room for."""
    width, step = a.features.shape[1], max(1, _CELLS // b.features.shape[1])
    for first in range(0, width, step):
        yield slice(first, min(first + step, width))


def _norms(a: LayerGram, b: LayerGram, slices: Sequence[slice]) -> Tensor:
    """Squared norms of X'Y over all examples, and without those of each group, shape (1 + groups,)."""
    norms = a.squares.new_zeros(1 + len(slices))
    for columns in _columns(a, b):
        groups = _covariances(a, b, columns, slices)
        whole = groups.sum(dim=0)
        norms[0] += whole.square().sum()
        norms[1:] += (whole - groups).square().sum(dim=(1, 2))
    return norms


def _row_sums(layer: LayerGram, slices: Sequence[slice]) -> Tensor:
    """Row sums of the hollow Gram matrix over each group's columns, shape (n, groups)."""
    sums = torch.stack([layer.features[part].sum(dim=0, dtype=torch.float64) for part in slices]).to(layer.device)
    rows = torch.cat([layer.features[block].to(layer.device).double() @ sums.mT for block in layer.blocks()])
    for group, part in enumerate(slices):
        rows[part, group] -= layer.squares[part]
    return rows


def _square_sums(layer: LayerGram) -> Tensor:
    """Row sums of the hollow Gram matrix's squares: x' (X'X) x without the diagonal's."""
    sums = -layer.squares.square()
    for columns in _columns(layer, layer):
        covariance = _covariances(layer, layer, columns, [slice(0, len(layer.features))])[0]
        for block in layer.blocks():
            part = layer.features[block].to(layer.device).double()
            sums[block] += ((part @ covariance.mT) * part[:, columns]).sum(dim=1)
    return sums
