"""One pass over the data: every network once per batch, HSIC of all pairs of layers at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mixanalysis import distributed
from mixanalysis.datasets import Dataset
from mixanalysis.errors import DataError, UsageError
from mixanalysis.features import Batch
from mixanalysis.similarity.accumulator import GROUPS, HSICSums, Pass, combined, jackknife_interval, ratio
from mixanalysis.similarity.estimators import Estimator
from mixanalysis.similarity.extractors import Control, Layer, Observation, RawBatch, inputs, raw_batches
from mixanalysis.similarity.grams import SMALLEST_BATCH, Centred
from mixanalysis.similarity.measures import companions
from mixanalysis.similarity.partial_results import Resume
from mixanalysis.similarity.permutations import permuted

INPUT = (Layer("input", "", 0),)
"""Stands last where the input is regressed out."""

MEMORY = 4 * 2**30
"""Bytes of features that full-data estimators hold in memory; what comes after lies in files."""

Progress = Callable[[int, int], None]


class Source(Protocol):
    """Where a network's features come from, batch by batch: a module that runs, or a file that was kept."""

    @property
    def label(self) -> str:
        """Name of the network."""

    @property
    def description(self) -> str:
        """Which tensors are compared, and what of them is kept."""

    @property
    def config(self) -> object:
        """The network's configuration, None where it isn't known."""

    @property
    def seed(self) -> int | None:
        """Of its training."""

    @property
    def trained(self) -> bool | None:
        """Whether it was trained at all."""

    @property
    def control(self) -> Control:
        """What it stands for."""

    @property
    def density(self) -> float | None:
        """Mean density p of its mixing layers."""

    def observe(self, raw: RawBatch, make: Callable[[Tensor], Tensor | None]) -> Observation:
        """Its layers for one batch, with what `make` made of their features."""


@dataclass(frozen=True)
class Plan:
    """How the data are gone through.

    Attributes:
        estimator: which CKA is wanted.
        batch_size: images per batch.
        tolerance: stop once no interval is wider than this to either side; 0 for all data.
        resume: where finished batches are kept, or None.
        memory: bytes of features that full-data estimators hold in memory; what comes after lies in files.
        measures: names of companion measures.
        permutations: random pairings of each batch's examples.
        seed: of these.
    """

    estimator: Estimator = field(default_factory=Estimator)
    batch_size: int = 64
    tolerance: float = 0.0
    resume: Resume | None = None
    memory: int = MEMORY
    measures: tuple[str, ...] = ()
    permutations: int = 0
    seed: int = 0


def stream(
    sources: Sequence[Source], data: Dataset | Sequence[Batch], plan: Plan, progress: Progress | None = None
) -> Pass:
    """Sum HSIC over batches; under torchrun every process takes its share of whole batches.

    Raises:
        UsageError: no module ran, no batch was long enough, or the data are empty.
        DataError: a network's layers change from batch to batch.
    """
    here = distributed.world()
    found = None if plan.resume is None else plan.resume.load()
    done = set() if found is None else set(found.sums.done)
    own: Pass | None = found if here.leads else None
    total = batches_of(data, plan.batch_size)
    for raw in raw_batches(data, plan.batch_size):
        if raw.index not in done and raw.index % here.size == here.rank:
            own = _add(sources, raw, plan, own)
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


def batches_of(data: Dataset | Sequence[Batch], batch_size: int) -> int:
    """How many batches there will be; 0 where the data don't tell."""
    if isinstance(data, Dataset):
        return -(-len(data) // batch_size)
    try:
        return len(data)
    except TypeError:
        return 0


def _add(sources: Sequence[Source], raw: RawBatch, plan: Plan, own: Pass | None) -> Pass:
    """Run all networks on one batch; too short a batch is run only where nothing else tells the layers."""
    if raw.examples < SMALLEST_BATCH and own is not None:
        own.sums.skip(raw.index, raw.examples)
        return own
    estimator = plan.estimator
    observations = [source.observe(raw, estimator.kernel.triangle) for source in sources]
    layers, reasons = checked(sources, observations, None if own is None else own.layers, raw.index)
    values = [value for observation in observations for value in observation.values]
    if estimator.covariate:
        layers = (*layers, INPUT)
        values.append(estimator.kernel.triangle(inputs(raw)))
    if own is None:
        names = tuple(tuple(layer.name for layer in part) for part in layers)
        own = Pass(layers, HSICSums(names, len(sources) == 1, plan.measures, plan.permutations))
    if raw.examples < SMALLEST_BATCH:
        own.sums.skip(raw.index, raw.examples)
        return own
    triangles = _present(values)
    centred = Centred.of(triangles)
    own.sums.update(centred, raw.index, reasons)
    if plan.permutations:
        own.sums.permuted += permuted(centred, own.sums.pairs, plan.permutations, plan.seed, raw.index)
    if plan.measures:
        own.sums.add_companions(raw.index, companions(triangles, plan.measures, own.sums.pairs))
    return own


def checked(
    sources: Sequence[Source],
    observations: Sequence[Observation],
    before: Sequence[Sequence[Layer]] | None,
    index: int,
) -> tuple[tuple[tuple[Layer, ...], ...], dict[int, str]]:
    """Layers of all networks in batch `index`, and for their positions among all why some have no features.

    Raises:
        DataError: the layers aren't those of the batches before, or none of a network has finite features.
    """
    layers = tuple(observation.layers for observation in observations)
    for source, expected, now in zip(sources, layers if before is None else before, layers, strict=False):
        if [layer.name for layer in expected] != [layer.name for layer in now]:
            message = (
                f"{source.label}: its modules run in another order or number in batch {index} than before, so that "
                "their features can't be matched; choose modules that run once"
            )
            raise DataError(message)
    reasons: dict[int, str] = {}
    start = 0
    for source, observation in zip(sources, observations, strict=True):
        reasons |= {start + position: reason for position, reason in observation.reasons.items()}
        start += len(observation.layers)
        if all(value is None for value in observation.values):
            layer, reason = observation.layers[0].name, observation.reasons[0]
            raise DataError(f"{source.label}: features of {layer} are {reason}, and no layer has better ones")
    return layers, reasons


def _present(values: Sequence[Tensor | None]) -> list[Tensor]:
    """The values, with zeros where there are no features."""
    like = next(value for value in values if value is not None)
    return [torch.zeros_like(like) if value is None else value.to(like.device) for value in values]


def _together(own: Pass | None) -> Pass:
    """The passes of all processes as one, the same in each."""
    states = distributed.gathered(None if own is None else (own.layers, own.sums.state_dict()))
    parts = [state for state in states if state is not None]
    if not parts:
        raise UsageError("the data hold no batch")
    if len(states) == 1 and own is not None:
        return own
    return Pass(parts[0][0], combined([HSICSums.from_state_dict(state) for _, state in parts]))


def _precise(found: Pass, plan: Plan) -> bool:
    """Whether the widest interval of all cells is narrow enough."""
    bias, covariate = plan.estimator.bias, -1 if plan.estimator.covariate else None
    values = ratio(found.sums.hsic(bias), covariate)
    low, high = jackknife_interval(values, ratio(found.sums.left_out_hsic(bias), covariate))
    widths = (high - low)[np.isfinite(high - low)]
    return bool(len(widths)) and float(widths.max()) / 2 <= plan.tolerance


def check(labels: Sequence[str], batch_size: int) -> None:
    """Refuse what can't be compared.

    Raises:
        UsageError: no network, labels that repeat, or batches too small for HSIC_1.
    """
    if not labels:
        raise UsageError("CKA needs at least one network")
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise UsageError(f"several networks are called {', '.join(repeated)}; give each its own label")
    if batch_size < SMALLEST_BATCH:
        raise UsageError(f"--batch-size must be at least {SMALLEST_BATCH} for HSIC_1, got {batch_size}")
