"""Parts of sums over batches: small immutable values whose `+` is associative and commutative.

The sum over any split of the batches is therefore that over all of them, whichever process has added which.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixanalysis.errors import UsageError

Floats = NDArray[np.float64]

GROUPS = 32
"""Batches are summed in this many groups, by their index, for the jackknife."""

TOP = 5
"""Number of examples whose joint share of a layer's HSIC with itself is reported."""


@dataclass(frozen=True, eq=False)
class GroupedSums:
    """Sums over the batches of each group.

    Attributes:
        shape: of a batch's term.
        groups: for each group in use, its sum; float64.
    """

    shape: tuple[int, ...]
    groups: Mapping[int, Floats] = field(default_factory=dict)

    @classmethod
    def of_batch(cls, index: int, term: Floats) -> GroupedSums:
        """Sums over one batch: batch i belongs to group i mod GROUPS.

        Returns:
            The value with one group.
        """
        return cls(term.shape, {index % GROUPS: term})

    @classmethod
    def of_array(cls, sums: Floats, used: NDArray[np.int64]) -> GroupedSums:
        """Sums of the groups numbered in `used`, from an array of shape (GROUPS, *shape).

        Returns:
            The value whose `array` that is.
        """
        return cls(sums.shape[1:], {int(group): sums[group] for group in used})

    def __add__(self, other: GroupedSums) -> GroupedSums:
        groups = dict(self.groups)
        for group, term in other.groups.items():
            groups[group] = groups[group] + term if group in groups else term
        return GroupedSums(self.shape, groups)

    @property
    def array(self) -> Floats:
        """All groups, zeros for those without a batch, shape (GROUPS, *shape)."""
        array = np.zeros((GROUPS, *self.shape))
        for group, term in self.groups.items():
            array[group] = term
        return array

    def total(self, without: int | None = None) -> Floats:
        """Sum over all batches but those of one group.

        Returns:
            Float64 of the term's shape.
        """
        terms = [self.groups[group] for group in sorted(self.groups) if group != without]
        return functools.reduce(operator.add, terms, np.zeros(self.shape))


@dataclass(frozen=True)
class BatchRecord:
    """Batches that were gone through.

    Attributes:
        added: indices of those in the sums.
        skipped: indices of those that were too short for HSIC_1.
        examples: in the batches that were added.
        left_out: examples in the batches that were skipped.
    """

    added: frozenset[int] = frozenset()
    skipped: frozenset[int] = frozenset()
    examples: int = 0
    left_out: int = 0

    @property
    def done(self) -> frozenset[int]:
        """Indices of all batches that need not be run again."""
        return self.added | self.skipped

    @property
    def per_group(self) -> NDArray[np.int64]:
        """Number of added batches in each group, int64, shape (GROUPS,)."""
        groups = np.fromiter((index % GROUPS for index in self.added), dtype=np.int64, count=len(self.added))
        return np.bincount(groups, minlength=GROUPS).astype(np.int64)

    def __add__(self, other: BatchRecord) -> BatchRecord:
        if not self.done.isdisjoint(other.done):
            raise UsageError(f"both accumulators have added batch {min(self.done & other.done)}")
        return BatchRecord(
            self.added | other.added,
            self.skipped | other.skipped,
            self.examples + other.examples,
            self.left_out + other.left_out,
        )


@dataclass(frozen=True, eq=False)
class LargestContributions:
    """The largest contributions of single examples to each layer's sum of HSIC_1 with itself.

    Attributes:
        values: float64, shape (layers, TOP), in descending order.
    """

    values: Floats

    @classmethod
    def of(cls, contributions: Floats) -> LargestContributions:
        """The largest of contributions of shape (layers, n).

        Returns:
            Their value; zeros where there are fewer than TOP.
        """
        padded = np.concatenate([contributions, np.zeros((len(contributions), TOP))], axis=1)
        return cls(-np.sort(-padded, axis=1)[:, :TOP])

    def __add__(self, other: LargestContributions) -> LargestContributions:
        return LargestContributions.of(np.concatenate([self.values, other.values], axis=1))


@dataclass(frozen=True)
class FirstReasons:
    """Why layers have no similarity, from the first batch where they have none, in whatever order batches come.

    Attributes:
        by_layer: for a layer's position among all, the index of that batch and the reason.
    """

    by_layer: Mapping[int, tuple[int, str]] = field(default_factory=dict)

    def __add__(self, other: FirstReasons) -> FirstReasons:
        pairs = sorted([*self.by_layer.items(), *other.by_layer.items()], reverse=True)
        return FirstReasons(dict(sorted(dict(pairs).items())))
