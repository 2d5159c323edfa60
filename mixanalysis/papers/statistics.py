"""Means over seeds with their intervals, differences of them, and what these decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t as student

LEVEL = 0.95

Verdict = Literal["agrees", "disagrees", "can't be told"]


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: the number; NaN without data.
        low: lower end of its 95% interval; NaN where it is unknown.
        high: upper end.
        n: values that it rests on; the fewest of its parts.
    """

    value: float
    low: float
    high: float
    n: int

    def decides(self, *, above: float = -math.inf, below: float = math.inf) -> Verdict:
        """Whether the number lies in (above, below): by the whole interval, or not at all, or can't be told."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return "can't be told"
        if self.low > above and self.high < below:
            return "agrees"
        return "disagrees" if self.high <= above or self.low >= below else "can't be told"


def mean(values: Sequence[float]) -> Estimate:
    """Mean and Student's t interval over independent values; NaNs are left out."""
    return combination([(1.0, values)])


def combination(parts: Sequence[tuple[float, Sequence[float]]]) -> Estimate:
    """A weighted sum of means of independent samples, with Welch's interval.

    Args:
        parts: weight and sample of each; NaNs are left out. A sample of fewer than two values leaves the interval
            unknown.

    Returns:
        The sum with its interval; n is the smallest sample size.
    """
    kept = [(weight, np.asarray(values, dtype=float)) for weight, values in parts]
    kept = [(weight, values[~np.isnan(values)]) for weight, values in kept]
    n = min(len(values) for _, values in kept)
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    value = float(sum(weight * values.mean() for weight, values in kept))
    if n == 1:
        return Estimate(value, math.nan, math.nan, 1)
    variances = [weight**2 * values.var(ddof=1) / len(values) for weight, values in kept]
    total = float(sum(variances))
    if total == 0:
        return Estimate(value, value, value, n)
    # Welch and Satterthwaite's degrees of freedom
    degrees = total**2 / sum(
        variance**2 / (len(values) - 1) for variance, (_, values) in zip(variances, kept, strict=True)
    )
    half = half_width(degrees) * math.sqrt(total)
    return Estimate(value, value - half, value + half, n)


def half_width(degrees: float) -> float:
    """Half of the 95% interval in standard errors, by Student's t with so many degrees of freedom; NaN below one."""
    return float(student.ppf((1 + LEVEL) / 2, degrees)) if degrees > 0 else math.nan
