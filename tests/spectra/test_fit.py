"""The Marchenko-Pastur fit on noise, planted spikes and damaged matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mixanalysis.spectra import marchenko_pastur as mp
from mixanalysis.spectra import tracy_widom as tw
from mixanalysis.spectra.fit import Fit, fit, fit_values, spike, spike_threshold
from spectra.spikes import spiked


def noise(a, b, seed, variance=1.0):
    return np.random.default_rng(seed).normal(0, math.sqrt(variance), (a, b))


def planted(a, b, strengths, seed):
    """Noise of variance 1 / b plus orthonormal directions of the given strengths times the threshold."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(a, len(strengths))))[0]
    right = np.linalg.qr(rng.normal(size=(b, len(strengths))))[0]
    theta = np.asarray(strengths) * spike_threshold(a, b, 1 / b)
    return rng.normal(0, math.sqrt(1 / b), (a, b)) + (left * theta) @ right.T


class TestNoise:
    @pytest.mark.parametrize("shape", [(64, 64), (128, 64), (64, 200)])
    def test_variance_and_level_of_false_alarms(self, shape):
        count = 300
        fits = [fit(noise(*shape, seed)) for seed in range(count)]
        variance = np.array([f.variance for f in fits])
        # the best estimate, the mean square, has relative standard deviation sqrt(2 / (a b))
        best = math.sqrt(2 / (shape[0] * shape[1]))
        assert variance.std() < 1.2 * best
        assert variance.mean() == pytest.approx(1, abs=0.005)
        p_values = np.array([f.p_value for f in fits])
        for level in (0.05, 0.3):
            error = math.sqrt(level * (1 - level) / count)
            assert np.mean(p_values < level) == pytest.approx(level, abs=3 * error + 0.01)

    def test_level_of_the_threshold(self):
        # 8 expected in 800 at level 0.01, standard deviation 2.8; 23 if the variance left out all beyond this level
        assert sum(fit(noise(32, 32, seed)).n_outliers for seed in range(800)) <= 16

    def test_no_false_outlier_in_fifty_layers_after_correction(self):
        shapes = [(256, 128), (128, 256), (200, 200), (100, 400), (196, 384)]
        p_values = np.sort([fit(noise(*shapes[seed % 5], seed)).p_value for seed in range(50)])
        rejected = p_values <= 0.05 * np.arange(1, 51) / 50  # Benjamini & Hochberg (1995)
        assert not rejected.any()

    def test_every_field(self):
        a, b, variance = 300, 200, 0.02
        result = fit(noise(a, b, 0, variance))
        assert isinstance(result, Fit)
        assert (result.n_rows, result.n_columns, result.level) == (a, b, 0.01)
        assert result.variance == pytest.approx(variance, rel=0.02)
        assert result.edge == mp.edge(a, b, result.variance)
        assert result.threshold == pytest.approx(tw.upper_quantile(0.01, a, b, result.variance))
        s_max = np.linalg.norm(noise(a, b, 0, variance), 2)
        assert result.z == pytest.approx(tw.statistic(s_max, a, b, result.variance), rel=1e-8)
        assert result.p_value == pytest.approx(tw.sf(result.z))
        assert (result.n_outliers, result.outliers.shape) == (0, (0,))
        assert 0 < result.ks < 3 / 200

    def test_uniform_entries_are_noise_too(self):
        values = np.random.default_rng(0).uniform(-0.1, 0.1, (256, 256))
        result = fit(values)
        assert result.variance == pytest.approx(0.01 / 3, rel=0.02)
        assert result.n_outliers == 0

    def test_smallest_matrices(self):
        for shape in ((2, 2), (2, 3), (3, 3), (2, 100)):
            result = fit(noise(*shape, 0))
            assert result.variance > 0
            assert 0 <= result.p_value <= 1
            assert result.n_outliers <= 2


class TestSpikes:
    def test_strong_spikes_do_not_inflate_sigma(self):
        for seed in range(4):
            for a, b in ((512, 512), (512, 256)):
                result = fit(planted(a, b, [6.0] * 10, seed))
                assert result.n_outliers == 10
                assert math.sqrt(result.variance * b) == pytest.approx(1, abs=0.01)
                assert result.ks < 0.02
                assert result.p_value < 1e-30

    def test_power_just_above_the_threshold(self):
        # 1.2 times the threshold in 1024 x 1024: 6.1 of 10 with the true variance, 6.0 with the fitted one
        found = [fit(planted(1024, 1024, [1.2] * 10, seed)).n_outliers for seed in range(6)]
        assert np.mean(found) >= 5.8
        assert min(found) >= 5

    def test_outliers_are_descending_and_beyond_the_threshold(self):
        matrix = planted(300, 200, [5.0, 3.0, 2.0], 0)
        result = fit(matrix)
        values = np.linalg.svd(matrix, compute_uv=False)
        np.testing.assert_allclose(result.outliers, values[:3], rtol=1e-10)
        assert values[2] > result.threshold >= result.edge
        assert values[3] <= result.threshold

    def test_strengths_are_recovered(self):
        strengths = np.array([8.0, 4.0, 2.0])
        a, b = 1000, 500
        result = fit(planted(a, b, strengths, 1))
        theta = spike(result.outliers, a, b, result.variance)
        # sd of theta is about sqrt(v) times a constant of order one
        np.testing.assert_allclose(theta, strengths * spike_threshold(a, b, 1 / b), atol=4 / math.sqrt(b))

    @pytest.mark.parametrize("count", [100, 150])
    def test_many_spikes(self, count):
        # even where the median is a spike
        matrix = noise(512, 256, 0) * np.where(np.arange(256) < count, 8.0, 1.0)
        result = fit(matrix)
        assert result.n_outliers == count
        assert result.variance == pytest.approx(1, abs=0.02)
        assert result.threshold == result.edge

    def test_threshold_and_ks_are_those_of_the_rest(self):
        for seed in range(5):
            matrix = planted(300, 200, [5.0, 3.0, 2.0], seed)
            result = fit(matrix)
            assert result.n_outliers == 3
            assert result.threshold == pytest.approx(tw.upper_quantile(0.01, 300, 197, result.variance))
            bulk = np.sort(np.linalg.svd(matrix, compute_uv=False)[3:])
            steps = [
                max(abs(mp.cdf(float(s), 297, 197, result.variance) - k / 197) for k in (i, i + 1))
                for i, s in enumerate(bulk)
            ]
            assert result.ks == pytest.approx(max(steps), abs=1e-9)


class TestDamage:
    def test_empty_rows_and_columns_are_dropped(self):
        matrix = noise(400, 300, 0)
        full = np.zeros((500, 420))
        full[np.ix_(np.arange(400) + 50, np.arange(0, 300) + 100)] = matrix
        result, expected = fit(full), fit(matrix)
        assert (result.n_rows, result.n_columns) == (400, 300)
        assert result.variance == pytest.approx(expected.variance, rel=1e-9)
        assert result.n_outliers == 0

    def test_heavy_tails_end_and_show_in_ks(self):
        values = np.random.default_rng(0).standard_cauchy((128, 128))
        result = fit(values)
        assert result.ks > 0.05
        assert 0 < result.n_outliers < 128

    def test_scale(self):
        matrix = planted(100, 80, [4.0], 0)
        result, small = fit(matrix), fit(1e-12 * matrix)
        assert small.variance == pytest.approx(1e-24 * result.variance, rel=1e-9)
        assert (small.n_outliers, small.z) == (result.n_outliers, pytest.approx(result.z, rel=1e-8))

    def test_other_dtypes(self):
        matrix = noise(60, 50, 0)
        assert fit(matrix.astype(np.float32)).variance == pytest.approx(fit(matrix).variance, rel=1e-5)


class TestValues:
    def test_values_give_the_same_fit(self):
        matrix = planted(120, 90, [4.0], 0)
        values = np.linalg.svd(matrix, compute_uv=False)
        expected = fit(matrix, 0.05)
        for order in (values, values[::-1], np.random.default_rng(0).permutation(values)):
            result = fit_values(order, 120, 90, level=0.05)
            assert result.variance == pytest.approx(expected.variance, rel=1e-9)
            assert result.ks == pytest.approx(expected.ks, abs=1e-7)

    @pytest.mark.parametrize(
        ("values", "a", "b", "message"),
        [
            (np.ones(1), 1, 5, r"at least 2 non-empty rows and columns, got 1 x 5; leave it out"),
            (np.ones(3), 4, 5, r"a 4 x 5 matrix has 4 singular values, got 3; pass each of them once"),
            (np.array([1.0, -1.0]), 2, 2, r"singular values must be finite and at least 0, got others; pass"),
            (np.array([1.0, math.nan]), 2, 2, r"singular values must be finite and at least 0, got others"),
            (np.array([1.0, 0, 0, 0]), 4, 4, r"a fit needs a bulk, got half of the singular values at 0"),
        ],
    )
    def test_refuses_values(self, values, a, b, message):
        with pytest.raises(ValueError, match=message):
            fit_values(values, a, b)

    @pytest.mark.parametrize(
        ("matrix", "message"),
        [
            (np.ones(3), r"W must be a matrix, got shape \(3,\); reshape it to \(rows, columns\)"),
            (np.ones((2, 2, 2)), r"W must be a matrix, got shape \(2, 2, 2\)"),
            (np.array([[1.0, math.nan], [1.0, 1.0]]), r"W must be finite, got NaN or infinity; repair or leave out"),
            (np.zeros((4, 5)), r"at least 2 non-empty rows and columns, got 0 x 0; leave it out"),
            (np.eye(5)[:, :1], r"at least 2 non-empty rows and columns, got 1 x 1; leave it out"),
            (np.ones((50, 40)), r"a fit needs a bulk, got half of the singular values at 0 \(low rank\); leave it"),
        ],
    )
    def test_refuses_matrices(self, matrix, message):
        with pytest.raises(ValueError, match=message):
            fit(matrix)

    @pytest.mark.parametrize("level", [0.0, 1.0, math.nan])
    def test_refuses_levels(self, level):
        with pytest.raises(ValueError, match=rf"level must be in \[1e-300, 1 - 1e-12\], got {level}"):
            fit(noise(5, 4, 0), level)


class TestSpikeFormula:
    def test_formula_and_inverse(self):
        a, b, variance = 300, 200, 0.01
        theta = spike_threshold(a, b, variance) * np.array([1.001, 1.2, 3, 100])
        s = spiked(theta, a, b, variance)
        np.testing.assert_allclose(spike(s, a, b, variance), theta, rtol=1e-9)
        assert (spike(s, a, b, variance) < s).all()

    def test_transition(self):
        a, b, variance = 300, 200, 0.01
        threshold, top = spike_threshold(a, b, variance), mp.edge(a, b, variance)
        assert threshold == pytest.approx(0.1 * 60_000**0.25)
        assert spiked(threshold, a, b, variance) == pytest.approx(top, rel=1e-14)
        assert spiked(0.0, a, b, variance) == pytest.approx(top, rel=1e-14)
        assert spike(top, a, b, variance) == pytest.approx(threshold, rel=1e-6)
        assert math.isnan(spike(0.999 * top, a, b, variance))
        assert type(spike(2 * top, a, b, variance)) is float

    def test_simulated_spike(self):
        a, b = 600, 300
        found = [np.linalg.norm(planted(a, b, [2.0], seed), 2) for seed in range(20)]
        expected = spiked(2.0 * spike_threshold(a, b, 1 / b), a, b, 1 / b)
        assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / math.sqrt(20))

    @pytest.mark.parametrize("call", [spike_threshold, lambda *x: spike(1.0, *x)])
    def test_refuses_bad_laws(self, call):
        with pytest.raises(ValueError, match=r"matrix sizes must be at least 1, got 0 x 3; drop"):
            call(0, 3, 1.0)
        with pytest.raises(ValueError, match=r"variance must be positive and finite, got -1.0; it is"):
            call(3, 3, -1.0)
