"""Mini-batch HSIC of all pairs of layers at once, as float64 sums that merge.

Nguyen, Raghu & Kornblith (2021), eqs. 2-3: HSIC is averaged over batches, and one ratio is taken at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mixanalysis.errors import UsageError
from mixanalysis.similarity.estimators.batch_hsic import batch_hsic
from mixanalysis.similarity.estimators.batch_sums import (
    BatchRecord,
    FirstReasons,
    Floats,
    GroupedSums,
    LargestContributions,
)
from mixanalysis.similarity.estimators.centring import Centred
from mixanalysis.similarity.estimators.hsic import Bias
from mixanalysis.similarity.estimators.kernels import SMALLEST_BATCH
from mixanalysis.similarity.estimators.layer_pairs import LayerPairs
from mixanalysis.similarity.sources.source import Layer


@dataclass(frozen=True, eq=False)
class HSICSums:
    """Sums over batches of HSIC of every pair of layers of different networks; `+` puts batches together.

    Attributes:
        pairs: which layers are compared.
        unbiased: HSIC_1 of each group of batches, shape (layers, layers).
        biased: the biased HSIC_0 = tr(KHLH)/(n - 1)^2 of each group of batches.
        companions: companion measures of each group of batches, shape (measures, layers, layers).
        pairing: float64, shape (layers, layers); variance of the sum of HSIC_1 under random pairings of a batch's
            examples, 2 HSIC_1(a, a) HSIC_1(b, b)/(n (n - 3)) for each batch.
        permuted: float64, shape (draws, layers, layers); HSIC_1 under random pairings.
        top: the largest contributions of single examples to sum HSIC_1(a, a).
        vanished: int64, shape (layers,); batches whose examples differ, but add nothing to HSIC_1 of the layer.
        record: the batches.
        undefined: why layers have no similarity.
        measures: names of companion measures.
    """

    pairs: LayerPairs
    unbiased: GroupedSums
    biased: GroupedSums
    companions: GroupedSums
    pairing: Floats
    permuted: Floats
    top: LargestContributions
    vanished: NDArray[np.int64]
    record: BatchRecord = field(default_factory=BatchRecord)
    undefined: FirstReasons = field(default_factory=FirstReasons)
    measures: tuple[str, ...] = ()

    @classmethod
    def zero(cls, pairs: LayerPairs, measures: tuple[str, ...] = (), draws: int = 0) -> HSICSums:
        """Sums over no batch.

        Args:
            pairs: which layers are compared.
            measures: names of companion measures.
            draws: random pairings of each batch's examples.

        Returns:
            The neutral value of `+`.
        """
        count = pairs.layers
        square, several = GroupedSums((count, count)), GroupedSums((len(measures), count, count))
        pairing, permuted = np.zeros((count, count)), np.zeros((draws, count, count))
        top = LargestContributions.of(np.zeros((count, 0)))
        vanished = np.zeros(count, dtype=np.int64)
        return cls(pairs, square, square, several, pairing, permuted, top, vanished, measures=measures)

    def of_batch(
        self,
        centred: Centred,
        index: int,
        reasons: Mapping[int, str] | None = None,
        companions: Floats | None = None,
        permuted: Floats | None = None,
    ) -> HSICSums:
        """Sums over one batch, for the same layers and measures.

        Args:
            centred: U-centred Gram matrices of all layers of all networks, in the order of `pairs`.
            index: number of the batch in the data, from 0.
            reasons: why the features of some layers of this batch have no similarity, by their positions.
            companions: companion measures, shape (measures, layers, layers); zero by default.
            permuted: HSIC_1 under random pairings, shape (draws, layers, layers); zero by default.

        Returns:
            A value that can be added to this one.

        Raises:
            UsageError: the batch has another number of layers.
        """
        count = self.pairs.layers
        if len(centred.matrices) != count:
            raise UsageError(f"expected {count} layers, got {len(centred.matrices)}")
        n, own = centred.examples, centred.own_hsic.cpu().numpy()
        one, zero = batch_hsic(centred, self.pairs)
        return HSICSums(
            self.pairs,
            GroupedSums.of_batch(index, one),
            GroupedSums.of_batch(index, zero),
            GroupedSums.of_batch(index, np.zeros(self.companions.shape) if companions is None else companions),
            2 / (n * (n - 3)) * np.outer(own, own),
            np.zeros_like(self.permuted) if permuted is None else permuted,
            LargestContributions.of((centred.contributions / (n * (n - 3))).cpu().numpy()),
            centred.vanished.long().cpu().numpy(),
            BatchRecord(frozenset([index]), examples=n),
            FirstReasons({position: (index, reason) for position, reason in (reasons or {}).items()}),
            self.measures,
        )

    def of_short_batch(self, index: int, examples: int) -> HSICSums:
        """Record of a batch that is too short for HSIC_1.

        Returns:
            A value that adds nothing but that record.
        """
        zero = HSICSums.zero(self.pairs, self.measures, self.draws)
        return replace(zero, record=BatchRecord(skipped=frozenset([index]), left_out=examples))

    def __add__(self, other: HSICSums) -> HSICSums:
        if self.pairs != other.pairs:
            raise UsageError("accumulators of different layers can't be merged")
        if (self.measures, self.draws) != (other.measures, other.draws):
            raise UsageError("accumulators of different measures or numbers of permutations can't be merged")
        return HSICSums(
            self.pairs,
            self.unbiased + other.unbiased,
            self.biased + other.biased,
            self.companions + other.companions,
            self.pairing + other.pairing,
            self.permuted + other.permuted,
            self.top + other.top,
            self.vanished + other.vanished,
            self.record + other.record,
            self.undefined + other.undefined,
            self.measures,
        )

    @property
    def draws(self) -> int:
        """Number of random pairings."""
        return len(self.permuted)

    @property
    def spans(self) -> tuple[slice, ...]:
        """Positions of each network's layers."""
        return self.pairs.spans

    @property
    def batches(self) -> NDArray[np.int64]:
        """Number of batches in each group, shape (GROUPS,)."""
        return self.record.per_group

    @property
    def examples(self) -> int:
        """Number of examples in all batches that were added."""
        return self.record.examples

    @property
    def left_out(self) -> int:
        """Number of examples in batches that were too short for HSIC_1."""
        return self.record.left_out

    @property
    def reasons(self) -> dict[int, tuple[int, str]]:
        """For layers by their positions, the first batch without similarity, and why it has none."""
        return dict(self.undefined.by_layer)

    def hsic(self, bias: Bias = "unbiased") -> Floats:
        """Mean of HSIC over batches.

        Returns:
            Shape (layers, layers).

        Raises:
            UsageError: no batch had enough examples.
        """
        if not self.record.added:
            raise UsageError(f"no batch of at least {SMALLEST_BATCH} examples; use more images or larger batches")
        mean: Floats = self._sums(bias).total() / len(self.record.added)
        return mean

    def left_out_hsic(self, bias: Bias = "unbiased") -> Floats:
        """Mean of HSIC over batches with one group of batches left out.

        Returns:
            Shape (groups in use, layers, layers); no groups where only one is in use.
        """
        sums, counts = self._sums(bias), self.batches
        if len(sums.groups) < 2:
            return np.empty((0, *sums.shape))
        used, total = sorted(sums.groups), sums.total()
        rest = np.stack([total - sums.groups[group] for group in used])
        rest /= (counts.sum() - counts[used])[:, None, None]
        return rest

    def _sums(self, bias: Bias) -> GroupedSums:
        return self.unbiased if bias == "unbiased" else self.biased

    def z(self) -> Floats:
        """Sum of HSIC_1 in standard deviations of its distribution under random pairings, where its mean is 0.

        Returns:
            Shape (layers, layers); NaN where the deviation is zero.
        """
        sums = self.unbiased.total()
        with np.errstate(invalid="ignore", divide="ignore"):
            quotient: Floats = np.where(self.pairing > 0, sums / np.sqrt(self.pairing), np.nan)
        return quotient

    def p_values(self) -> Floats:
        """Share of random pairings, the observed one among them, whose sum of HSIC_1 is as large.

        Returns:
            Shape (layers, layers); NaN without random pairings.
        """
        sums = self.unbiased.total()
        if not self.draws:
            return np.full_like(sums, np.nan)
        # the same order of examples may be summed in another order of terms
        reached = self.permuted >= sums - 1e-12 * np.abs(sums)
        shares: Floats = (1 + reached.sum(axis=0)) / (1 + self.draws)
        return shares

    def companion_means(self) -> tuple[Floats, Floats]:
        """Means of the companion measures over batches, then without each group of batches.

        Returns:
            Shapes (measures, layers, layers) and (groups in use, measures, layers, layers).
        """
        counts, used = self.batches, sorted(self.companions.groups)
        means = self.companions.total() / counts.sum()
        if len(used) < 2:
            return means, np.empty((0, *means.shape))
        rest = np.stack([self.companions.total(without=group) for group in used])
        return means, rest / (counts.sum() - counts[used])[:, None, None, None]

    def top_share(self) -> Floats:
        """Share of each layer's HSIC with itself that the largest TOP examples carry.

        Returns:
            Shape (layers,); NaN for layers without HSIC.
        """
        own = np.diagonal(self.unbiased.total())
        with np.errstate(invalid="ignore", divide="ignore"):
            share: Floats = np.where(own > 0, self.top.values.sum(axis=1) / own, np.nan)
        return share


@dataclass(frozen=True, eq=False)
class MinibatchPass:
    """One pass over batches, or a part of them.

    Attributes:
        layers: of each network.
        sums: over the batches, of all pairs of layers.
    """

    layers: tuple[tuple[Layer, ...], ...]
    sums: HSICSums

    def __add__(self, other: MinibatchPass) -> MinibatchPass:
        return MinibatchPass(self.layers, self.sums + other.sums)
