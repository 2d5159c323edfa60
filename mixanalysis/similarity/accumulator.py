"""Mini-batch HSIC of all pairs of layers at once, as float64 sums that merge.

Nguyen, Raghu & Kornblith (2021), eqs. 2-3: HSIC is averaged over batches, and one ratio is taken at the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit

from mixanalysis.errors import UsageError
from mixanalysis.similarity.extractors import Layer
from mixanalysis.similarity.grams import SMALLEST_BATCH, Centred
from mixanalysis.similarity.hsic import Bias, biased

GROUPS = 32
"""Batches are summed in this many groups, by their index, for the jackknife."""

COVERAGE = 0.95

TOP = 5
"""Examples whose share of a layer's HSIC with itself is told."""

_ARRAYS = ("unbiased", "biased", "pairing", "batches", "top", "companions", "permuted")
"""What a state holds beside facts."""

_ROUNDING = 1e-12
"""Nothing of a layer is left beside a covariate if less than this of its HSIC with itself is."""

Floats = NDArray[np.float64]


@dataclass
class HSICSums:
    """Sums over batches of HSIC of every pair of layers of different networks.

    Attributes:
        names: for each network, the names of its layers.
        within: also pairs of layers of the same network; else a layer has only its own term there.
        measures: names of companion measures.
        draws: random pairings of each batch's examples.
        unbiased: float64, shape (GROUPS, layers, layers), HSIC_1; batch i is added to group i mod GROUPS.
            Layers of all networks stand one after the other.
        biased: the same for the biased HSIC_0 = tr(KHLH)/(n - 1)^2.
        pairing: float64, shape (layers, layers); variance of the sum of HSIC_1 under random pairings of a batch's
            examples, 2 HSIC_1(a, a) HSIC_1(b, b)/(n (n - 3)) for each batch.
        batches: int64, shape (GROUPS,); batches in each group.
        top: float64, shape (layers, TOP); the largest contributions of single examples to sum HSIC_1(a, a).
        companions: float64, shape (measures, GROUPS, layers, layers); the companion measures.
        permuted: float64, shape (draws, layers, layers); HSIC_1 under random pairings.
        done: indices of the batches that were added or left out.
        examples: examples in all batches that were added.
        left_out: examples of batches that were too short for HSIC_1.
        reasons: for (network, layer) by their positions, why its similarity is undefined.
    """

    names: tuple[tuple[str, ...], ...]
    within: bool = False
    measures: tuple[str, ...] = ()
    draws: int = 0
    unbiased: Floats = field(init=False)
    biased: Floats = field(init=False)
    pairing: Floats = field(init=False)
    batches: NDArray[np.int64] = field(init=False)
    top: Floats = field(init=False)
    companions: Floats = field(init=False)
    permuted: Floats = field(init=False)
    done: set[int] = field(default_factory=set)
    examples: int = 0
    left_out: int = 0
    reasons: dict[int, tuple[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start at zero."""
        count = sum(map(len, self.names))
        self.unbiased, self.biased = np.zeros((GROUPS, count, count)), np.zeros((GROUPS, count, count))
        self.pairing = np.zeros((count, count))
        self.batches = np.zeros(GROUPS, dtype=np.int64)
        self.top = np.zeros((count, TOP))
        self.companions = np.zeros((len(self.measures), GROUPS, count, count))
        self.permuted = np.zeros((self.draws, count, count))

    @property
    def spans(self) -> tuple[slice, ...]:
        """Where each network's layers stand."""
        ends = list(itertools.accumulate(map(len, self.names), initial=0))
        return tuple(slice(*ends[i : i + 2]) for i in range(len(self.names)))

    @property
    def pairs(self) -> list[tuple[slice, slice]]:
        """Layers that are compared: each network's with those of all later ones, or with themselves."""
        end = len(self.pairing)
        across = [(span, slice(span.stop, end)) for span in self.spans if span.stop < end]
        return across + [(span, span) for span in self.spans] * self.within

    def update(self, centred: Centred, index: int, reasons: Mapping[int, str] | None = None) -> None:
        """Add one batch.

        Args:
            centred: U-centred Gram matrices of all layers of all networks, in the order of `names`.
            index: number of the batch in the data, from 0.
            reasons: why the features of some layers of this batch have no similarity, by their positions.

        Raises:
            UsageError: it has another number of layers.
        """
        if len(centred.matrices) != len(self.pairing):
            raise UsageError(f"expected {len(self.pairing)} layers, got {len(centred.matrices)}")
        n, group = centred.examples, index % GROUPS
        contributions = centred.contributions
        own = contributions.sum(dim=1) / (n * (n - 3))
        for rows, columns in self.pairs:
            products = centred.products(rows, columns)
            zero = biased(products, centred.diagonals[rows], centred.diagonals[columns])
            self._add(self.unbiased[group], rows, columns, products / (n * (n - 3)))
            self._add(self.biased[group], rows, columns, zero / (n - 1) ** 2)
        if not self.within:
            k = centred.diagonals
            zero_own = contributions.sum(dim=1) + k.square().sum(dim=1) * (n / (n - 2))
            zero_own -= k.sum(dim=1).square() / ((n - 1) * (n - 2))
            at = np.arange(len(self.pairing))
            self.unbiased[group, at, at] += own.cpu().numpy()
            self.biased[group, at, at] += (zero_own / (n - 1) ** 2).cpu().numpy()
        self.pairing += 2 / (n * (n - 3)) * np.outer(own.cpu().numpy(), own.cpu().numpy())
        self._keep_top((contributions / (n * (n - 3))).cpu().numpy())
        self.batches[group] += 1
        self.examples += n
        self.done.add(index)
        for position, reason in (reasons or {}).items():
            self._note(position, index, reason)

    def add_companions(self, index: int, values: Floats) -> None:
        """Add a batch's companion measures, shape (measures, layers, layers)."""
        self.companions[:, index % GROUPS] += values

    @staticmethod
    def _add(sums: Floats, rows: slice, columns: slice, terms: torch.Tensor) -> None:
        block = terms.cpu().numpy()
        if rows == columns:
            # BLAS may differ in the last digit between (a, b) and (b, a)
            sums[rows, columns] += (block + block.T) / 2
        else:
            sums[rows, columns] += block
            sums[columns, rows] += block.T

    def skip(self, index: int, examples: int) -> None:
        """Note a batch that is too short, and so left out."""
        self.left_out += examples
        self.done.add(index)

    def merge(self, other: HSICSums) -> None:
        """Add another accumulator's batches.

        Raises:
            UsageError: the layers differ, or both have added the same batch.
        """
        if (self.names, self.within) != (other.names, other.within):
            raise UsageError("accumulators of different layers can't be merged")
        if (self.measures, self.draws) != (other.measures, other.draws):
            raise UsageError("accumulators of different measures or numbers of permutations can't be merged")
        if self.done & other.done:
            raise UsageError(f"both accumulators have added batch {min(self.done & other.done)}")
        self.unbiased += other.unbiased
        self.biased += other.biased
        self.pairing += other.pairing
        self.batches += other.batches
        self.companions += other.companions
        self.permuted += other.permuted
        self._keep_top(other.top)
        self.done |= other.done
        self.examples += other.examples
        self.left_out += other.left_out
        for position, (index, reason) in other.reasons.items():
            self._note(position, index, reason)

    def _keep_top(self, more: Floats) -> None:
        self.top = -np.sort(-np.concatenate([self.top, more], axis=1), axis=1)[:, :TOP]

    def _note(self, position: int, index: int, reason: str) -> None:
        """Keep the reason of the first batch, whatever the order of the batches."""
        if position not in self.reasons or index < self.reasons[position][0]:
            self.reasons[position] = (index, reason)

    def state_dict(self) -> dict[str, Any]:
        """Everything that `from_state_dict` needs: arrays, and JSON-ready data under "facts"."""
        facts = {
            "names": self.names,
            "within": self.within,
            "measures": self.measures,
            "draws": self.draws,
            "done": sorted(self.done),
            "examples": self.examples,
            "left_out": self.left_out,
            "reasons": [[position, index, reason] for position, (index, reason) in sorted(self.reasons.items())],
        }
        return {"facts": facts} | {name: getattr(self, name).copy() for name in _ARRAYS}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> HSICSums:
        """The accumulator that `state_dict` described."""
        facts = state["facts"]
        result = cls(
            tuple(map(tuple, facts["names"])),
            facts["within"],
            tuple(facts["measures"]),
            facts["draws"],
            set(facts["done"]),
            facts["examples"],
            facts["left_out"],
            {position: (index, reason) for position, index, reason in facts["reasons"]},
        )
        for name in _ARRAYS:
            setattr(result, name, np.array(state[name]))
        return result

    def hsic(self, bias: Bias = "unbiased") -> Floats:
        """Mean of HSIC over batches, shape (layers, layers).

        Raises:
            UsageError: no batch had enough examples.
        """
        count = self.batches.sum()
        if count == 0:
            raise UsageError(f"no batch of at least {SMALLEST_BATCH} examples; use more images or larger batches")
        mean: Floats = self._sums(bias).sum(axis=0) / count
        return mean

    def left_out_hsic(self, bias: Bias = "unbiased") -> Floats:
        """The same with one group of batches left out, shape (groups in use, layers, layers)."""
        used = self.batches > 0
        sums = self._sums(bias)
        if used.sum() < 2:
            return np.empty((0, *sums.shape[1:]))
        rest: Floats = (sums.sum(axis=0) - sums[used]) / (self.batches.sum() - self.batches[used])[:, None, None]
        return rest

    def _sums(self, bias: Bias) -> Floats:
        return self.unbiased if bias == "unbiased" else self.biased

    def z(self) -> Floats:
        """Sum of HSIC_1 in standard deviations of its distribution under random pairings, where its mean is 0."""
        sums = self.unbiased.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            quotient: Floats = np.where(self.pairing > 0, sums / np.sqrt(self.pairing), np.nan)
        return quotient

    def p_values(self) -> Floats:
        """Share of random pairings, the observed one among them, whose sum of HSIC_1 is as large; NaN without any."""
        sums = self.unbiased.sum(axis=0)
        if not self.draws:
            return np.full_like(sums, np.nan)
        # the same order of examples may be summed in another order of terms
        reached = self.permuted >= sums - 1e-12 * np.abs(sums)
        shares: Floats = (1 + reached.sum(axis=0)) / (1 + self.draws)
        return shares

    def companion_means(self) -> tuple[Floats, Floats]:
        """Means of the companion measures over batches, then without each group of batches.

        Shapes (measures, layers, layers) and (groups in use, measures, layers, layers).
        """
        means = self.companions.sum(axis=1) / self.batches.sum()
        used = np.flatnonzero(self.batches)
        if len(used) < 2:
            return means, np.empty((0, *means.shape))
        rest = [np.delete(self.companions, group, axis=1).sum(axis=1) for group in used]
        return means, np.stack(rest) / (self.batches.sum() - self.batches[used])[:, None, None, None]

    def top_share(self) -> Floats:
        """Share of each layer's HSIC with itself that the largest TOP examples carry, shape (layers,)."""
        own = np.diagonal(self.unbiased.sum(axis=0))
        with np.errstate(invalid="ignore", divide="ignore"):
            share: Floats = np.where(own > 0, self.top.sum(axis=1) / own, np.nan)
        return share


class Estimates(Protocol):
    """HSIC of every pair of layers of different networks, with each group of batches or examples left out."""

    @property
    def spans(self) -> tuple[slice, ...]:
        """Where each network's layers stand."""

    @property
    def reasons(self) -> dict[int, tuple[int, str]]:
        """For layers by their positions, the batch and why their similarity is undefined."""

    @property
    def batches(self) -> NDArray[np.int64]:
        """Batches in each group."""

    @property
    def examples(self) -> int:
        """Examples used."""

    @property
    def left_out(self) -> int:
        """Examples of batches that were too short."""

    def hsic(self, bias: Bias = "unbiased") -> Floats:
        """Shape (layers, layers)."""

    def left_out_hsic(self, bias: Bias = "unbiased") -> Floats:
        """Shape (groups, layers, layers)."""

    def z(self) -> Floats:
        """HSIC_1 in standard deviations of its distribution under random pairings, shape (layers, layers)."""

    def p_values(self) -> Floats:
        """Of HSIC_1 under random pairings that were drawn; NaN where none were."""

    def top_share(self) -> Floats:
        """Share of each layer's HSIC with itself that the largest TOP examples carry, shape (layers,)."""


class Found(Protocol):
    """What a pass over the data has found."""

    @property
    def layers(self) -> tuple[tuple[Layer, ...], ...]:
        """Of each network."""

    @property
    def sums(self) -> Estimates:
        """HSIC of all pairs of them."""


@dataclass
class Pass:
    """What a pass over batches has found: each network's layers, and the sums of all pairs of them."""

    layers: tuple[tuple[Layer, ...], ...]
    sums: HSICSums


def ratio(hsic: Floats, covariate: int | None = None) -> Floats:
    """CKA: HSIC(a, b) / (sqrt HSIC(a, a) sqrt HSIC(b, b)) over the last two axes; NaN for a non-positive self-term.

    Args:
        hsic: shape (..., layers, layers), symmetric.
        covariate: position of a layer whose Gram matrix is regressed out of those of all others first (Cui et al.
            2022): HSIC(a, b) - HSIC(a, c) HSIC(b, c) / HSIC(c, c).
    """
    if covariate is not None:
        shared = hsic[..., :, covariate]
        own = np.where(hsic[..., covariate, covariate] > 0, hsic[..., covariate, covariate], np.nan)
        rounding = _ROUNDING * np.diagonal(hsic, axis1=-2, axis2=-1)
        hsic = hsic - shared[..., :, None] * shared[..., None, :] / own[..., None, None]
    own = np.diagonal(hsic, axis1=-2, axis2=-1)
    if covariate is not None:
        own = np.where(own > rounding, own, 0)
    root = np.sqrt(np.where(own > 0, own, np.nan))
    # one product of the roots, so that the quotient is exactly symmetric
    quotient: Floats = hsic / (root[..., :, None] * root[..., None, :])
    return quotient


def jackknife_interval(value: Floats, left_out: Floats) -> tuple[Floats, Floats]:
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


def combined(parts: Sequence[HSICSums]) -> HSICSums:
    """The sum of several accumulators.

    Raises:
        UsageError: there is none, their layers differ, or a batch is in two of them.
    """
    if not parts:
        raise UsageError("there is nothing to combine")
    total = HSICSums(parts[0].names, parts[0].within, parts[0].measures, parts[0].draws)
    for part in parts:
        total.merge(part)
    return total
