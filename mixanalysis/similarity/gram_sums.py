"""Sums over the Gram matrices of all examples, none of which is ever whole in memory.

Two ways give the same: products of tiles of Gram matrices, n^2 sum(d) / 2 multiplications for layers of sizes d; or
for the linear kernel products of features with features, n sum(d1 d2) over all pairs of layers.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from mixanalysis.similarity.grams import Kernel, median_square, mirror_, squared, squared_distances

GROUPS = 16
"""Examples are left out in this many groups of consecutive ones, for the jackknife."""

_TILE = 128
"""Most rows of a tile."""

_PANEL = 256
"""Most rows of Gram matrices that are made at a time."""

_WIDE = 512
"""Most columns of them."""

_CELLS = 2**18
"""Cells of a cross-covariance that are held at a time."""

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
        return _cut(slice(0, self.examples), self.tile * self.tiles)

    def group(self, tile: slice) -> int:
        """The group that a tile belongs to."""
        return int(tile.start // (self.tile * self.tiles))

    def panels(self) -> list[slice]:
        """Rows whose products are made at a time: a few tiles."""
        return _cut(slice(0, self.examples), self.tile * max(1, _PANEL // self.tile))

    def runs(self, panel: slice) -> list[slice]:
        """Columns left of the square of a panel upon the diagonal, and those of that square."""
        return [*_cut(slice(0, panel.start), self.tile * max(1, _WIDE // self.tile)), panel]

    def tiles_in(self, part: slice) -> list[slice]:
        """The tiles of rows or columns."""
        return _cut(part, self.tile)


def _cut(part: slice, size: int) -> list[slice]:
    return [slice(first, min(first + size, part.stop)) for first in range(part.start, part.stop, size)]


@dataclass(frozen=True, eq=False)
class GramSums:
    """Sums over Gram matrices K~ with zero diagonals, all float64, for `layers` layers, n examples, g groups.

    Attributes:
        groups: of examples.
        inner: shape (1 + g, layers, layers), <K~, L~> over all examples, then without those of each group; zero for
            pairs that weren't asked for.
        rows: shape (layers, g, n), row sums over the columns of each group.
        squares: shape (layers, n), row sums of squares.
        diagonals: shape (layers, n), the diagonals that K~ lacks.
        eps: shape (layers,), relative rounding error of <K, K>.
    """

    groups: Groups
    inner: Tensor
    rows: Tensor
    squares: Tensor
    diagonals: Tensor
    eps: Tensor

    @classmethod
    def zeros(cls, layers: int, groups: Groups, device: torch.device) -> GramSums:
        """Before anything is added."""
        new, count, n = partial(torch.zeros, dtype=torch.float64, device=device), len(groups.slices), groups.examples
        inner, rows = new(1 + count, layers, layers), new(layers, count, n)
        eps = torch.full_like(inner[0, 0], torch.finfo(inner.dtype).eps)
        return cls(groups, inner, rows, new(layers, n), new(layers, n), eps)


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
        parts = [self.features[block].to(self.device) for block in _blocks(self.features)]
        return torch.cat([torch.linalg.vector_norm(part, dim=1, dtype=torch.float64) for part in parts]).square()

    def write(self, tile: Tensor, rows: slice, columns: slice) -> None:
        """Write K[rows, columns], on the diagonal its lower triangle, in at least the features' precision."""
        high = self.features[rows].to(self.device)
        if rows == columns:
            tile.copy_(squared(high))
        elif tile.dtype == high.dtype:
            torch.mm(high, self.features[columns].to(self.device).mT, out=tile)
        else:
            tile.copy_(high @ self.features[columns].to(self.device).mT)
        if self.spread == 0:
            tile.zero_()
        elif self.spread is not None:
            distances = (self.squares[rows, None] + self.squares[None, columns] - 2 * tile.double()).clamp_(min=0)
            tile.copy_(torch.exp_(distances.mul_(-1 / self.spread)))

    def times(self, weights: Tensor) -> Tensor:
        """K w of the linear kernel, for float64 weights of shape (n,)."""
        blocks, dtype = _blocks(self.features), self.features.dtype
        parts = [weights[block].to(dtype) @ self.features[block].to(self.device) for block in blocks]
        whole = torch.stack(parts).sum(dim=0)
        return torch.cat([self.features[block].to(self.device) @ whole for block in blocks]).double()


def by_tiles(layers: Sequence[LayerGram], pairs: Pairs, groups: Groups) -> GramSums:
    """From the tiles of the lower triangle."""
    found = GramSums.zeros(len(layers), groups, layers[0].device)
    touched = torch.zeros_like(found.inner[1:])
    for panel in groups.panels():
        for columns in groups.runs(panel):
            products = _products(layers, panel, columns)
            for high, wide in itertools.product(groups.tiles_in(panel), groups.tiles_in(columns)):
                if wide.start > high.start:
                    continue
                cells = products[:, _within(high, panel), _within(wide, columns)].double()
                inner = _add(found, cells, (high, wide), pairs)
                found.inner[0] += inner
                for group in {groups.group(high), groups.group(wide)}:
                    touched[group] += inner
    torch.sub(found.inner[0], touched, out=found.inner[1:])
    return found


def _within(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)


def _products(layers: Sequence[LayerGram], rows: slice, columns: slice) -> Tensor:
    """K[rows, columns] of all layers, in the widest of their precisions."""
    dtype = functools.reduce(torch.promote_types, [layer.features.dtype for layer in layers])
    shape = (len(layers), rows.stop - rows.start, columns.stop - columns.start)
    products = torch.empty(shape, dtype=dtype, device=layers[0].device)
    for position, layer in enumerate(layers):
        layer.write(products[position], rows, columns)
    return products


def _add(found: GramSums, cells: Tensor, place: tuple[slice, slice], pairs: Pairs) -> Tensor:
    """Add one tile of all layers with its mirror image, and give the inner products, shape (layers, layers).

    Args:
        found: what is added to.
        cells: float64, shape (layers, rows, columns), overwritten; of a tile upon the diagonal its lower triangle.
        place: rows and columns of the tile.
        pairs: which layers are multiplied.
    """
    rows, columns = place
    mirrored = rows != columns
    if not mirrored:
        diagonal = mirror_(cells).diagonal(dim1=1, dim2=2)
        found.diagonals[:, rows] = diagonal
        diagonal.zero_()
    squared = cells.square()
    own = squared.sum(dim=2)
    found.rows[:, found.groups.group(columns), rows] += cells.sum(dim=2)
    found.squares[:, rows] += own
    if mirrored:
        found.rows[:, found.groups.group(rows), columns] += cells.sum(dim=1)
        found.squares[:, columns] += squared.sum(dim=1)
    inner, flat = torch.diag(own.sum(dim=1)), cells.flatten(1)
    for a, b in pairs:
        cross = flat[a] @ flat[b].mT
        if a == b:
            # BLAS may differ in the last digit between (a, b) and (b, a)
            inner[a, b] = (cross + cross.mT) / 2
        else:
            inner[a, b], inner[b, a] = cross, cross.mT
    return inner * 2 if mirrored else inner


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
    # sums over examples are in the features' own precision
    eps = [torch.finfo(layer.features.dtype).eps for layer in layers]
    return GramSums(groups, inner, rows, squares, diagonals, torch.tensor(eps).to(diagonals))


def _span(part: slice) -> range:
    return range(part.start, part.stop)


def _blocks(features: Tensor) -> list[slice]:
    """Examples, some at a time."""
    return _cut(slice(0, len(features)), _BLOCK)


def _covariances(a: LayerGram, b: LayerGram, columns: slice, slices: Sequence[slice]) -> Tensor:
    """X'Y of some of X's columns for each group of examples, float64, shape (groups, columns, d2)."""
    found = a.squares.new_zeros(len(slices), columns.stop - columns.start, b.features.shape[1])
    dtype = torch.promote_types(a.features.dtype, b.features.dtype)
    for group, part in enumerate(slices):
        for block in _cut(part, _BLOCK):
            x, y = (each.features[block].to(each.device, dtype) for each in (a, b))
            found[group] += x[:, columns].mT @ y
    return found


def _columns(a: LayerGram, b: LayerGram) -> list[slice]:
    """X's columns, as many at a time as X'Y has room for."""
    return _cut(slice(0, a.features.shape[1]), max(1, _CELLS // b.features.shape[1]))


def _norms(a: LayerGram, b: LayerGram, slices: Sequence[slice]) -> Tensor:
    """Squared norms of X'Y over all examples, and without those of each group, shape (1 + groups,)."""
    norms = a.squares.new_zeros(1 + len(slices))
    for columns in _columns(a, b):
        groups = _covariances(a, b, columns, slices).flatten(1)
        whole = groups.sum(dim=0)
        own = torch.linalg.vector_norm(groups, dim=1).square()
        norms += whole @ whole
        norms[1:] += own - 2 * (groups @ whole)
    return norms


def _row_sums(layer: LayerGram, slices: Sequence[slice]) -> Tensor:
    """Row sums of the hollow Gram matrix over each group's columns, shape (groups, n)."""
    sums = torch.stack([layer.features[part].sum(dim=0, dtype=torch.float64) for part in slices]).to(layer.device)
    parts = [sums @ layer.features[block].to(layer.device).double().mT for block in _blocks(layer.features)]
    rows = torch.cat(parts, dim=1)
    for group, part in enumerate(slices):
        rows[group, part] -= layer.squares[part]
    return rows


def _square_sums(layer: LayerGram) -> Tensor:
    """Row sums of the hollow Gram matrix's squares: x' (X'X) x without the diagonal's."""
    sums = -layer.squares.square()
    for columns in _columns(layer, layer):
        covariance = _covariances(layer, layer, columns, [slice(0, len(layer.features))])[0]
        for block in _blocks(layer.features):
            part = layer.features[block].to(layer.device).double()
            sums[block] += ((part @ covariance.mT) * part[:, columns]).sum(dim=1)
    return sums
