"""Laws of products against each other, quadrature, moments and simulation."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

from mixanalysis.spectra import free_products as fp
from mixanalysis.spectra import marchenko_pastur as mp
from mixanalysis.spectra.free_products import Factor
from spectra.fuss_catalan import fuss_catalan_cdf, fuss_catalan_density, fuss_catalan_edge, fuss_catalan_moment

SQUARE = Factor(64, 64, 1 / 64)
PAIRS = {
    "two squares": (SQUARE, Factor(32, 32, 1 / 32)),
    "tall and square": (Factor(128, 64, 1 / 64), SQUARE),
    "square and tall": (SQUARE, Factor(128, 64, 1 / 64)),
    "tall and wide": (Factor(128, 64, 1 / 64), Factor(40, 96, 1 / 40)),
    "nearly square": (Factor(128, 127, 1 / 64), Factor(96, 95, 1 / 40)),
}
pairs = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
orders = pytest.mark.parametrize("factors", [1, 2, 3, 6])


def law_of(factor):
    return factor.rows, factor.columns, factor.variance


class TestFussCatalan:
    def test_edges(self):
        assert fuss_catalan_edge(1) == pytest.approx(2, rel=1e-15)
        assert fuss_catalan_edge(2) == pytest.approx(math.sqrt(27 / 4), rel=1e-15)
        assert fuss_catalan_edge(3) == pytest.approx(math.sqrt(256 / 27), rel=1e-15)

    def test_moments_are_fuss_catalan_numbers(self):
        assert [fuss_catalan_moment(k, 1) for k in range(6)] == [1, 1, 2, 5, 14, 42]
        assert [fuss_catalan_moment(k, 2) for k in range(5)] == [1, 1, 3, 12, 55]
        assert [fuss_catalan_moment(2, factors) for factors in (1, 2, 3, 9)] == [2, 3, 4, 10]

    def test_one_factor_is_marchenko_pastur(self):
        s = np.linspace(-0.5, 2.5, 31)
        np.testing.assert_allclose(fuss_catalan_density(s, 1), mp.density(s, *law_of(SQUARE)), atol=1e-8)
        np.testing.assert_allclose(fuss_catalan_cdf(s, 1), mp.cdf(s, *law_of(SQUARE)), atol=1e-13)

    @orders
    def test_density_has_the_moments(self, factors):
        # the powers of x in s remove the divergence at 0, those of 1 - x the square root at the edge
        edge = fuss_catalan_edge(factors)

        def moment(order):
            def integrand(x):
                s = edge * (1 - (1 - x) ** 2) ** (factors + 1)
                step = edge * (factors + 1) * (1 - (1 - x) ** 2) ** factors * 2 * (1 - x)
                return fuss_catalan_density(s, factors) * s**order * step

            return quad(integrand, 0, 1, epsabs=1e-11, limit=200)[0]

        for k in range(4):
            assert moment(2 * k) == pytest.approx(fuss_catalan_moment(k, factors), rel=1e-7)

    @orders
    def test_cdf_is_the_integral_of_the_density(self, factors):
        edge = fuss_catalan_edge(factors)
        for s in edge * np.array([0.01, 0.2, 0.5, 0.9]):
            tail = quad(
                lambda x: fuss_catalan_density(edge - x * x, factors) * 2 * x, 0, math.sqrt(edge - s), epsabs=1e-11
            )[0]
            assert 1 - fuss_catalan_cdf(s, factors) == pytest.approx(tail, abs=1e-8)

    def test_ends_and_kinds(self):
        s = np.array([[-1.0, 0.0, 1e-150], [2.598, 2.5981, np.nan]])
        density, cdf = fuss_catalan_density(s, 2), fuss_catalan_cdf(s, 2)
        assert density[0, :2].tolist() == [0, math.inf]
        assert fuss_catalan_density(0.0, 1) == pytest.approx(2 / math.pi)
        assert density[1, 1] == 0
        assert cdf[0].tolist() == pytest.approx([0, 0, 0], abs=1e-15)
        assert cdf[1, :2].tolist() == pytest.approx([1, 1], abs=1e-5)
        assert np.isnan([density[1, 2], cdf[1, 2]]).all()
        assert type(fuss_catalan_cdf(1.0, 2)) is float

    def test_monarch_with_independent_blocks(self):
        # J^T L J R with block-diagonal L and R of n blocks n x n: edge 2.598, fourth moment 3
        n = 32
        rng = np.random.default_rng(0)
        right, left = rng.normal(0, math.sqrt(1 / n), (2, n, n, n))
        matrix = np.einsum("jik,kjl->ijkl", left, right).reshape(n * n, n * n)
        values = np.linalg.svd(matrix, compute_uv=False)
        distance = np.abs(fuss_catalan_cdf(values[::-1].copy(), 2) - np.arange(1, n * n + 1) / n**2).max()
        assert distance < 0.02
        assert values[0] == pytest.approx(fuss_catalan_edge(2), rel=0.03)
        assert np.mean(values**4) / np.mean(values**2) ** 2 == pytest.approx(3, rel=0.03)


class TestFreeProduct:
    @pytest.mark.parametrize("factor", [SQUARE, Factor(128, 64, 1 / 64), Factor(64, 100, 3.0)])
    def test_one_factor_is_marchenko_pastur(self, factor):
        law = fp.free_law([factor])
        shape = law_of(factor)
        assert fp.free_edge([factor]) == pytest.approx(mp.edge(*shape), rel=1e-14)
        assert law.s[-1] == pytest.approx(mp.edge(*shape), rel=1e-10)
        np.testing.assert_allclose(law.cdf, mp.cdf(law.s, *shape), atol=1e-9)
        np.testing.assert_allclose(law.density, mp.density(law.s, *shape), atol=1e-5)

    @orders
    def test_square_factors_are_fuss_catalan(self, factors):
        chain = [Factor(10, 10, 1 / 10)] * factors
        law = fp.free_law(chain, points=301)
        assert fp.free_edge(chain) == pytest.approx(fuss_catalan_edge(factors), rel=1e-14)
        np.testing.assert_allclose(law.cdf, fuss_catalan_cdf(law.s, factors), atol=1e-9)
        inner = slice(5, -5)
        np.testing.assert_allclose(law.density[inner], fuss_catalan_density(law.s[inner], factors), rtol=1e-7)

    def test_copies_do_not_matter(self):
        # (I kron V) J (I kron W) is described by V and W; the same sizes written out give the same law
        v, w = Factor(12, 24, 1 / 24), Factor(30, 15, 1 / 15)
        written = [Factor(12 * 30, 24 * 30, 1 / (24 * 30)), Factor(30 * 24, 15 * 24, 1 / (15 * 24))]
        assert fp.free_edge([v, w]) == pytest.approx(fp.free_edge(written), rel=1e-13)
        assert fp.free_edge([w, v]) != pytest.approx(fp.free_edge([v, w]), rel=0.05)

    def test_transposition_and_scale(self):
        chain = [Factor(90, 30, 0.1), Factor(30, 50, 2.0), Factor(50, 40, 0.3)]
        turned = [Factor(f.columns, f.rows, f.variance) for f in reversed(chain)]
        assert fp.free_edge(turned) == pytest.approx(fp.free_edge(chain), rel=1e-13)
        louder = [Factor(90, 30, 0.4), *chain[1:]]
        assert fp.free_edge(louder) == pytest.approx(2 * fp.free_edge(chain), rel=1e-13)

    def test_curve_ends_at_the_edge_and_integrates(self):
        chain = [Factor(90, 30, 0.1), Factor(30, 50, 2.0), Factor(50, 40, 0.3)]
        law = fp.free_law(chain, points=4001)
        assert law.s[-1] == pytest.approx(fp.free_edge(chain), rel=1e-9)
        assert (np.diff(law.s) > 0).all()
        assert (np.diff(law.cdf) >= 0).all()
        assert (law.cdf[0], law.cdf[-1]) == (pytest.approx(0, abs=1e-9), pytest.approx(1, abs=1e-9))
        integral = np.cumsum((law.density[1:] + law.density[:-1]) / 2 * np.diff(law.s))
        np.testing.assert_allclose(integral, law.cdf[1:], atol=1e-5)
        # the mean square is n_0 n_1 ... n_K v_1 ... v_K / q
        mean_square = np.sum(np.diff(law.cdf) * ((law.s[1:] + law.s[:-1]) / 2) ** 2)
        assert mean_square == pytest.approx(90 * 30 * 50 * 40 * 0.1 * 2 * 0.3 / 30, rel=1e-5)

    def test_simulated_chain(self):
        rng = np.random.default_rng(0)
        sizes = [900, 300, 500, 400]
        chain = [Factor(a, b, 1 / b) for a, b in pairwise(sizes)]
        matrix = np.eye(900)
        for factor in chain:
            matrix = matrix @ rng.normal(0, math.sqrt(factor.variance), (factor.rows, factor.columns))
        values = np.sort(np.linalg.svd(matrix, compute_uv=False)[:300])
        law = fp.free_law(chain)
        assert np.abs(np.interp(values, law.s, law.cdf) - np.arange(1, 301) / 300).max() < 0.015
        assert values[-1] == pytest.approx(fp.free_edge(chain), rel=0.04)


class TestRefusals:
    @pytest.mark.parametrize("call", [fp.free_edge, fp.free_law])
    def test_empty_chain(self, call):
        with pytest.raises(ValueError, match=r"expected at least one factor, got none; pass the factors"):
            call([])

    def test_too_few_points(self):
        with pytest.raises(ValueError, match=r"points must be at least 2, got 1; 1001 make a smooth curve"):
            fp.free_law([SQUARE], points=1)

    def test_bad_factor(self):
        with pytest.raises(ValueError, match=r"matrix sizes must be at least 1, got 0 x 3; drop"):
            Factor(0, 3, 1.0)
        with pytest.raises(ValueError, match=r"variance must be positive and finite, got 0.0; it is"):
            Factor(3, 3, 0.0)
