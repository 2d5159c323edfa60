"""Mini-batch estimation: every network runs once per batch, HSIC of all pairs of layers is summed at once."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mixanalysis import distributed
from mixanalysis.datasets import Dataset
from mixanalysis.errors import UsageError
from mixanalysis.features import Batch
from mixanalysis.similarity.estimators.batch_sums import GROUPS
from mixanalysis.similarity.estimators.centring import LOST, Centred
from mixanalysis.similarity.estimators.estimator import Estimator
from mixanalysis.similarity.estimators.hsic_sums import HSICSums, MinibatchPass
from mixanalysis.similarity.estimators.kernels import SMALLEST_BATCH
from mixanalysis.similarity.estimators.layer_pairs import LayerPairs
from mixanalysis.similarity.estimators.measures import companions
from mixanalysis.similarity.estimators.observed_layers import INPUT, checked
from mixanalysis.similarity.estimators.permutations import permuted
from mixanalysis.similarity.estimators.plan import Plan
from mixanalysis.similarity.estimators.ratios import jackknife_interval, ratio
from mixanalysis.similarity.progress import Progress
from mixanalysis.similarity.sources.batches import RawBatch, batches_of, inputs, raw_batches
from mixanalysis.similarity.sources.source import Layer, Source


def minibatch_pass(
    sources: Sequence[Source], data: Dataset | Sequence[Batch], plan: Plan, progress: Progress | None = None
) -> MinibatchPass:
    """Sum HSIC over batches; under torchrun every process takes its share of whole batches.

    Data without a batch are a UsageError; layers that change from batch to batch are a DataError.

    Args:
        sources: the networks.
        data: what they run on.
        plan: how the data are gone through.
        progress: called after each batch.

    Returns:
        The sums over all batches, the same in every process.
    """
    here = distributed.world()
    resumed = None if plan.resume is None else plan.resume.load()
    done = frozenset[int]() if resumed is None else resumed.sums.record.done
    own = resumed if here.leads else None
    total = batches_of(data, plan.batch_size)
    for raw in raw_batches(data, plan.batch_size):
        if raw.index not in done and raw.index % here.size == here.rank:
            own = _with_batch(own, sources, raw, plan)
            if plan.resume is not None:
                plan.resume.save(own)
        if progress is not None:
            progress(raw.index + 1, max(total, raw.index + 1))
        # an interrupted run has passed all checks before its last batch
        due = plan.tolerance > 0 and (raw.index + 1) % GROUPS == 0 and max(done, default=0) <= raw.index
        if due and _precise(_together(own), plan):
            break
    if own is not None and plan.resume is not None:
        plan.resume.save(own, now=True)
    return _together(own)


def _with_batch(own: MinibatchPass | None, sources: Sequence[Source], raw: RawBatch, plan: Plan) -> MinibatchPass:
    """Return the pass with one more batch; too short a batch is run only where nothing else tells the layers."""
    if raw.examples < SMALLEST_BATCH and own is not None:
        return MinibatchPass(own.layers, own.sums + own.sums.of_short_batch(raw.index, raw.examples))
    layers, reasons, triangles = _observed(sources, raw, plan.estimator, None if own is None else own.layers)
    if own is None:
        names = tuple(tuple(layer.name for layer in part) for part in layers)
        pairs = LayerPairs(names, within=len(sources) == 1)
        own = MinibatchPass(layers, HSICSums.zero(pairs, plan.measures, plan.permutations))
    if raw.examples < SMALLEST_BATCH:
        return MinibatchPass(own.layers, own.sums + own.sums.of_short_batch(raw.index, raw.examples))
    centred, blocks = Centred.of(triangles), own.sums.pairs.blocks
    if any(_single(triangles, centred)):
        # one far-away example, for instance: run again, with products in float64
        _, reasons, triangles = _observed(sources, raw, plan.estimator, own.layers, double=True)
        centred = Centred.of(triangles)
        # of stored Gram matrices there is no better version
        lost = {place: LOST for place, single in enumerate(_single(triangles, centred)) if single}
        reasons = lost | reasons
    batch = own.sums.of_batch(
        centred,
        raw.index,
        reasons,
        companions(triangles, plan.measures, blocks) if plan.measures else None,
        permuted(centred, blocks, plan.permutations, plan.seed, raw.index) if plan.permutations else None,
    )
    return MinibatchPass(own.layers, own.sums + batch)


def _observed(
    sources: Sequence[Source],
    raw: RawBatch,
    estimator: Estimator,
    before: tuple[tuple[Layer, ...], ...] | None,
    *,
    double: bool = False,
) -> tuple[tuple[tuple[Layer, ...], ...], dict[int, str], list[Tensor]]:
    """Return the layers of a batch, why some have no features, and lower triangles of their Gram matrices."""
    triangle = functools.partial(estimator.kernel.triangle, double=double)
    observations = [source.observe(raw, triangle) for source in sources]
    layers, reasons = checked(sources, observations, before, raw.index)
    values = [value for observation in observations for value in observation.values]
    if estimator.covariate:
        layers = (*layers, INPUT)
        values.append(triangle(inputs(raw)))
    return layers, reasons, _present(values, raw.examples)


def _single(triangles: Sequence[Tensor], centred: Centred) -> list[bool]:
    """Return for each layer whether its Gram matrix is in float32 and needs float64."""
    imprecise = centred.imprecise.tolist()
    return [each.dtype != torch.float64 and bad for each, bad in zip(triangles, imprecise, strict=True)]


def _present(values: Sequence[Tensor | None], examples: int) -> list[Tensor]:
    """Return the values, with zeros where there are no features."""
    like = next((value for value in values if value is not None), torch.zeros(examples, examples))
    return [torch.zeros_like(like) if value is None else value.to(like.device) for value in values]


def _together(own: MinibatchPass | None) -> MinibatchPass:
    """Return the passes of all processes as one, the same in each.

    Raises:
        UsageError: no process has a batch.
    """
    parts = [part for part in distributed.gathered(own) if part is not None]
    if not parts:
        raise UsageError("the data hold no batch")
    return functools.reduce(operator.add, parts)


def _precise(reached: MinibatchPass, plan: Plan) -> bool:
    """Return whether the widest interval of all cells is narrow enough."""
    bias, covariate = plan.estimator.bias, -1 if plan.estimator.covariate else None
    values = ratio(reached.sums.hsic(bias), covariate)
    low, high = jackknife_interval(values, ratio(reached.sums.left_out_hsic(bias), covariate))
    widths = (high - low)[np.isfinite(high - low)]
    return bool(len(widths)) and float(widths.max()) / 2 <= plan.tolerance
