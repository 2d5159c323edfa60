"""The Tracy-Widom law against published numbers and asymptotics, and its test against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import airy

from mixanalysis.spectra import tracy_widom as tw

# Bornemann (2010), "On the numerical evaluation of distributions in random matrix theory", table 4
MEAN, VARIANCE, SKEWNESS = -1.20653357458, 1.60778103458, 0.29346452408
QUANTILES = {0.5: -1.26857, 0.9: 0.45014, 0.95: 0.97931, 0.99: 2.02345, 0.999: 3.27220}
BAD_LARGEST = {
    "one by one": ((1, 1, 1.0), r"the larger size must be at least 2, got 1 x 1; one number"),
    "no rows": ((0, 3, 1.0), r"matrix sizes must be at least 1, got 0 x 3; drop"),
    "no variance": ((3, 3, 0.0), r"variance must be positive and finite, got 0.0; it is"),
}


@pytest.fixture(scope="module")
def curve():
    """Gauss-Legendre points over the bulk of the law, their weights, and the density there."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    x = -10 + 12 * (nodes + 1)
    return x, 12 * weights, tw.pdf(x)


def test_moments(curve):
    x, weights, density = curve
    mean = np.sum(weights * density * x)
    variance = np.sum(weights * density * (x - mean) ** 2)
    assert np.sum(weights * density) == pytest.approx(1, abs=1e-10)
    assert mean == pytest.approx(MEAN, abs=1e-9)
    assert variance == pytest.approx(VARIANCE, abs=1e-9)
    assert np.sum(weights * density * (x - mean) ** 3) / variance**1.5 == pytest.approx(SKEWNESS, abs=1e-9)


@pytest.mark.parametrize(("q", "x"), QUANTILES.items())
def test_published_quantiles(q, x):
    assert tw.ppf(q) == pytest.approx(x, abs=1e-5)
    assert tw.isf(1 - q) == pytest.approx(x, abs=1e-5)
    assert tw.cdf(x) == pytest.approx(q, abs=5e-6)


def test_density_is_the_derivative():
    for x in (-5.0, -2.0, 0.0, 3.0):
        step = 1e-4
        slope = (tw.cdf(x + step) - tw.cdf(x - step)) / (2 * step)
        assert tw.pdf(x) == pytest.approx(slope, abs=1e-8)


def test_cdf_and_sf_add_up_to_one():
    x = np.linspace(-7, 5, 13)
    np.testing.assert_allclose(tw.cdf(x) + tw.sf(x), 1, atol=1e-15)


@pytest.mark.parametrize("x", [15.0, 30.0, 60.0, 101.0])
def test_right_tail_keeps_its_digits(x):
    # 1 - F1(x) is the trace of the kernel there, half the integral of the Airy function; the rest is its square
    scale = math.exp(-2 / 3 * x**1.5)
    trace = 0.5 * quad(lambda y: airy(y)[0] / scale, x, x + 60 / math.sqrt(x), epsrel=1e-10, epsabs=0, limit=200)[0]
    assert tw.sf(x) == pytest.approx(trace * scale, rel=1e-8)


def test_left_tail_follows_its_asymptotics():
    # Baik, Buckingham & DiFranco (2008): log F1 = -|x|^3 / 24 - |x|^1.5 / (3 sqrt 2) - log|x| / 16 + constant + ...
    def logarithm(x):
        return -(x**3) / 24 - x**1.5 / (3 * math.sqrt(2)) - math.log(x) / 16

    drop = math.log(tw.cdf(-8.0) / tw.cdf(-6.0))
    assert drop == pytest.approx(logarithm(8) - logarithm(6), abs=2e-3)


def test_beyond_the_ends():
    x = np.array([-math.inf, -1e6, -20.0, 200.0, 1e9, math.inf])
    assert tw.cdf(x).tolist() == [0, 0, 0, 1, 1, 1]
    assert tw.sf(x).tolist() == [1, 1, 1, 0, 0, 0]
    assert tw.pdf(x).tolist() == [0] * 6
    assert math.copysign(1, tw.sf(500.0)) == 1
    assert np.isnan([tw.cdf(math.nan), tw.sf(math.nan), tw.pdf(math.nan)]).all()


def test_ppf_inverts_cdf():
    q = np.array([1e-10, 1e-6, 0.01, 0.3, 0.5, 0.7, 0.99, 1 - 1e-6, 1 - 1e-10])
    x = tw.ppf(q)
    # the slope of log F1 is below 8 and that of log(1 - F1) below 4 here: x is right to 1e-8
    np.testing.assert_allclose(tw.cdf(x), q, rtol=4e-8)
    np.testing.assert_allclose(tw.sf(x), 1 - q, rtol=4e-8)
    assert (np.diff(x) > 0).all()


def test_isf_inverts_sf():
    level = np.array([1e-300, 1e-100, 1e-20, 1e-5, 0.05, 0.5, 0.8, 0.999])
    np.testing.assert_allclose(tw.sf(tw.isf(level)), level, rtol=1e-8)


def test_shapes_and_kinds_are_kept():
    grid = np.full((2, 3), 0.3)
    for function in (tw.cdf, tw.sf, tw.pdf, tw.ppf, tw.isf):
        assert function(grid).shape == (2, 3)
        assert function(grid[:0]).shape == (0, 3)
        assert type(function(0.3)) is float


def test_largest_is_symmetric_and_scales():
    law = tw.largest(128, 64, 1 / 64)
    assert law == tw.largest(64, 128, 1 / 64)
    total = math.sqrt(127) + 8
    assert law.mu == pytest.approx(total**2 / 64)
    assert law.sigma == pytest.approx(total * (1 / math.sqrt(127) + 1 / 8) ** (1 / 3) / 64)
    mean = math.sqrt(law.mu + MEAN * law.sigma)
    assert mean == pytest.approx(2.363, abs=2e-3)


def test_statistic_p_value_and_quantile_agree():
    a, b, variance = 300, 200, 0.01
    s = tw.upper_quantile(0.01, a, b, variance)
    assert tw.statistic(s, a, b, variance) == pytest.approx(QUANTILES[0.99], abs=1e-5)
    assert tw.p_value(s, a, b, variance) == pytest.approx(0.01, rel=1e-6)
    assert tw.p_value(np.array([s, 2 * s]), a, b, variance) == pytest.approx([0.01, 0], rel=1e-6)
    assert tw.upper_quantile(0.01, a, b, 4 * variance) == pytest.approx(2 * s)


@pytest.mark.parametrize("shape", [(64, 64), (60, 150)])
def test_noise_follows_the_law(shape):
    a, b = shape
    rng = np.random.default_rng(1)
    count = 600
    largest = np.array([np.linalg.norm(rng.normal(size=shape), 2) for _ in range(count)])
    z = tw.statistic(largest, a, b, 1.0)
    # three standard errors, and a finite-size bias of 0.05 (Johnstone 2001, table 1)
    assert z.mean() == pytest.approx(MEAN, abs=3 * math.sqrt(VARIANCE / count) + 0.05)
    assert z.std() == pytest.approx(math.sqrt(VARIANCE), abs=3 * math.sqrt(VARIANCE / 2 / count) + 0.05)
    beyond = np.mean(largest > tw.upper_quantile(0.05, a, b, 1.0))
    assert beyond == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / count) + 0.01)


@pytest.mark.parametrize("q", [0.0, 1e-13, 1.0, 1.5, math.nan])
def test_bad_shares_are_refused(q):
    with pytest.raises(ValueError, match=rf"q must be in \[1e-12, 1\), got {q}; for the far right tail use isf"):
        tw.ppf(q)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, math.nan])
def test_bad_levels_are_refused(level):
    message = rf"level must be in \[1e-300, 1 - 1e-12\], got {level}; it is the chance that noise goes beyond"
    with pytest.raises(ValueError, match=message):
        tw.isf(level)
    with pytest.raises(ValueError, match=message):
        tw.upper_quantile(level, 3, 3, 1.0)


@pytest.mark.parametrize(("law", "message"), BAD_LARGEST.values(), ids=BAD_LARGEST)
def test_bad_laws_are_refused(law, message):
    for call in (tw.largest, lambda *x: tw.statistic(1.0, *x), lambda *x: tw.p_value(1.0, *x)):
        with pytest.raises(ValueError, match=message):
            call(*law)
    with pytest.raises(ValueError, match=message):
        tw.upper_quantile(0.01, *law)
