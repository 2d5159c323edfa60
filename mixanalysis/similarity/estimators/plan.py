"""How the data are gone through, whatever the estimator."""

from __future__ import annotations

from dataclasses import dataclass, field

from mixanalysis.similarity.estimators.estimator import Estimator
from mixanalysis.similarity.partial_results.hsic import Resume

MEMORY = 4 * 2**30
"""Bytes of features that full-data estimators hold in memory; what comes after lies in files."""


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
