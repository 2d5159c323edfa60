"""Layerwise CKA of any number of networks: one pass over the data, every pair of layers at once."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from mixanalysis.datasets import Dataset, open_dataset
from mixanalysis.errors import DataError, NothingToAnalyseError, UsageError
from mixanalysis.features import Position, capturing, tap_paths
from mixanalysis.models import Network
from mixanalysis.results import CKA_CELLS, CKA_DIAGONAL, records
from mixanalysis.similarity.accumulator import HSICSums, jackknife_interval, triangle
from mixanalysis.similarity.hsic import SMALLEST_BATCH

ESTIMATOR = "cka/kernel=linear/hsic=unbiased/batches=mean"
"""Identifier of the mini-batch estimator of Nguyen et al. (2021), with all its choices."""

BATCH_SIZE = 64


@dataclass(frozen=True, eq=False)
class Subject:
    """A module whose layers are compared.

    Attributes:
        label: name of the network, unique among those compared.
        module: any torch module that maps a batch of images to anything.
        paths: for each layer's label, the path of the submodule whose output is its feature.
        roles: for each layer's label, what it mixes; "" where unknown.
        input_shape: (channels, height, width) of its images, or None to take the data as they are.
        features: which tensors these are, for the table.
        config: the network's configuration, where it is known.
        seed: of its training, where that is recorded.
        trained: whether it was trained at all, None where that isn't recorded.
    """

    label: str
    module: nn.Module
    paths: Mapping[str, str]
    roles: Mapping[str, str] = field(default_factory=dict)
    input_shape: tuple[int, int, int] | None = None
    features: str = "module outputs, flattened"
    config: object = None
    seed: int | None = None
    trained: bool | None = None

    @classmethod
    def of(
        cls,
        network: Network,
        position: Position = "before-skip",
        layers: Callable[[str], bool] = lambda _name: True,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Subject:
        """A network's mixing blocks, those that `layers` keeps by their names.

        Raises:
            NothingToAnalyseError: no block is kept.
        """
        paths = {name: path for name, path in tap_paths(network, position).items() if layers(name)}
        if not paths:
            some = ", ".join(tap.name for tap in network.taps[:4])
            raise NothingToAnalyseError(f"{network.label}: no block left to analyse; blocks are called {some}, ...")
        module = network.module()
        if device != "cpu" or dtype is not None:
            module = copy.deepcopy(module).to(device, dtype)
        return cls(
            network.label,
            module,
            paths,
            {tap.name: tap.role for tap in network.taps},
            network.config.input_shape,
            f"block outputs {position.replace('-', ' ')}, flattened",
            network.config,
            network.provenance.training.get("seed"),
            network.trained,
        )


@dataclass(frozen=True, eq=False)
class CKAResult:
    """CKA of every pair of networks.

    Attributes:
        cells: a row per pair of layers (`results.CKA_CELLS`).
        diagonal: a row per pair of networks (`results.CKA_DIAGONAL`).
        warnings: what was left out or is undefined, one line each.
    """

    cells: pd.DataFrame
    diagonal: pd.DataFrame
    warnings: tuple[str, ...] = ()

    @property
    def matrix(self) -> pd.DataFrame:
        """Layers of the first network by layers of the second, for the first pair."""
        return self.pair(*self.diagonal.iloc[0][["network_a", "network_b"]])

    def pair(self, network_a: str, network_b: str, column: str = "value") -> pd.DataFrame:
        """Layers by layers of one pair."""
        cells = self.cells[(self.cells["network_a"] == network_a) & (self.cells["network_b"] == network_b)]
        matrix = cells.pivot_table(column, "index_a", "index_b", dropna=False)
        matrix.index = pd.Index(cells.drop_duplicates("index_a")["layer_a"], name=network_a)
        matrix.columns = pd.Index(cells.drop_duplicates("index_b")["layer_b"], name=network_b)
        return matrix

    def to_frame(self) -> pd.DataFrame:
        """The cells."""
        return self.cells

    def to_json(self) -> dict[str, Any]:
        """JSON-ready data."""
        return {
            "cka": records(self.cells),
            "cka_diagonal": records(self.diagonal),
            "warnings": list(self.warnings),
        }


def cka(
    *networks: Network | Subject,
    data: str | Dataset = "digits",
    position: Position = "before-skip",
    layers: Callable[[str], bool] = lambda _name: True,
    batch_size: int = BATCH_SIZE,
    limit: int | None = None,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CKAResult:
    """Mini-batch CKA with the unbiased HSIC_1 between all layers of all pairs of networks.

    Every network runs once per batch, in eval mode, on the same images in the same order.

    Args:
        networks: one (compared with itself) or more, with different labels.
        data: a data set or its name.
        position: block outputs before the skip is added (HK's choice) or after it.
        layers: keeps a network's block by its name.
        batch_size: images per batch, at least 4.
        limit: use only the first images.
        device: where the networks run.
        dtype: precision of the forward pass, that of the checkpoint by default.
        progress: called after each batch with the batches done and in all.

    Returns:
        Values with 95% delete-one-group jackknife intervals over batches.

    Raises:
        UsageError: no network, labels that repeat, or too few images or too small batches for HSIC_1.
        DataError: the data can't be read or don't fit a network, or a feature is not finite.
    """
    subjects = [
        network if isinstance(network, Subject) else Subject.of(network, position, layers, device, dtype)
        for network in networks
    ]
    _check(subjects, batch_size)
    dataset = data if isinstance(data, Dataset) else open_dataset(data, shape=subjects[0].input_shape)
    dataset = dataset.first(limit)
    sums = accumulate(subjects, dataset, batch_size, progress)
    warnings = []
    if sums.left_out:
        warnings.append(f"the last {sums.left_out} images were left out: a batch needs {SMALLEST_BATCH}")
    return _result(subjects, sums, dataset, batch_size, warnings)


def _check(subjects: Sequence[Subject], batch_size: int) -> None:
    if not subjects:
        raise UsageError("CKA needs at least one network")
    labels = [subject.label for subject in subjects]
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise UsageError(f"several networks are called {', '.join(repeated)}; give each its own label")
    if batch_size < SMALLEST_BATCH:
        raise UsageError(f"--batch-size must be at least {SMALLEST_BATCH} for HSIC_1, got {batch_size}")


def accumulate(
    subjects: Sequence[Subject],
    dataset: Dataset,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> HSICSums:
    """Run every network on every batch and sum HSIC_1 of all pairs of their layers."""
    sums = HSICSums(tuple(key for subject in subjects for key in _keys(subject)))
    inputs = [
        (dataset if subject.input_shape is None else dataset.at(subject.input_shape)).batches(batch_size)
        for subject in subjects
    ]
    batches: Iterator[tuple[Tensor, ...]] = zip(*inputs, strict=True)
    total = -(-len(dataset) // batch_size)
    for index, batch in enumerate(batches):
        examples = len(batch[0])
        if examples < SMALLEST_BATCH:
            sums.skip(examples)
        else:
            triangles: dict[str, Tensor] = {}
            for subject, images in zip(subjects, batch, strict=True):
                triangles |= _triangles(subject, images, index * batch_size)
            sums.update(triangles, index, examples)
        if progress is not None:
            progress(index + 1, total)
    return sums


def _keys(subject: Subject) -> list[str]:
    return [f"{subject.label}\0{layer}" for layer in subject.paths]


@torch.inference_mode()
def _triangles(subject: Subject, images: Tensor, first: int) -> dict[str, Tensor]:
    triangles: dict[str, Tensor] = {}

    def receive(layer: str, features: Tensor) -> None:
        half = triangle(features)
        if not bool(half.isfinite().all()):
            bad = torch.nonzero(~features.isfinite().all(dim=1)).flatten()
            where = f"image {first + int(bad[0])}" if len(bad) else f"the batch from image {first} on"
            raise DataError(f"{subject.label}: features of {layer} are not finite for {where}")
        triangles[f"{subject.label}\0{layer}"] = half

    module, modes = subject.module, {part: part.training for part in subject.module.modules()}
    parameter = next(module.parameters(), None)
    module.eval()
    try:
        with capturing(module, subject.paths, receive):
            module(images if parameter is None else images.to(parameter.device, parameter.dtype))
    finally:
        for part, training in modes.items():
            part.training = training
    return triangles


def _result(
    subjects: Sequence[Subject], sums: HSICSums, dataset: Dataset, batch_size: int, warnings: list[str]
) -> CKAResult:
    values, left_out = sums.cka(), sums.jackknife()
    low, high = jackknife_interval(values, left_out)
    starts = np.cumsum([0, *(len(subject.paths) for subject in subjects)])
    spans = [slice(starts[i], starts[i + 1]) for i in range(len(subjects))]
    common = {"estimator": ESTIMATOR, "data": f"{dataset.name} ({dataset.split})", "n": sums.examples}
    cells: list[dict[str, Any]] = []
    diagonal: list[dict[str, Any]] = []
    pairs = list(itertools.combinations(range(len(subjects)), 2)) or [(0, 0)]
    for i, j in pairs:
        a, b = subjects[i], subjects[j]
        block = (spans[i], spans[j])
        names = {"network_a": a.label, "network_b": b.label}
        shared = common | names | {"features": _joint(a.features, b.features)}
        more = {"batches": int(sums.batches.sum()), "batch_size": min(batch_size, len(dataset))}
        cells += _cells(a, b, values[block], low[block], high[block], shared | more)
        diagonal.append(shared | {"relation": _relation(a, b)} | _diagonal(values[block], left_out[:, *block]))
    warnings += [
        f"{subject.label}: CKA with {layer} is undefined: its HSIC with itself is zero, as that of constant features"
        for subject, span in zip(subjects, spans, strict=True)
        for layer, own in zip(subject.paths, np.diagonal(values)[span], strict=True)
        if np.isnan(own)
    ]
    return CKAResult(CKA_CELLS.frame(cells), CKA_DIAGONAL.frame(diagonal), tuple(warnings))


def _cells(
    a: Subject,
    b: Subject,
    values: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    shared: Mapping[str, Any],
) -> list[dict[str, Any]]:
    return [
        {
            **shared,
            "layer_a": layer_a,
            "layer_b": layer_b,
            "role_a": a.roles.get(layer_a, ""),
            "role_b": b.roles.get(layer_b, ""),
            "index_a": x,
            "index_b": y,
            "value": values[x, y],
            "low": low[x, y],
            "high": high[x, y],
            "status": "constant features" if np.isnan(values[x, y]) else "ok",
        }
        for x, layer_a in enumerate(a.paths)
        for y, layer_b in enumerate(b.paths)
    ]


def _diagonal(values: np.ndarray, left_out: np.ndarray) -> dict[str, Any]:
    rows, columns = values.shape
    if rows != columns:
        nothing = dict.fromkeys(("mean", "low", "high"), np.nan)
        return nothing | {"blocks": 0, "status": f"{rows} against {columns} blocks: there is no diagonal"}
    mean = np.array(np.diagonal(values).mean())
    low, high = jackknife_interval(mean, np.diagonal(left_out, axis1=1, axis2=2).mean(axis=1))
    status = "a block's CKA is undefined" if np.isnan(mean) else "ok"
    return {"blocks": rows, "mean": float(mean), "low": float(low), "high": float(high), "status": status}


def _joint(a: str, b: str) -> str:
    return a if a == b else f"{a} | {b}"


def _relation(a: Subject, b: Subject) -> str:
    if a is b:
        return "itself"
    if False in (a.trained, b.trained):
        return "untrained"
    same = a.config is not None and a.config == b.config
    return "other seed" if same and None not in (a.seed, b.seed) and a.seed != b.seed else ""
