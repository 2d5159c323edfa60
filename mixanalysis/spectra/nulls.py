"""What noise of a layer's own structure does: the law of its singular values and how far its largest one reaches."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, eigsh

from mixanalysis.operators import BlockDiagonal, Dense, Kronecker, Lift, Masked, Monarch, Operator, Permuted, Scaled
from mixanalysis.spectra import marchenko_pastur, tracy_widom
from mixanalysis.spectra.fit import Fit, fit_values
from mixanalysis.spectra.free_products import Factor, free_edge, free_law
from mixanalysis.spectra.masked_edge import GraphEdge, graph_edge

VarianceSource = Literal["fitted", "measured", "declared"]

SIGN_DRAWS = 32
"""Draws of random signs on which the fluctuations of a mask's largest singular value are measured."""

SIGN_LIMIT = 400_000
"""Masks with more connections are too large for these draws; the width of a dense matrix's fluctuations is taken."""

SMALL = 32
"""Smaller sides up to this are made dense."""

_TW_MEAN, _TW_SD = -1.2065335746, 1.2679830577


@dataclass(frozen=True)
class Null:
    """Noise of a layer's structure; all edges are singular values.

    Attributes:
        name: which law.
        variance: entry variance, NaN where several factors have their own.
        variance_source: how it was found.
        edge: Marchenko-Pastur edge of a dense matrix of this shape and variance; NaN for products.
        bulk_edge: edge of the law of this structure.
        expected: where the largest singular value of noise is expected: the bulk edge, or the heaviest hub beyond it.
        threshold: what noise exceeds with probability `level`; `expected` where no law of the fluctuations is known.
        centre: of s_max^2 in Tracy-Widom units; NaN where unknown.
        scale: of s_max^2; NaN where unknown.
        ks: Kolmogorov-Smirnov distance of the bulk to the law; NaN where it wasn't fitted.
        graph: the mask's rows and columns; None without a mask.
        outliers: singular values that a sequential test calls outliers; None where they are those beyond `threshold`.
        chain: factors of a free product, leftmost first; empty for other laws.
    """

    name: str
    variance: float
    variance_source: str
    edge: float
    bulk_edge: float
    expected: float
    threshold: float
    centre: float = np.nan
    scale: float = np.nan
    ks: float = np.nan
    graph: GraphEdge | None = None
    outliers: int | None = None
    chain: tuple[Factor, ...] = field(default=())

    def z(self, s_max: float) -> float:
        """s_max in Tracy-Widom units."""
        return (s_max**2 - self.centre) / self.scale

    def p_value(self, s_max: float) -> float:
        """Probability that noise reaches s_max; NaN where no law of its fluctuations is known."""
        z = self.z(s_max)
        return float(tracy_widom.sf(z)) if np.isfinite(z) else np.nan


def independent_factor(operator: Operator) -> Operator:
    """The matrix whose entries the null takes as independent: permutations and copies are stripped."""
    while isinstance(operator, Lift | Permuted):
        operator = operator.factor if isinstance(operator, Lift) else operator.inner
    return operator


def independent_parts(operator: Operator) -> list[list[Operator]]:
    """The matrices with independent entries that an operator is made of, leftmost first, in groups that are free.

    One group of one for a shared or masked matrix; the two block-diagonal factors of a Monarch matrix are one group,
    the two factors of a Kronecker product are two, unless one holds nothing but gains.
    """
    factor = independent_factor(operator)
    if isinstance(factor, Monarch):
        second, first = BlockDiagonal(factor.second), BlockDiagonal(factor.first)
        return [[first.T, second.T] if factor.transposed else [second, first]]
    if isinstance(factor, Kronecker) and gains(factor) is None:
        return [[independent_factor(side)] for side in (factor.left, factor.right)]
    return [[factor]]


def free_groups(parts: Sequence[list[list[Operator]]], roles: Sequence[str]) -> list[list[Operator]]:
    """The independent matrices of a product of layers, in groups that mix the same axis; the leftmost layer first.

    Args:
        parts: of each layer, its `independent_parts`.
        roles: what each layer mixes.
    """
    if all(len(sides) == 2 for sides in parts):
        # Kronecker products multiply side by side
        return [[each for sides in parts for each in sides[side]] for side in (0, 1)]
    flat = [(role, each) for role, sides in zip(roles, parts, strict=True) for side in sides for each in side]
    return [[each for _, each in group] for _, group in itertools.groupby(flat, lambda pair: pair[0])]


def gains(operator: Operator) -> Masked | None:
    """The diagonal D of a D kron W, gains of copies of one matrix as a ResMLP's channels have them; None for others."""
    left = operator.left if isinstance(operator, Kronecker) else None
    if not isinstance(left, Masked) or left.shape[0] != left.shape[1] or not torch.equal(left.rows, left.columns):
        return None
    return left


def factor_null(
    factor: Operator,
    values: NDArray[np.float64],
    source: VarianceSource,
    declared: float | None,
    level: float,
) -> Null | None:
    """The null of a matrix; None where all its weights are zero, and for structures whose law isn't known.

    That of blocks on a diagonal, and of a matrix whose scales make its variance uneven, is that of a mask; that of
    D kron W with a diagonal D is W's times the largest gain.

    Args:
        factor: Dense, Masked, Scaled with one of them, BlockDiagonal or D kron W, shape (a, b).
        values: its singular values, descending, structural zeros left out; only for a dense one.
        source: where the entry variance comes from; a masked matrix is never fitted but measured instead.
        declared: the variance of the initialisation.
        level: probability with which noise may exceed the threshold.

    Raises:
        ValueError: the variance shall be declared, but isn't known.
    """
    if (diagonal := gains(factor)) is not None and isinstance(factor, Kronecker):
        return _gained(diagonal, independent_factor(factor.right), source, declared, level)
    factor = _by_cells(factor)
    if not isinstance(factor, Dense | Masked):
        return None
    a, b = factor.shape
    energy = factor.frobenius() ** 2
    # one number has no edge; nor have weights that are all zero, unless there is an initialisation to compare with
    if a == b == 1 or (energy == 0 and (source != "declared" or isinstance(factor, Masked))):
        return None
    if source == "declared" and declared is None:
        msg = "its initialisation isn't known; use another --variance"
        raise ValueError(msg)
    if isinstance(factor, Masked):
        return _masked(factor, declared if source == "declared" and declared else energy / (a * b), source, level)
    rows, columns = (a, b) if source == "declared" else _alive(factor)
    if max(rows, columns) < 2:
        return None
    fitted = _fitted(values, rows, columns, level) if source == "fitted" else None
    if fitted is not None:
        variance, used, ks, outliers = fitted.variance, "fitted", fitted.ks, fitted.n_outliers
    elif source == "declared" and declared is not None:
        variance, used, ks, outliers = declared, "declared", np.nan, None
    else:
        variance, used, ks, outliers = energy / (rows * columns), "measured", np.nan, None
    edge = marchenko_pastur.edge(rows, columns, variance)
    law = tracy_widom.largest(rows, columns, variance)
    threshold = max(edge, float(tracy_widom.upper_quantile(level, rows, columns, variance)))
    name = "Marchenko-Pastur"
    return Null(name, variance, used, edge, edge, edge, threshold, law.mu, law.sigma, ks, outliers=outliers)


def _gained(
    diagonal: Masked, factor: Operator, source: VarianceSource, declared: float | None, level: float
) -> Null | None:
    """Noise in copies of one matrix, each with a gain of its own: the largest gain reaches furthest."""
    values = factor.spectrum().values if isinstance(factor, Dense) else np.empty(0)
    null = factor_null(factor, values, source, declared, level)
    gain = float(diagonal.values.double().abs().max())
    if null is None or gain == 0:
        return None
    return replace(
        null,
        name=f"{null.name}, times the largest gain",
        # each copy has a variance of its own
        variance=np.nan,
        edge=np.nan,
        bulk_edge=gain * null.bulk_edge,
        expected=gain * null.expected,
        threshold=gain * null.threshold,
        centre=gain**2 * null.centre,
        scale=gain**2 * null.scale,
        graph=None,
        outliers=None,
    )


def _by_cells(factor: Operator) -> Operator:
    """Blocks on a diagonal and scaled matrices as masks, with all their cells connections; others as they are."""
    if isinstance(factor, BlockDiagonal):
        blocks = factor.blocks
    elif isinstance(factor, Scaled) and isinstance(cells := factor.absorbed(), Dense):
        blocks = cells.weight[None]
    elif isinstance(factor, Scaled):
        return factor.absorbed() or factor
    else:
        return factor
    count, rows, columns = blocks.shape
    block, row, column = torch.meshgrid(*(torch.arange(size) for size in blocks.shape), indexing="ij")
    places = (block * rows + row).flatten(), (block * columns + column).flatten()
    return Masked(*places, blocks.flatten().cpu(), (count * rows, count * columns))


def entry_variance(factor: Operator, values: NDArray[np.float64], level: float) -> float | None:
    """Entry variance of a dense (fitted), masked or block-diagonal (measured) matrix; None for others, or without one.

    That of a block-diagonal matrix is its blocks' alone; a matrix whose weights are all zero has none.
    """
    energy = factor.frobenius() ** 2
    if energy == 0 or not isinstance(factor, Dense | Masked | BlockDiagonal):
        return None
    if isinstance(factor, BlockDiagonal):
        return energy / factor.nnz
    fitted = None if isinstance(factor, Masked) else _fitted(values, *_alive(factor), level)
    return energy / (factor.shape[0] * factor.shape[1]) if fitted is None else fitted.variance


def _fitted(values: NDArray[np.float64], rows: int, columns: int, level: float) -> Fit | None:
    """The fit, where there is a bulk to fit."""
    count = min(rows, columns)
    if count < 2 or (values[:count] > 1e-6 * values[0]).mean() <= 0.5:
        return None
    return fit_values(values[:count], rows, columns, level)


def _alive(factor: Operator) -> tuple[int, int]:
    """Rows and columns that aren't empty."""
    if isinstance(factor, Dense):
        return int(factor.weight.any(dim=1).sum()), int(factor.weight.any(dim=0).sum())
    return int((factor.row_norms() > 0).sum()), int((factor.column_norms() > 0).sum())


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


def no_null(factor: Operator) -> str:
    """Why a matrix has no null."""
    known = isinstance(factor, Dense | Masked | Scaled | BlockDiagonal) or gains(factor) is not None
    return "none: all weights are zero" if known else f"none: no law is known for a {type(factor).__name__}"


def random_signs(factor: Masked, unit: float = 1.0) -> tuple[float, float]:
    """Centre and scale of s_max^2, in Tracy-Widom units, of a masked matrix with its signs drawn anew.

    Independent entries with symmetric laws have such signs, whatever the mask and the scatter of its rows; sizes and
    places are kept. The draws start from one seed, so that the answer is always the same.

    Args:
        factor: the matrix.
        unit: by which its weights are multiplied first.
    """
    generator = np.random.default_rng(0)
    sizes = unit * factor.values.double().abs().numpy()
    places = (factor.rows.numpy(), factor.columns.numpy())
    squares = np.empty(SIGN_DRAWS)
    for draw in range(SIGN_DRAWS):
        signs = generator.choice((-1.0, 1.0), factor.nnz)
        squares[draw] = largest_square(csr_array((signs * sizes, places), factor.shape), generator)
    # signs that change nothing, as on a diagonal, leave rounding alone
    scale = max(float(squares.std(ddof=1)) / _TW_SD, 1e-6 * float(squares.mean()))
    return float(squares.mean()) - _TW_MEAN * scale, scale


def largest_square(matrix: csr_array, generator: np.random.Generator) -> float:
    """Largest squared singular value to 1e-5, by Lanczos on the smaller Gram matrix, which isn't formed.

    Args:
        matrix: sparse, float64.
        generator: of the start vector.
    """
    if min(matrix.shape) <= SMALL:
        return float(np.linalg.norm(matrix.toarray(), 2)) ** 2
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T.tocsr()
    wide, size = tall.T.tocsr(), tall.shape[1]
    gram = LinearOperator(shape=(size, size), matvec=lambda x: wide @ (tall @ x), dtype=np.float64)
    start = generator.standard_normal(size)
    return float(eigsh(gram, k=1, v0=start, tol=1e-5, return_eigenvectors=False)[0])


def product_null(operator: Operator, chain: Sequence[Sequence[Factor]]) -> Null:
    """The null of a product of layers: a classical product of free ones for a Kronecker product, else a free one.

    Args:
        operator: the product.
        chain: its factors with fitted variances, leftmost first, in groups that mix the same axis.
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
        found: NDArray[np.float64] = np.asarray(marchenko_pastur.density(s, *shape, null.variance))
        return found
    return None
