"""Mini-batch HSIC of all pairs of layers at once, as float64 sums that merge.

Nguyen, Raghu & Kornblith (2021), eqs. 2-3: HSIC_1 is averaged over batches, and one ratio is taken at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor

from mixanalysis.errors import UsageError
from mixanalysis.similarity.hsic import SMALLEST_BATCH, u_centred_gram

GROUPS = 32
"""Batches are summed in this many groups, by their index, for the jackknife."""

COVERAGE = 0.95


def triangle(features: Tensor) -> Tensor:
    """Half of a U-centred Gram matrix, scaled so that HSIC_1 is a plain inner product.

    Args:
        features: shape (n, d), n >= 4.

    Returns:
        Strict upper triangle of U(K) sqrt(2 / (n (n - 3))), float64, shape (n (n - 1) / 2,).
    """
    n = features.shape[0]
    rows, columns = torch.triu_indices(n, n, offset=1)
    half: Tensor = u_centred_gram(features).cpu()[rows, columns] * (2 / (n * (n - 3))) ** 0.5
    return half


@dataclass
class HSICSums:
    """Sums over batches of HSIC_1 of every pair of layers.

    Attributes:
        layers: names of the layers, in the order of the rows.
        sums: float64, shape (GROUPS, layers, layers); batch i is added to group i mod GROUPS.
        batches: int64, shape (GROUPS,); batches in each group.
        examples: examples in all batches.
        left_out: examples of batches that were too short for HSIC_1.
    """

    layers: tuple[str, ...]
    sums: NDArray[np.float64] = field(init=False)
    batches: NDArray[np.int64] = field(init=False)
    examples: int = 0
    left_out: int = 0

    def __post_init__(self) -> None:
        """Start at zero."""
        count = len(self.layers)
        self.sums = np.zeros((GROUPS, count, count))
        self.batches = np.zeros(GROUPS, dtype=np.int64)

    def update(self, triangles: Mapping[str, Tensor], index: int, examples: int) -> None:
        """Add one batch.

        Args:
            triangles: for every layer, `triangle` of its features.
            index: number of the batch in the data, from 0.
            examples: examples in the batch.

        Raises:
            UsageError: a layer is missing.
        """
        missing = [layer for layer in self.layers if layer not in triangles]
        if missing:
            raise UsageError(f"no features of {', '.join(missing)}: these modules never ran")
        stacked = torch.stack([triangles[layer] for layer in self.layers])
        product = stacked @ stacked.mT
        # BLAS may differ in the last digit between (a, b) and (b, a)
        self.sums[index % GROUPS] += ((product + product.mT) / 2).numpy()
        self.batches[index % GROUPS] += 1
        self.examples += examples

    def skip(self, examples: int) -> None:
        """Note a batch that is too short, and so left out."""
        self.left_out += examples

    def merge(self, other: HSICSums) -> None:
        """Add another accumulator's batches.

        Raises:
            UsageError: the layers differ.
        """
        if self.layers != other.layers:
            raise UsageError("accumulators of different layers can't be merged")
        self.sums += other.sums
        self.batches += other.batches
        self.examples += other.examples
        self.left_out += other.left_out

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs."""
        return {
            "layers": list(self.layers),
            "sums": self.sums.copy(),
            "batches": self.batches.copy(),
            "examples": self.examples,
            "left_out": self.left_out,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> HSICSums:
        """The accumulator that `state_dict` described."""
        result = cls(tuple(state["layers"]), state["examples"], state["left_out"])
        result.sums, result.batches = state["sums"].copy(), state["batches"].copy()
        return result

    def hsic(self) -> NDArray[np.float64]:
        """Mean of HSIC_1 over batches, shape (layers, layers).

        Raises:
            UsageError: no batch had enough examples.
        """
        count = self.batches.sum()
        if count == 0:
            raise UsageError(f"no batch of at least {SMALLEST_BATCH} examples; use more images or larger batches")
        mean: NDArray[np.float64] = self.sums.sum(axis=0) / count
        return mean

    def cka(self) -> NDArray[np.float64]:
        """CKA of every pair of layers, shape (layers, layers); NaN where a self-term isn't positive."""
        return ratio(self.hsic())

    def jackknife(self) -> NDArray[np.float64]:
        """CKA with one group of batches left out, shape (groups in use, layers, layers)."""
        used = self.batches > 0
        total, count = self.sums.sum(axis=0), self.batches.sum()
        if used.sum() < 2:
            return np.empty((0, *total.shape))
        rest = (count - self.batches[used])[:, None, None]
        return ratio((total - self.sums[used]) / rest)


def ratio(hsic: NDArray[np.float64]) -> NDArray[np.float64]:
    """HSIC(a, b) / (sqrt HSIC(a, a) sqrt HSIC(b, b)) over the last two axes; NaN for a non-positive self-term."""
    own = np.diagonal(hsic, axis1=-2, axis2=-1)
    root = np.sqrt(np.where(own > 0, own, np.nan))
    # one product of the roots, so that the quotient is exactly symmetric
    quotient: NDArray[np.float64] = hsic / (root[..., :, None] * root[..., None, :])
    return quotient


def jackknife_interval(
    value: NDArray[np.float64], left_out: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interval of a statistic from its delete-one-group values, with Student's quantile.

    Args:
        value: the statistic, any shape.
        left_out: its values with one of g groups left out, shape (g, ...).

    Returns:
        Lower and upper end; NaN where there are fewer than two groups.
    """
    groups = len(left_out)
    if groups < 2:
        return np.full_like(value, np.nan), np.full_like(value, np.nan)
    spread = np.sqrt((groups - 1) / groups * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0))
    half = stdtrit(groups - 1, 0.5 + COVERAGE / 2) * spread
    return value - half, value + half
