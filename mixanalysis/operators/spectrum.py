"""What an operator answers about its singular values, each with how it was obtained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixanalysis import representation

FloatArray = NDArray[np.float64]

_KERNEL = 1e-7
"""A quadrature node below this share of the largest is an eigenvalue zero of the Gram matrix, up to rounding."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular values of an operator of shape a x b: `count` = min(a, b) of them, repeated ones kept once.

    Attributes:
        values: float64, shape (k,), descending; distinct as the structure knows it, not merged by size.
        multiplicity: int64, shape (k,); how often each value occurs.
        zeros: singular values that are zero by structure alone (an empty row, a rank limit of a factor).
        method: how the values were obtained, "exact" here.
    """

    values: FloatArray
    multiplicity: NDArray[np.int64]
    zeros: int = 0
    method: str = "exact"

    @classmethod
    def of(cls, values: FloatArray, count: int, multiplicity: NDArray[np.int64] | None = None) -> Spectrum:
        """From values in any order, shape (k,); what is missing to `count` is zero by structure."""
        if multiplicity is None:
            multiplicity = np.ones(len(values), dtype=np.int64)
        order = np.argsort(-values, kind="stable")
        return cls(values[order], multiplicity[order], count - int(multiplicity.sum()))

    def _repr_html_(self) -> str:
        span = f"{self.values[0]:.6g} to {self.values[-1]:.6g}" if len(self.values) else "none"
        lines = [("singular values", f"{self.count:,}"), ("distinct", f"{len(self.values):,}"), ("range", span)]
        lines += [("zero by structure", f"{self.zeros:,}"), ("method", self.method)]
        return representation.facts("Spectrum", lines)

    @property
    def count(self) -> int:
        """Number of singular values with multiplicity, structural zeros included."""
        return int(self.multiplicity.sum()) + self.zeros

    def repeated(self) -> FloatArray:
        """All `count` singular values, descending, structural zeros at the end. Meant for small operators."""
        return np.concatenate([np.repeat(self.values, self.multiplicity), np.zeros(self.zeros)])

    def largest(self, k: int) -> FloatArray:
        """The k largest singular values with multiplicity, shape (k,), without repeating all of them."""
        # each distinct value counts at least once, so that k distinct ones are enough
        values = np.repeat(self.values[:k], np.minimum(self.multiplicity[:k], k))[:k]
        return np.concatenate([values, np.zeros(k - len(values))])

    def times(self, copies: int) -> Spectrum:
        """The spectrum of `copies` equal diagonal blocks."""
        return Spectrum(self.values, self.multiplicity * copies, self.zeros * copies, self.method)


@dataclass(frozen=True, eq=False)
class Top:
    """The k largest singular values of an operator, a value of multiplicity j standing j times.

    Attributes:
        values: float64, shape (k,), descending.
        residuals: float64, shape (k,); the larger of |A v - s u| and |A^T u - s v| over the largest singular value;
            zero where the values are exact.
        method: "exact" or "Lanczos".
        left: shape (rows, k), orthonormal singular vectors u in columns; None unless asked for.
        right: shape (columns, k), orthonormal singular vectors v in columns; None unless asked for.
    """

    values: FloatArray
    residuals: FloatArray
    method: str
    left: FloatArray | None = None
    right: FloatArray | None = None


class Estimate(NamedTuple):
    """A number, or an array of them, with the standard error over probes (zero where exact)."""

    value: FloatArray
    standard_error: FloatArray


@dataclass(frozen=True, eq=False)
class Density:
    """Distribution of all `count` singular values of an operator, structural zeros included.

    Attributes:
        nodes: float64, shape (probes, k), ascending; singular values at which a probe puts its weight.
        weights: float64, shape (probes, k); a probe's weights sum to one over the values that aren't structural zeros.
        zeros: singular values that are zero by structure alone.
        count: all singular values, min(rows, columns) of the operator.
        method: "exact" (one "probe": the values themselves), or "stochastic" (Lanczos quadrature).
    """

    nodes: FloatArray
    weights: FloatArray
    zeros: int
    count: int
    method: str

    @classmethod
    def exact(cls, spectrum: Spectrum) -> Density:
        """That of a spectrum."""
        multiplicity = spectrum.multiplicity[::-1]
        weights = multiplicity / max(int(multiplicity.sum()), 1)
        return cls(spectrum.values[None, ::-1], weights[None], spectrum.zeros, spectrum.count, spectrum.method)

    def times(self, copies: int) -> Density:
        """The density of `copies` equal diagonal blocks."""
        return Density(self.nodes, self.weights, self.zeros * copies, self.count * copies, self.method)

    def cdf(self, x: ArrayLike) -> Estimate:
        """Share of singular values up to x, for x of any shape.

        An exact distribution jumps at its values. A probe's quadrature rule brackets its own distribution at each
        node between the weights before it and the weights up to it (Chebyshev, Markov and Stieltjes); the middle
        is taken, linearly between the nodes.

        Returns:
            The share and its standard error, each of the shape of x.
        """
        points = np.asarray(x, dtype=np.float64)
        rule = _steps if self.method == "exact" else _middles
        probes = np.stack([rule(points, *probe) for probe in zip(self.nodes, self.weights, strict=True)])
        share = self.zeros / self.count
        return _over_probes(np.where(points < 0, 0.0, share + (1 - share) * probes))

    def moment(self, power: float) -> Estimate:
        """Mean of s^power over all singular values s.

        Returns:
            The mean and its standard error.

        Raises:
            ValueError: the power isn't positive.
        """
        if power <= 0:
            msg = f"the power of a moment must be positive, got {power}; structural zeros have no other"
            raise ValueError(msg)
        return _over_probes((self.weights * self.nodes**power).sum(axis=1) * (1 - self.zeros / self.count))


def _steps(x: FloatArray, nodes: FloatArray, weights: FloatArray) -> FloatArray:
    heights = np.concatenate([[0.0], np.cumsum(weights)])
    return heights[np.searchsorted(nodes, x, side="right")]


def _middles(x: FloatArray, nodes: FloatArray, weights: FloatArray) -> FloatArray:
    # the kernel's weight lies at zero and isn't spread around it
    kernel = nodes <= _KERNEL * nodes[-1]
    heights = np.cumsum(weights) - np.where(kernel, 0.0, weights / 2)
    return np.interp(x, np.where(kernel, 0.0, nodes), heights, left=0.0, right=1.0)


def _over_probes(probes: FloatArray) -> Estimate:
    count = len(probes)
    error = probes.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else np.zeros(probes.shape[1:])
    return Estimate(probes.mean(axis=0), error)
