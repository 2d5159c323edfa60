"""Edges of masked matrices against exact small cases, the dense limit and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, eigsh, svds

from mixanalysis.spectra import marchenko_pastur as mp
from mixanalysis.spectra import tracy_widom
from mixanalysis.spectra.masked_edge import graph_edge, sparse_edge

ONE = np.array([0])


def graph_edge_of(matrix):
    """The graph edge of a dense array."""
    rows, columns = np.nonzero(matrix)
    return graph_edge(rows, columns, matrix[rows, columns] ** 2, matrix.shape)


def cavity_moments(w, axis):
    """Mean and variance, weighted by w, of the sums of w along an axis without the entry itself."""
    cavity = w.sum(axis=axis, keepdims=True) - w
    mean = (w * cavity).sum() / w.sum()
    return mean, (w * (cavity - mean) ** 2).sum() / w.sum()


def bernoulli_gaussian(a, b, p, seed):
    """COO rows, columns and values of variance 1 / (b p) on an independent mask of density p."""
    rng = np.random.default_rng(seed)
    count = rng.binomial(a * b, p)
    cells = np.unique(rng.integers(0, a * b, int(count * (1.1 + p))))
    cells = rng.permutation(cells)[:count]
    return cells // b, cells % b, rng.normal(0, math.sqrt(1 / (b * p)), len(cells))


def largest_singular_value(rows, columns, values, shape):
    matrix = csr_array((values, (rows, columns)), shape=shape)
    gram = LinearOperator((shape[1], shape[1]), matvec=lambda x: matrix.T @ (matrix @ x), dtype=np.float64)
    start = np.random.default_rng(0).normal(size=shape[1])
    return math.sqrt(eigsh(gram, k=1, tol=1e-5, ncv=40, v0=start, return_eigenvectors=False)[0])


class TestSparseEdge:
    def test_is_the_dense_edge_for_a_dense_gaussian(self):
        assert sparse_edge(2, 512, 1.0) == pytest.approx(mp.c_gamma(2), rel=1e-15)

    def test_is_the_corrected_formula(self):
        gamma, m, p = 2.0, 1024, 1 / 16
        square = mp.c_gamma(gamma) ** 2 * (1 + 3 * (1 - p) / (math.sqrt(gamma) * p * m))
        assert sparse_edge(gamma, m, p) == pytest.approx(math.sqrt(square), rel=1e-14)

    def test_does_not_change_by_transposition(self):
        # m x (m / gamma) with variance 1 / m, against its transpose with expansion 1 / gamma and variance gamma / m
        gamma, m, p = 4.0, 800, 0.05
        assert sparse_edge(gamma, m, p) == pytest.approx(sparse_edge(1 / gamma, gamma * m, p) * math.sqrt(gamma))

    @pytest.mark.parametrize("kurtosis", [1.0, 1.8, 3.0])
    def test_agrees_with_simulation_to_first_order(self, kurtosis):
        a, b, p = 800, 400, 0.1
        draw = {
            1.0: lambda rng, n: rng.choice([-1.0, 1.0], n),
            1.8: lambda rng, n: rng.uniform(-math.sqrt(3), math.sqrt(3), n),
            3.0: lambda rng, n: rng.normal(size=n),
        }[kurtosis]
        rng = np.random.default_rng(3)
        squares = []
        for _ in range(20):
            matrix = (rng.random((a, b)) < p) * draw(rng, (a, b)) / math.sqrt(b * p)
            squares.append(np.linalg.eigvalsh(matrix.T @ matrix)[-1])
        # finite size lowers the mean by 1.2 Tracy-Widom units; the correction is 1.2%, 2.7% and 4.8% of the square,
        # the same again if it were a factor gamma larger; three standard errors are 0.8%
        noise = tracy_widom.largest(a, b, 1 / b)
        shrink = (noise.mu - 1.2065 * noise.sigma) / mp.edge(a, b, 1 / b) ** 2
        assert np.mean(squares) == pytest.approx(shrink * sparse_edge(2, b, p, kurtosis) ** 2, rel=0.008)

    def test_larger_kurtosis_and_sparser_mask_raise_the_edge(self):
        assert sparse_edge(2, 512, 0.1, 1.0) < sparse_edge(2, 512, 0.1, 1.8) < sparse_edge(2, 512, 0.1)
        assert sparse_edge(2, 512, 0.1) < sparse_edge(2, 512, 0.05)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((0.0, 8, 0.5), r"gamma must be positive and finite, got 0.0; it is rows over columns"),
            ((2.0, 0, 0.5), r"m must be at least 1 and finite, got 0; it is the number of columns"),
            ((2.0, math.nan, 0.5), r"m must be at least 1 and finite, got nan; it is"),
            ((2.0, 8, 0.0), r"p must be in \(0, 1\], got 0.0; it is non-zeros over cells"),
            ((2.0, 8, 1.1), r"p must be in \(0, 1\], got 1.1; it is"),
            ((2.0, 8, 0.5, 0.5), r"kurtosis must be at least 1, got 0.5; a Gaussian has 3, not 0"),
            ((1.0, 2, 1.0, 1.0), r"m must be large enough .*, got m = 2 at gamma = 1.0 .*; use the uncorrected edge"),
        ],
    )
    def test_refuses(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            sparse_edge(*arguments)


class TestGraphEdgeExactly:
    def test_single_entry(self):
        edge = graph_edge(np.array([2]), np.array([1]), np.array([9.0]), (4, 3))
        assert edge.predicted == pytest.approx(3)
        assert (edge.row.index, edge.row.degree, edge.column.index, edge.column.degree) == (2, 1, 1, 1)
        assert (edge.mean_row_degree, edge.mean_column_degree) == (1 / 4, 1 / 3)

    @pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
    def test_single_line_of_equal_entries(self, shape):
        edge = graph_edge_of(np.full(shape, 2.0))
        assert edge.predicted == pytest.approx(2 * math.sqrt(5))

    def test_permutation_matrix(self):
        assert graph_edge_of(np.eye(7)[np.random.default_rng(0).permutation(7)]).predicted == pytest.approx(1)

    def test_regular_mask_of_equal_squares(self):
        # k and l equal entries in every row and column: sqrt(k - 1) + sqrt(l - 1), the edge of the biregular tree
        n, degree = 60, 5
        shifts = sum(np.roll(np.eye(n), shift, axis=1) for shift in range(degree))
        edge = graph_edge_of(np.vstack([shifts, shifts]))
        assert edge.bulk_edge == pytest.approx(math.sqrt(degree - 1) + math.sqrt(2 * degree - 1), rel=1e-12)
        assert edge.row.singular_value is None
        assert edge.column.singular_value is None
        assert edge.predicted == edge.bulk_edge

    def test_hub_row_of_a_dense_matrix(self):
        # a row of squared norm alpha leaves the bulk iff alpha > 1 + sqrt(gamma), at alpha (1 + gamma / (alpha - 1))
        gamma, b, alpha = 2, 800, 6.0
        matrix = np.full((gamma * b, b), math.sqrt(1 / b))
        matrix[17] *= math.sqrt(alpha)
        edge = graph_edge_of(matrix)
        assert edge.row.index == 17
        assert edge.row.norm == pytest.approx(math.sqrt(alpha))
        assert edge.row.singular_value == pytest.approx(math.sqrt(alpha * (1 + gamma / (alpha - 1))), rel=5e-3)
        assert edge.predicted == edge.row.singular_value
        assert edge.column.singular_value is None

    def test_hub_column_of_a_dense_matrix(self):
        # a column of squared norm beta leaves the bulk iff beta > gamma + sqrt(gamma), at beta (1 + 1 / (beta - gamma))
        gamma, b, beta = 2, 800, 8.0
        matrix = np.full((gamma * b, b), math.sqrt(1 / b))
        matrix[:, 5] *= math.sqrt(beta / gamma)
        edge = graph_edge_of(matrix)
        assert (edge.column.index, edge.column.degree) == (5, gamma * b)
        assert edge.column.singular_value == pytest.approx(math.sqrt(beta * (1 + 1 / (beta - gamma))), rel=5e-3)
        assert edge.row.singular_value is None

    @pytest.mark.parametrize(("alpha", "leaves"), [(2.0, False), (2.33, False), (2.5, True), (3.0, True)])
    def test_row_leaves_the_bulk_at_its_threshold(self, alpha, leaves):
        # 1 + sqrt(2) = 2.414
        matrix = np.full((1600, 800), math.sqrt(1 / 800))
        matrix[3] *= math.sqrt(alpha)
        assert (graph_edge_of(matrix).row.singular_value is not None) == leaves

    @pytest.mark.parametrize("axis", [1, 0])
    def test_hubs_of_a_sparse_matrix_from_the_definition(self, axis):
        rng = np.random.default_rng(8)
        matrix = rng.normal(size=(400, 300)) * (rng.random((400, 300)) < 0.01)
        w = matrix**2
        energy = w.sum(axis=axis).max()
        (mean, variance), (other_mean, other_variance) = (cavity_moments(w, side) for side in (axis, 1 - axis))
        t = np.roots([variance, mean - energy, 1]).min()
        expected = math.sqrt(energy * (1 + other_mean * t + other_variance * t**2))
        edge = graph_edge_of(matrix)
        hub = edge.row if axis == 1 else edge.column
        assert hub.index == np.argmax(w.sum(axis=axis))
        assert hub.degree == np.count_nonzero(np.take(w, hub.index, axis=1 - axis))
        assert hub.singular_value == pytest.approx(expected, rel=1e-10)

    def test_transposition_swaps_rows_and_columns(self):
        rows, columns, values = bernoulli_gaussian(300, 200, 0.02, seed=1)
        edge = graph_edge(rows, columns, values**2, (300, 200))
        other = graph_edge(columns, rows, values**2, (200, 300))
        assert (edge.row, edge.column) == (other.column, other.row)
        assert edge.bulk_edge == pytest.approx(other.bulk_edge, rel=1e-12)

    def test_scale_and_empty_lines(self):
        rows, columns, values = bernoulli_gaussian(300, 200, 0.02, seed=2)
        edge = graph_edge(rows, columns, values**2, (300, 200))
        moved = graph_edge(2 * rows, 3 * columns, 1e-40 * values**2, (600, 600))
        assert moved.predicted == pytest.approx(1e-20 * edge.predicted, rel=1e-12)
        assert moved.row.index == 2 * edge.row.index
        assert moved.mean_row_degree == edge.mean_row_degree / 2

    def test_zeros_do_not_count(self):
        rows, columns, squares = np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([1.0, 0.0, 4.0])
        edge = graph_edge(rows, columns, squares, (2, 2))
        assert edge.mean_row_degree == 1
        assert edge.predicted == pytest.approx(2)

    def test_minimum_over_t(self):
        rng = np.random.default_rng(5)
        matrix = rng.normal(size=(40, 30)) * (rng.random((40, 30)) < 0.2)
        sides = [cavity_moments(matrix**2, axis) for axis in (1, 0)]
        t = np.geomspace(1e-3, 1e2, 200_001)
        values = np.prod([1 + mean * t + variance * t**2 for mean, variance in sides], axis=0) / t
        assert graph_edge_of(matrix).bulk_edge == pytest.approx(math.sqrt(values.min()), rel=1e-8)


class TestGraphEdgeAgainstSimulation:
    def test_dense_limit_is_marchenko_pastur(self):
        matrix = np.random.default_rng(0).normal(0, math.sqrt(1 / 500), (1000, 500))
        assert graph_edge_of(matrix).predicted == pytest.approx(mp.edge(1000, 500, 1 / 500), rel=2e-3)

    @pytest.mark.parametrize(("m", "tolerance"), [(1024, 0.01), (8192, 0.025), (32768, 0.025), (131072, 0.04)])
    def test_fixed_connections(self, m, tolerance):
        # p = Omega / m^2 at Omega = 2^17, gamma = 2: from 128 non-zeros a row down to 1
        p = 2**17 / m**2
        ratios = []
        for seed in range(3):
            rows, columns, values = bernoulli_gaussian(2 * m, m, p, seed)
            edge = graph_edge(rows, columns, values**2, (2 * m, m))
            ratios.append(edge.predicted / largest_singular_value(rows, columns, values, (2 * m, m)))
        assert np.mean(ratios) == pytest.approx(1, abs=tolerance)

    @pytest.mark.parametrize(("pm", "false_alarms"), [(102, 1), (20, 1), (10, 2)])
    def test_masked_noise_stays_below_edge_and_hubs(self, pm, false_alarms):
        m = 1024
        rows, columns, values = bernoulli_gaussian(2 * m, m, pm / m, seed=4)
        edge = graph_edge(rows, columns, values**2, (2 * m, m))
        matrix = csr_array((values, (rows, columns)), shape=(2 * m, m)).toarray()
        singular = np.linalg.svd(matrix, compute_uv=False)
        assert np.sum(singular > edge.predicted) <= false_alarms

    def test_doubly_regular_masks_stay_on_the_edge(self):
        rng = np.random.default_rng(6)
        m, degree = 2048, 16
        rows = np.tile(np.arange(m), degree)
        columns = np.concatenate([rng.permutation(m) for _ in range(degree)])
        cells = np.unique(rows * m + columns)
        rows, columns = cells // m, cells % m
        values = rng.choice([-1.0, 1.0], len(cells)) / math.sqrt(degree)
        edge = graph_edge(rows, columns, values**2, (m, m))
        found = largest_singular_value(rows, columns, values, (m, m))
        assert found <= 1.005 * edge.bulk_edge < 2 * 1.005


class TestGraphEdgeRefuses:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((ONE, ONE, np.ones(2), (1, 1)), r"vectors of equal length, got shapes \(1,\), \(1,\), \(2,\); pass"),
            ((ONE[None], ONE[None], np.ones((1, 1)), (1, 1)), r"vectors of equal length, got shapes \(1, 1\)"),
            ((ONE, ONE, -np.ones(1), (1, 1)), r"squares must be finite and at least 0, got others; square"),
            ((ONE, ONE, np.array([math.nan]), (1, 1)), r"squares must be finite and at least 0"),
            ((ONE, ONE, np.zeros(1), (1, 1)), r"expected a non-zero entry, got a zero matrix of shape \(1, 1\); leave"),
            ((ONE[:0], ONE[:0], np.ones(0), (5, 4)), r"expected a non-zero entry, got a zero matrix of shape \(5, 4\)"),
            ((np.array([0.0]), ONE, np.ones(1), (1, 1)), r"rows must be integers, got float64; pass index arrays"),
            ((ONE, ONE + 3, np.ones(1), (4, 3)), r"columns must be in \[0, 2\], got 3 to 3; check the shape"),
            ((ONE - 1, ONE, np.ones(1), (4, 3)), r"rows must be in \[0, 3\], got -1 to -1; check the shape"),
        ],
    )
    def test_refuses(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            graph_edge(*arguments)


class TestNeighbourhoods:
    """One non-zero a row: a row and a column that share a large entry decide."""

    def test_tree_of_its_own_is_exact(self):
        entries = {(0, 0): 3.0, (0, 1): 1.0, (1, 0): 2.0, (2, 2): 0.5}
        rows, columns = np.array(list(entries)).T
        values = np.array(list(entries.values()))
        dense = np.zeros((3, 3))
        dense[rows, columns] = values
        found = graph_edge(rows, columns, values**2, (3, 3))
        assert found.neighbourhood == pytest.approx(np.linalg.norm(dense, 2), rel=1e-9)
        assert found.predicted >= found.neighbourhood

    @pytest.mark.parametrize("seed", range(4))
    def test_within_one_percent_of_masked_noise(self, seed):
        generator = np.random.default_rng(seed)
        m, count = 8192, 16384
        chosen = generator.choice(2 * m * m, count, replace=False)
        rows, columns = np.divmod(chosen, m)
        values = generator.standard_normal(count)
        matrix = csr_array((values, (rows, columns)), (2 * m, m))
        s_max = svds(matrix, k=1, return_singular_vectors=False, v0=np.ones(min(matrix.shape)))[0]
        found = graph_edge(rows, columns, values**2, (2 * m, m))
        assert found.predicted == pytest.approx(s_max, rel=0.01)

    def test_masks_of_many_neighbours_need_none(self):
        generator = np.random.default_rng(0)
        rows, columns = np.nonzero(generator.random((200, 100)) < 0.3)
        assert graph_edge(rows, columns, np.ones(len(rows)), (200, 100)).neighbourhood is None
