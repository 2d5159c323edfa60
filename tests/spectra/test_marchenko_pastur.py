"""The closed forms against quadrature, limits and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from mixanalysis.spectra import marchenko_pastur as mp

LAWS = {
    "square": (64, 64, 1 / 64),
    "tall": (128, 64, 1 / 64),
    "wide": (64, 128, 0.3),
    "nearly square": (65, 64, 2.0),
    "one by one": (1, 1, 1.0),
    "needle": (1, 100_000, 1e-4),
}
laws = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
BAD_LAWS = {
    "no rows": ((0, 3, 1.0), r"matrix sizes must be at least 1, got 0 x 3; drop"),
    "no columns": ((3, -1, 1.0), r"matrix sizes must be at least 1, got 3 x -1; drop"),
    "zero variance": ((3, 3, 0.0), r"variance must be positive and finite, got 0.0; it is"),
    "negative variance": ((3, 3, -1.0), r"variance must be positive and finite, got -1.0; it is"),
    "NaN variance": ((3, 3, math.nan), r"variance must be positive and finite, got nan; it is"),
    "infinite variance": ((3, 3, math.inf), r"variance must be positive and finite, got inf; it is"),
}
FUNCTIONS = {
    "edge": mp.edge,
    "lower_edge": mp.lower_edge,
    "median": mp.median,
    "density": lambda a, b, v: mp.density(1.0, a, b, v),
    "cdf": lambda a, b, v: mp.cdf(1.0, a, b, v),
    "quantile": lambda a, b, v: mp.quantile(0.5, a, b, v),
}


def integral_of_density(low, high, law):
    """Quadrature of the density from low to high; the sine removes the square-root ends of the support."""
    bottom, top = mp.lower_edge(*law), mp.edge(*law)
    middle, half = (bottom + top) / 2, (top - bottom) / 2
    ends = [math.asin(min(1.0, max(-1.0, (x - middle) / half))) for x in (low, high)]

    def integrand(u):
        return mp.density(middle + half * math.sin(u), *law) * half * math.cos(u)

    return quad(integrand, *ends, epsabs=1e-13, epsrel=1e-13, limit=400)[0]


def test_edges_of_the_standard_normalisation():
    gamma, m = 2, 512
    assert mp.edge(gamma * m, m, 1 / m) == pytest.approx(1 + math.sqrt(2), rel=1e-14)
    assert mp.c_gamma(gamma) == pytest.approx(2.414213562373095, rel=1e-15)
    assert mp.edge(m, gamma * m, 1 / (gamma * m)) == pytest.approx(1 + 1 / math.sqrt(2), rel=1e-14)
    assert mp.lower_edge(gamma * m, m, 1 / m) == pytest.approx(math.sqrt(2) - 1, rel=1e-14)
    assert mp.lower_edge(m, m, 0.7) == 0.0


@laws
def test_density_integrates_to_one(law):
    assert integral_of_density(mp.lower_edge(*law), mp.edge(*law), law) == pytest.approx(1.0, abs=1e-10)


@laws
def test_density_has_the_moments_of_independent_entries(law):
    a, b, variance = law
    q = min(a, b)
    share = (np.arange(4000) + 0.5) / 4000
    squares = mp.quantile(share, *law) ** 2
    assert squares.mean() == pytest.approx(a * b * variance / q, rel=1e-4)
    assert (squares**2).mean() == pytest.approx(variance**2 * a * b * (a + b) / q, rel=1e-3)


@laws
def test_cdf_is_the_integral_of_the_density(law):
    low, high = mp.lower_edge(*law), mp.edge(*law)
    for share in (0.001, 0.1, 0.37, 0.5, 0.8, 0.999):
        s = low + share * (high - low)
        assert mp.cdf(s, *law) == pytest.approx(integral_of_density(low, s, law), abs=2e-10)


@laws
def test_quantile_inverts_cdf(law):
    q = np.array([0.0, 1e-9, 1e-4, 0.1, 0.5, 0.9, 1 - 1e-9, 1.0])
    s = mp.quantile(q, *law)
    np.testing.assert_allclose(mp.cdf(s, *law), q, atol=1e-12)
    assert s[0] == pytest.approx(mp.lower_edge(*law), abs=1e-12)
    assert s[-1] == pytest.approx(mp.edge(*law), rel=1e-12)
    assert mp.median(*law) == pytest.approx(s[4], rel=1e-13)


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.01, 10), st.floats(0, 1))
def test_laws_of_transposition_and_scale(a, b, variance, q):
    s = mp.quantile(q, a, b, variance)
    assert mp.quantile(q, b, a, variance) == pytest.approx(s, rel=1e-12)
    assert mp.quantile(q, a, b, 4 * variance) == pytest.approx(2 * s, rel=1e-12)
    assert mp.cdf(s, a, b, variance) == pytest.approx(q, abs=1e-12)


def test_square_law_is_a_quarter_circle():
    s = np.linspace(0.0, 2.0, 9)
    np.testing.assert_allclose(mp.density(s, 64, 64, 1 / 64), np.sqrt(4 - s**2) / np.pi, atol=1e-14)


@laws
def test_nothing_outside_the_support(law):
    low, high = mp.lower_edge(*law), mp.edge(*law)
    outside = np.array([-1.0, low * 0.999 - 1e-9, high * 1.001, 1e9])
    assert mp.density(outside, *law).tolist() == [0, 0, 0, 0]
    assert mp.cdf(outside, *law).tolist() == [0, 0, 1, 1]


def test_shapes_and_kinds_are_kept():
    law = LAWS["tall"]
    grid = np.linspace(0, 1, 6).reshape(2, 3)
    for function in (mp.density, mp.cdf, mp.quantile):
        assert function(grid, *law).shape == (2, 3)
        assert function(grid[:0], *law).shape == (0, 3)
        assert type(function(0.5, *law)) is float
    assert np.isnan(mp.cdf(np.array([np.nan]), *law)).all()
    assert math.isnan(mp.density(math.nan, *law))


def test_law_of_a_simulated_matrix():
    a, b = 300, 200
    values = np.linalg.svd(np.random.default_rng(0).normal(0, 0.1, (a, b)), compute_uv=False)
    share = mp.cdf(np.sort(values), a, b, 0.01)
    # singular values are rigid: the empirical distribution stays within a few 1 / q of the law
    assert np.abs(share - (np.arange(b) + 0.5) / b).max() < 3 / b


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize(("law", "message"), BAD_LAWS.values(), ids=BAD_LAWS)
def test_bad_laws_are_refused(function, law, message):
    with pytest.raises(ValueError, match=message):
        function(*law)


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.nan, math.inf])
def test_bad_gamma_is_refused(gamma):
    with pytest.raises(ValueError, match=f"gamma must be positive and finite, got {gamma}; it is rows over columns"):
        mp.c_gamma(gamma)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_bad_share_is_refused(q):
    with pytest.raises(ValueError, match=rf"q must be in \[0, 1\], got {q}; divide percentages by 100"):
        mp.quantile(q, 4, 4, 1.0)
