"""Layerwise CKA of any number of networks: one pass over the data, every pair of layers at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from torch import nn

from mixanalysis import representation
from mixanalysis.datasets import Dataset, open_dataset
from mixanalysis.errors import UsageError
from mixanalysis.features import Batch, Pooling, Position
from mixanalysis.network import Network
from mixanalysis.results import records
from mixanalysis.similarity import cka_tables
from mixanalysis.similarity.estimators.estimator import Covariate, Estimator
from mixanalysis.similarity.estimators.full_batch import full_batch_pass
from mixanalysis.similarity.estimators.kernels import SMALLEST_BATCH, KernelName
from mixanalysis.similarity.estimators.measures import check_measures
from mixanalysis.similarity.estimators.minibatch import minibatch_pass
from mixanalysis.similarity.estimators.permutations import check_permutations
from mixanalysis.similarity.estimators.plan import MEMORY, Plan
from mixanalysis.similarity.partial_results.hsic import Resume
from mixanalysis.similarity.progress import Progress
from mixanalysis.similarity.schemas import SIMILARITY
from mixanalysis.similarity.sources.extractors import FeatureExtractor
from mixanalysis.similarity.sources.feature_files.read import Stored
from mixanalysis.similarity.sources.source import Control

BATCH_SIZE = 64


@dataclass(frozen=True, eq=False)
class CKAResult:
    """CKA of every pair of networks.

    Attributes:
        cells: a row per pair of layers (`CKA_CELLS`).
        diagonal: a row per pair of networks (`CKA_DIAGONAL`).
        layers: a row per layer of each network (`CKA_LAYERS`).
        warnings: what was left out or is undefined, one line each.
        companions: a row per measure and pair of layers (`SIMILARITY`); empty where none was asked for.
    """

    cells: pd.DataFrame
    diagonal: pd.DataFrame
    layers: pd.DataFrame
    warnings: tuple[str, ...] = ()
    companions: pd.DataFrame = field(default_factory=lambda: SIMILARITY.frame(()))

    @property
    def matrix(self) -> pd.DataFrame:
        """Layers of the first network by layers of the second, for the first pair."""
        return self.pair(*self.diagonal.iloc[0][["network_a", "network_b"]])

    def pair(self, network_a: str, network_b: str, column: str = "value") -> pd.DataFrame:
        """Return the values of one pair, layers by layers."""
        cells = self.cells[(self.cells["network_a"] == network_a) & (self.cells["network_b"] == network_b)]
        matrix = cells.pivot_table(column, "index_a", "index_b", dropna=False)
        matrix.index = pd.Index(cells.drop_duplicates("index_a")["layer_a"], name=network_a)
        matrix.columns = pd.Index(cells.drop_duplicates("index_b")["layer_b"], name=network_b)
        return matrix

    def __repr__(self) -> str:
        pairs = ", ".join(f"{row.network_a} – {row.network_b} {row.mean:.4f}" for row in self.diagonal.itertuples())
        return f"<CKAResult, mean of the diagonal: {pairs}; see .matrix, .diagonal, .cells, .layers, .warnings>"

    def _repr_html_(self) -> str:
        names = ["network_a", "network_b", "relation", "mean", "low", "high", "blocks", "n", "status"]
        means = representation.table("CKA: mean of the diagonal", self.diagonal[names])
        title = f"{self.matrix.index.name} by {self.matrix.columns.name}"
        return means + representation.table(title, self.matrix, index=True) + representation.notes(self.warnings)

    def to_frame(self) -> pd.DataFrame:
        """Return the cells."""
        return self.cells

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready data."""
        return {
            "cka": records(self.cells),
            "cka_diagonal": records(self.diagonal),
            "cka_layers": records(self.layers),
            "similarity": records(self.companions),
            "warnings": list(self.warnings),
        }


def cka(
    *networks: Network | FeatureExtractor | Stored | nn.Module,
    data: str | Dataset | Sequence[Batch] = "digits",
    estimator: str = "minibatch",
    kernel: KernelName = "linear",
    bandwidth: float = 1.0,
    covariate: Covariate = "",
    position: Position = "before-skip",
    pooling: Pooling = "flatten",
    taps: Sequence[str] = (),
    batch_axis: int | None = None,
    layers: Callable[[str], bool] = lambda _name: True,
    batch_size: int = BATCH_SIZE,
    limit: int | None = None,
    tolerance: float = 0.0,
    measures: Sequence[str] = (),
    permutations: int = 0,
    seed: int = 0,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    controls: Sequence[Control] = (),
    resume: Resume | None = None,
    memory: int = MEMORY,
    progress: Progress | None = None,
) -> CKAResult:
    """CKA between all layers of all pairs of networks, in one pass over the data.

    What can't be compared is a UsageError: no network, something else than a network, labels that repeat, too few
    images or too small batches for HSIC_1, an unknown choice, or a full-data estimator with a tolerance or in several
    processes. Data that can't be read or don't fit a network are a DataError, and so are features of which none is
    finite.

    Args:
        networks: one (compared with itself) or more, with different labels; a plain module is labelled by its
            class and its place; a `Stored` one isn't run, but read from its file.
        data: a data set, its name, or batches (tensors; tables of named tensors; or sequences whose first item is
            one of these, as a loader gives them).
        estimator: "minibatch" (mean of the unbiased HSIC_1 over batches, Nguyen et al. 2021), "minibatch-biased",
            "full" (HSIC_1 over all examples at once) or "full-biased" (Kornblith et al. 2019).
        kernel: "linear" or "rbf".
        bandwidth: of the RBF kernel, in median distances.
        covariate: "input" regresses the inputs' Gram matrix out (Cui et al. 2022).
        position: block outputs before the skip is added (HK's choice) or after it.
        pooling: all of an example's features, their mean over tokens, or the first token's.
        taps: patterns of the submodules of a plain module whose outputs are compared; all without parts by default.
        batch_axis: axis of examples in a plain module's outputs of three or more axes; found by running it on a few
            examples, and on one less, by default.
        layers: keeps a network's block by its name.
        batch_size: images per batch, at least 4; batches that are given as such keep their own size.
        limit: use only the first images.
        tolerance: stop once every interval is at most this wide to either side; checked every 32 batches; for
            mini-batch estimators.
        measures: companions of CKA, each batch for itself: "procrustes", "mutual-knn", "rsa", "angular" (a distance,
            0 to pi/2), "svcca" (biased upwards unless the images are many beside the dimensions kept); see
            `measures.MEASURES`. For mini-batch estimators.
        permutations: random pairings of each batch's examples for p-values of the unbiased HSIC; for mini-batch
            estimators that regress nothing out.
        seed: of these pairings.
        device: where the networks run.
        dtype: precision of the forward pass, that of the checkpoint by default.
        controls: for each network, "floor", "ceiling" or "".
        resume: keeps finished batches, and finds those of a killed run; full-data estimators start anew.
        memory: bytes of features that a full-data estimator holds in memory, 4 GiB by default; the layers for which
            there is no room lie in temporary files.
        progress: called after each batch with the batches done and in all.

    Returns:
        Values with 95% delete-one-group jackknife intervals over batches, or over up to 16 groups of consecutive
        images for full-data estimators.
    """
    chosen = Estimator.of(estimator, kernel, bandwidth, covariate)
    control_of = dict(enumerate(controls))
    sources = [
        _source(network, place, position, pooling, taps, batch_axis, layers, device, dtype, control_of.get(place, ""))
        for place, network in enumerate(networks)
    ]
    _check([source.label for source in sources], batch_size)
    for source in sources:
        if isinstance(source, Stored):
            source.check(chosen)
    dataset: Dataset | Sequence[Batch] = data if not isinstance(data, str) else _named(data, sources)
    if isinstance(dataset, Dataset):
        dataset = dataset.first(limit)
    check_permutations(permutations, seed, covariate)
    plan = Plan(chosen, batch_size, tolerance, resume, memory, check_measures(measures), permutations, seed)
    estimates = (full_batch_pass if chosen.full else minibatch_pass)(sources, dataset, plan, progress)
    cells, diagonal, rows, warnings = cka_tables.tables(sources, estimates, chosen, dataset, batch_size)
    running = [source for source in sources if isinstance(source, FeatureExtractor)]
    warnings = (*warnings, *(warning for source in running if (warning := source.in_parts)))
    others = cka_tables.companions(sources, estimates, chosen, dataset, batch_size)
    return CKAResult(cells, diagonal, rows, warnings, others)


def _check(labels: Sequence[str], batch_size: int) -> None:
    """Refuse no network, labels that repeat, and batches too small for HSIC_1.

    Raises:
        UsageError: one of these is given.
    """
    if not labels:
        raise UsageError("CKA needs at least one network")
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise UsageError(f"several networks are called {', '.join(repeated)}; give each its own label")
    if batch_size < SMALLEST_BATCH:
        raise UsageError(f"--batch-size must be at least {SMALLEST_BATCH} for HSIC_1, got {batch_size}")


def _named(name: str, sources: Sequence[FeatureExtractor | Stored]) -> Dataset:
    shapes = [source.input_shape for source in sources if isinstance(source, FeatureExtractor) and source.input_shape]
    return open_dataset(name, shape=shapes[0] if shapes else None)


def _source(
    network: Network | FeatureExtractor | Stored | nn.Module,
    place: int,
    position: Position,
    pooling: Pooling,
    taps: Sequence[str],
    batch_axis: int | None,
    layers: Callable[[str], bool],
    device: str,
    dtype: torch.dtype | None,
    control: Control,
) -> FeatureExtractor | Stored:
    if isinstance(network, FeatureExtractor | Stored):
        return network
    if isinstance(network, Network):
        return FeatureExtractor.of(network, position, layers, device, dtype, pooling, control)
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise UsageError(f"expected networks as load() gives them, or torch modules, got a {kind}; load a file first")
    return FeatureExtractor.module_of(f"{type(network).__name__} {place + 1}", network, taps, pooling, batch_axis)
