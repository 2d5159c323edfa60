"""HSIC over all examples at once, with its jackknife over groups of examples.

Song et al. (2012, eq. 5) over any subset of examples follows from inner products of hollow Gram matrices and from
their row sums, both restricted to the subset.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixanalysis import distributed
from mixanalysis.datasets import Dataset
from mixanalysis.errors import UsageError
from mixanalysis.features import Batch
from mixanalysis.files import temporary_folder
from mixanalysis.similarity.estimators.batch_sums import TOP, Floats
from mixanalysis.similarity.estimators.centring import MARGIN
from mixanalysis.similarity.estimators.cross_covariances import by_features
from mixanalysis.similarity.estimators.example_groups import Groups
from mixanalysis.similarity.estimators.feature_buffers import Budget, collect
from mixanalysis.similarity.estimators.gram_sums import GramSums
from mixanalysis.similarity.estimators.gram_tiles import by_tiles
from mixanalysis.similarity.estimators.hsic import Bias
from mixanalysis.similarity.estimators.kernels import NO_SCALE, SMALLEST_BATCH
from mixanalysis.similarity.estimators.layer_grams import LayerGram
from mixanalysis.similarity.estimators.layer_pairs import Blocks
from mixanalysis.similarity.estimators.plan import Plan
from mixanalysis.similarity.progress import Progress
from mixanalysis.similarity.sources.source import Layer, Source

_PER_COVARIANCE = 4000
_PER_GRAM = 70
"""What else is done for a cell of a cross-covariance, or of a Gram matrix, in multiplications that take as long."""


@dataclass(frozen=True, eq=False)
class FullHSIC:
    """HSIC of every pair of layers of different networks over all examples.

    Attributes:
        spans: where each network's layers stand.
        unbiased: float64, shape (1 + groups, layers, layers), HSIC_1 of all examples, then without each group's; no
            groups where they would leave fewer than four examples.
        biased: the same for HSIC_0.
        shares: float64, shape (layers,), share of HSIC_1(a, a) of the TOP examples with the largest contributions; NaN
            for the RBF kernel, whose entries lie between 0 and 1.
        examples: n.
        reasons: for layers by their positions, the batch and why their similarity is undefined.
    """

    spans: tuple[slice, ...]
    unbiased: Floats
    biased: Floats
    shares: Floats
    examples: int
    reasons: dict[int, tuple[int, str]] = field(default_factory=dict)
    left_out: int = 0

    @property
    def batches(self) -> NDArray[np.int64]:
        """One batch."""
        return np.ones(1, dtype=np.int64)

    def hsic(self, bias: Bias = "unbiased") -> Floats:
        """Return HSIC of all examples, shape (layers, layers)."""
        whole: Floats = self._values(bias)[0]
        return whole

    def left_out_hsic(self, bias: Bias = "unbiased") -> Floats:
        """Return HSIC without each group, shape (groups, layers, layers)."""
        return self._values(bias)[1:]

    def _values(self, bias: Bias) -> Floats:
        return self.unbiased if bias == "unbiased" else self.biased

    def z(self) -> Floats:
        """Return HSIC_1 in standard deviations of its distribution under random pairings."""
        own = np.diagonal(self.unbiased[0])
        root = np.sqrt(np.where(own > 0, own, np.nan))
        deviation = math.sqrt(2 / (self.examples * (self.examples - 3))) * np.outer(root, root)
        quotient: Floats = self.unbiased[0] / deviation
        return quotient

    def p_values(self) -> Floats:
        """Return NaN: no pairings are drawn."""
        return np.full_like(self.unbiased[0], np.nan)

    def top_share(self) -> Floats:
        """Return the share of each layer's HSIC with itself that the largest TOP examples carry, shape (layers,)."""
        return self.shares


@dataclass(frozen=True, eq=False)
class FullBatchPass:
    """Layers of each network in a pass over all examples, and HSIC of all pairs of them."""

    layers: tuple[tuple[Layer, ...], ...]
    sums: FullHSIC


def full_batch_pass(
    sources: Sequence[Source], data: Dataset | Sequence[Batch], plan: Plan, progress: Progress | None = None
) -> FullBatchPass:
    """HSIC over all examples: collect all features, then sum over Gram matrices or cross-covariances.

    Layers or sizes that change from batch to batch are a DataError, and so are networks without finite features.

    Returns:
        HSIC of all pairs of layers.

    Raises:
        UsageError: there are fewer than four examples, no room for features, or several processes; or what only
            batches have is asked for.
    """
    if distributed.world().size > 1:
        raise UsageError("full-data estimators run in one process; use a mini-batch estimator under torchrun")
    if plan.tolerance:
        raise UsageError("full-data estimators can't stop early; leave the tolerance out")
    if plan.measures or plan.permutations:
        raise UsageError("companion measures and permutations are of batches; use a mini-batch estimator for them")
    with temporary_folder(Path(tempfile.gettempdir()) / "features") as folder:
        buffers = collect(sources, data, plan, Budget(plan.memory, folder), progress)
        ends = itertools.accumulate(map(len, buffers.layers), initial=0)
        spans = tuple(itertools.starmap(slice, itertools.pairwise(ends)))
        # files come without a device of their own
        device = next((each.device for each in buffers.features if each.device.type != "cpu"), torch.device("cpu"))
        grams = [LayerGram.of(features, plan.estimator.kernel, device) for features in buffers.features]
        without_scale = {
            position: (0, NO_SCALE)
            for position, gram in enumerate(grams)
            if gram.spread == 0 and float(gram.squares.max()) > 0
        }
        reasons = without_scale | dict(buffers.reasons)
        return FullBatchPass(buffers.layers, of_grams(grams, spans, reasons, within=len(sources) == 1))


def of_grams(
    grams: Sequence[LayerGram],
    spans: tuple[slice, ...],
    reasons: dict[int, tuple[int, str]] | None = None,
    *,
    within: bool = False,
    features: bool | None = None,
) -> FullHSIC:
    """HSIC of layers whose features are at hand.

    Args:
        grams: of all layers of all networks.
        spans: where each network's layers stand.
        reasons: why some have no features.
        within: also pairs of layers of the same network.
        features: multiply features instead of Gram matrices; whatever is cheaper by default.

    Returns:
        HSIC of all pairs of layers that are compared; layers whose products in float32 would be lost to rounding are
        multiplied again in float64.
    """
    n, end = len(grams[0].features), spans[-1].stop
    pairs = [(span, slice(span.stop, end)) for span in spans if span.stop < end] + [(s, s) for s in spans] * within
    cheaper = _features_are_cheaper(grams, pairs) if features is None else features
    way = by_features if cheaper else by_tiles
    sums = way(grams, pairs, Groups.of(n))
    single = torch.tensor([gram.dtype != torch.float64 for gram in grams])
    if bool((lost := single & _imprecise(grams, sums).cpu()).any()):
        # one far-away example, for instance
        grams = [replace(gram, dtype=torch.float64) if each else gram for gram, each in zip(grams, lost, strict=True)]
        sums = way(grams, pairs, Groups.of(n))
    kept: list[slice | None] = [None, *sums.groups.slices]
    if len(kept) < 3 or n - max(part.stop - part.start for part in sums.groups.slices) < SMALLEST_BATCH:
        kept = [None]
    eps, floor = _eps(grams).to(sums.inner.device), _floor(sums)
    values = [_hsic(sums, place, part, eps, floor) for place, part in enumerate(kept)]
    unbiased, biased = (torch.stack(each).cpu().numpy() for each in zip(*values, strict=True))
    return FullHSIC(spans, unbiased, biased, _shares(grams, sums, unbiased[0]), n, reasons or {})


def _features_are_cheaper(grams: Sequence[LayerGram], pairs: Blocks) -> bool:
    """Return whether products of features take fewer multiplications than tiles."""
    if any(gram.spread is not None for gram in grams):
        return False
    n, sizes = len(grams[0].features), [int(gram.features.shape[1]) for gram in grams]
    crossed = sum(sum(sizes[a]) * sum(sizes[b]) for a, b in pairs) + sum(size**2 for size in sizes)
    multiplied = sum((a.stop - a.start) * (b.stop - b.start) for a, b in pairs)
    cells = n**2 / 2
    return bool((n + _PER_COVARIANCE) * crossed < cells * (sum(sizes) + _PER_GRAM * len(sizes) + multiplied))


def _eps(grams: Sequence[LayerGram]) -> Tensor:
    return torch.tensor([torch.finfo(gram.dtype).eps for gram in grams], dtype=torch.float64)


def _imprecise(grams: Sequence[LayerGram], sums: GramSums) -> Tensor:
    """Return for each layer whether rounding errors of its products may show in <U(K), U(K)>."""
    n, rows = sums.groups.examples, sums.rows.sum(dim=1)
    own = sums.inner[0].diagonal() - rows.square().sum(dim=1) * (2 / (n - 2))
    own = own + rows.sum(dim=1).square() / ((n - 1) * (n - 2))
    entries = n * 8 * _eps(grams).to(own.device) * sums.diagonals.amax(dim=1)
    bound = torch.maximum((MARGIN * entries).square(), MARGIN * _floor(sums))
    return (sums.diagonals.amax(dim=1) > 0) & (own <= bound)


def _floor(sums: GramSums) -> Tensor:
    """Return what rounding may leave of each layer's <U(K), U(K)>: a small share of the terms over all examples."""
    n, rows = sums.groups.examples, sums.rows.sum(dim=1)
    terms = sums.inner[0].diagonal() + sums.diagonals.square().sum(dim=1) + rows.square().sum(dim=1) * (2 / (n - 2))
    return 256 * sums.eps * (terms + rows.sum(dim=1).square() / ((n - 1) * (n - 2)))


def _hsic(sums: GramSums, place: int, left_out: slice | None, eps: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Return HSIC_1 and HSIC_0 of all pairs of layers without a group of examples, shape (layers, layers)."""
    rows, diagonals = sums.rows.sum(dim=1), sums.diagonals.clone()
    n = sums.groups.examples
    if left_out is not None:
        rows -= sums.rows[:, place - 1]
        rows[:, left_out] = diagonals[:, left_out] = 0
        n -= left_out.stop - left_out.start
    inner, totals = sums.inner[place], rows.sum(dim=1)
    unbiased = inner - rows @ rows.mT * (2 / (n - 2)) + torch.outer(totals, totals) / ((n - 1) * (n - 2))
    # where only rounding errors would be left: of the entries, as for constant features, or of the sums
    own = unbiased.diagonal()
    own[own <= torch.maximum((n * 8 * eps * diagonals.amax(dim=1)).square(), floor)] = 0
    rows += diagonals
    totals = rows.sum(dim=1)
    shared, spread, whole = diagonals @ diagonals.mT, rows @ rows.mT * (2 / n), torch.outer(totals, totals) / n**2
    biased = inner + shared - spread + whole
    own = biased.diagonal()
    own[own <= 64 * sums.eps * (inner + shared + spread + whole).diagonal()] = 0
    return unbiased / (n * (n - 3)), biased / (n - 1) ** 2


def _shares(grams: Sequence[LayerGram], sums: GramSums, hsic: Floats) -> Floats:
    """Return the share of HSIC_1(a, a) of the TOP examples with the largest rows of the U-centred Gram matrices."""
    n = sums.groups.examples
    shares = np.full(len(grams), np.nan)
    for position, gram in enumerate(grams):
        if gram.spread is None and hsic[position, position] > 0:
            rows = sums.rows[position].sum(dim=0)
            shift = rows / (n - 2) - rows.sum() / (2 * (n - 1) * (n - 2))
            hollow = gram.times(shift) - sums.diagonals[position] * shift
            norms = sums.squares[position] - shift * rows - 2 * hollow
            norms += shift * (shift.sum() - shift) + shift.square().sum() - shift.square()
            shares[position] = float(norms.topk(min(TOP, n)).values.sum()) / (hsic[position, position] * n * (n - 3))
    return shares
