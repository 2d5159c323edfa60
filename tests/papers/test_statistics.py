"""Intervals against scipy's own, and what they decide."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from mixanalysis.papers.statistics import Estimate, combination, half_width, mean

A = [0.10, 0.12, 0.17]
B = [0.30, 0.21, 0.22, 0.29, 0.41]


def test_mean_of_a_sample():
    found = mean(A)
    expected = stats.ttest_1samp(A, 0.0).confidence_interval(0.95)
    assert found.value == pytest.approx(0.13)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.n == 3


def test_difference_of_means_is_welchs():
    found = combination([(1.0, B), (-1.0, A)])
    expected = stats.ttest_ind(B, A, equal_var=False).confidence_interval(0.95)
    assert found.value == pytest.approx(0.286 - 0.13)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.n == 3


def test_difference_of_differences():
    found = combination([(1.0, B), (-1.0, A), (-1.0, A), (1.0, B)])
    assert found.value == pytest.approx(2 * (0.286 - 0.13))
    # twice the variance, twice the degrees of freedom of the simple difference
    simple = combination([(1.0, B), (-1.0, A)])
    assert found.high - found.low < math.sqrt(2) * (simple.high - simple.low)


def test_weights_scale_the_interval():
    found, scaled = mean(A), combination([(-2.0, A)])
    assert (scaled.low, scaled.high) == pytest.approx((-2 * found.high, -2 * found.low))


def test_values_that_are_missing_are_left_out():
    assert mean([*A, math.nan]) == mean(A)


def test_too_few_values():
    assert mean([0.5]).n == 1
    assert mean([0.5]).value == 0.5
    assert math.isnan(mean([0.5]).low)
    nothing = combination([(1.0, A), (-1.0, [math.nan])])
    assert nothing.n == 0
    assert math.isnan(nothing.value)
    assert math.isnan(half_width(0))


def test_equal_values_have_an_interval_of_no_width():
    assert mean([2.0, 2.0, 2.0]) == Estimate(2.0, 2.0, 2.0, 3)


DECISIONS = {
    "above": (0.1, 0.2, {"above": 0.0}, "agrees"),
    "below": (-0.2, -0.1, {"above": 0.0}, "disagrees"),
    "across": (-0.1, 0.1, {"above": 0.0}, "can't be told"),
    "at the border": (0.0, 0.1, {"above": 0.0}, "can't be told"),
    "unknown": (math.nan, math.nan, {"above": 0.0}, "can't be told"),
    "within": (-0.1, 0.1, {"above": -0.2, "below": 0.2}, "agrees"),
    "partly within": (-0.1, 0.3, {"above": -0.2, "below": 0.2}, "can't be told"),
    "beyond": (0.25, 0.3, {"above": -0.2, "below": 0.2}, "disagrees"),
    "around": (-1.0, 1.0, {"above": -0.2, "below": 0.2}, "can't be told"),
}


@pytest.mark.parametrize(("low", "high", "rule", "verdict"), DECISIONS.values(), ids=DECISIONS)
def test_the_interval_decides(low, high, rule, verdict):
    assert Estimate((low + high) / 2, low, high, 3).decides(**rule) == verdict
