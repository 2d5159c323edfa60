"""Keeping a network's layers in a file, batch by batch, so that it needn't run again."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mixanalysis._version import __version__
from mixanalysis.datasets import Dataset
from mixanalysis.errors import DataError, UsageError
from mixanalysis.files import atomic_write
from mixanalysis.network import to_dict
from mixanalysis.similarity.estimators.centring import LOST, Centred
from mixanalysis.similarity.estimators.kernels import SMALLEST_BATCH, Kernel
from mixanalysis.similarity.partial_results.features import Reached, Unfinished
from mixanalysis.similarity.progress import Progress
from mixanalysis.similarity.sources.batches import RawBatch, raw_batches
from mixanalysis.similarity.sources.extractors import FeatureExtractor
from mixanalysis.similarity.sources.feature_files.metadata import DIGESTS, FORMAT, KEY, What, tensor_name, triangle
from mixanalysis.similarity.sources.feature_files.tensor_file import Spec, TensorFile
from mixanalysis.similarity.sources.source import Layer

_REASON = 100
"""Characters of the longest reason why a layer has no features."""


def store(
    extractor: FeatureExtractor,
    data: Dataset,
    path: Path,
    *,
    what: What = "grams",
    kernel: Kernel | None = None,
    batch_size: int = 64,
    sha256: str = "",
    unfinished: Unfinished | None = None,
    progress: Progress | None = None,
) -> None:
    """Run a network on all batches and keep its layers; never more than one of them in memory.

    A network that fails on a batch, or whose layers change from batch to batch, is a DataError.

    Args:
        extractor: the network.
        data: what it runs on.
        path: the file; replaced once all is written.
        what: "grams" (n (n + 1)/2 numbers for each layer and batch of n images) or "features" (n d numbers).
        kernel: of the Gram matrices, linear by default.
        batch_size: images per batch.
        sha256: of the network's checkpoint, for the record.
        unfinished: where the file is while it is under way, and what a run of the same key goes on from.
        progress: called after each batch with the batches done and in all.

    Raises:
        UsageError: `what` is unknown.
    """
    if what not in ("grams", "features"):
        raise UsageError(f"what is kept must be grams or features, got {what!r}")
    kernel = kernel or Kernel()
    facts = {
        "format": FORMAT,
        "written_by": f"mixanalysis {__version__}",
        "label": extractor.label,
        "family": getattr(extractor.config, "family", None),
        "config": to_dict(extractor.config) if dataclasses.is_dataclass(extractor.config) else None,
        "seed": extractor.seed,
        "trained": extractor.trained,
        "density": extractor.density,
        "description": extractor.description,
        "network_sha256": sha256,
        "what": what,
        "kernel": dataclasses.asdict(kernel),
        "batch_size": batch_size,
        "data": {"name": data.name, "split": data.split, "fingerprint": data.fingerprint},
        "examples": len(data),
    }
    if unfinished is None:
        with atomic_write(path) as temporary:
            _fill(temporary, extractor, data, facts, kernel, None, progress)
        return
    if not unfinished.load().whole:
        try:
            unfinished.folder.mkdir(parents=True, exist_ok=True)
            _fill(unfinished.path, extractor, data, facts, kernel, unfinished, progress)
        finally:
            unfinished.tidy()
    unfinished.give(path)


def _fill(
    path: Path,
    extractor: FeatureExtractor,
    data: Dataset,
    facts: dict[str, Any],
    kernel: Kernel,
    unfinished: Unfinished | None,
    progress: Progress | None,
) -> None:
    what, size = facts["what"], facts["batch_size"]
    rows = [min(size, len(data) - first) for first in range(0, len(data), size)]
    # the first batch runs twice: shapes come first in the file
    columns = _columns(extractor, next(raw_batches(data, size)), what, kernel)
    specs = {tensor_name(what, column.layer.name): column.spec(rows) for column in columns if column.dtype}
    specs[DIGESTS] = Spec(torch.uint8, (len(rows), 32))
    facts["layers"] = [column.layer for column in columns]
    longest = {str(position): "x" * _REASON for position in range(len(columns))}
    reached = Reached(0, 0, {}) if unfinished is None else unfinished.load()
    with TensorFile(path, specs, {KEY: json.dumps(facts | {"reasons": longest})}, anew=reached.batches == 0) as file:
        writer = _Writer(extractor, columns, what, kernel, file, reached.reasons, reached.start)
        for raw in raw_batches(data, size):
            if raw.index >= reached.batches:
                writer.add(raw)
                if unfinished is not None and unfinished.due():
                    file.flush()
                    unfinished.save(Reached(raw.index + 1, writer.start, writer.reasons))
            if progress is not None:
                progress(raw.index + 1, len(rows))
        file.finish({KEY: json.dumps(facts | {"reasons": writer.reasons})})
    if unfinished is not None:
        unfinished.finish(Reached(len(rows), writer.start, writer.reasons))


@dataclass(frozen=True)
class _Column:
    """A layer as the first batch shows it.

    Attributes:
        layer: its name, role and size.
        dtype: of what is kept; None where it never ran.
        scale: a power of two by which its Gram matrices are multiplied: similarities don't see it, and float32 holds
            them whatever the size of the features.
    """

    layer: Layer
    dtype: torch.dtype | None
    scale: float = 1.0
    grams: bool = True

    def spec(self, rows: list[int]) -> Spec:
        """Return dtype and shape of the layer's tensor, for batches of so many rows."""
        assert self.dtype is not None
        if self.grams:
            return Spec(self.dtype, (sum(triangle(n) for n in rows),))
        return Spec(self.dtype, (sum(rows), self.layer.size))


def _columns(extractor: FeatureExtractor, raw: RawBatch, what: What, kernel: Kernel) -> list[_Column]:
    formats: list[tuple[torch.dtype, float]] = []

    def look(features: Tensor) -> Tensor:
        if what == "features":
            formats.append((features.dtype, 1.0))
        else:
            matrix = kernel.triangle(features)
            size = 0.0 if matrix is None else float(matrix.diagonal().double().mean())
            formats.append((torch.float32, 2.0 ** -math.frexp(size)[1] if size > 0 else 1.0))
        return features[:0]

    layers = extractor.observe(raw, look).layers
    kept: list[tuple[torch.dtype | None, float]] = [*formats, *[(None, 1.0)] * (len(layers) - len(formats))]
    return [_Column(layer, dtype, scale, what == "grams") for layer, (dtype, scale) in zip(layers, kept, strict=True)]


@dataclass
class _Writer:
    """Writes one batch after the other.

    Attributes:
        extractor: the network.
        columns: its layers.
        what: what is kept.
        kernel: of the Gram matrices.
        file: where to.
        reasons: for layers by their positions, why they have no similarity in some batch, the first one.
        start: cells of a layer's triangles so far.
    """

    extractor: FeatureExtractor
    columns: list[_Column]
    what: What
    kernel: Kernel
    file: TensorFile
    reasons: dict[str, str] = field(default_factory=dict)
    start: int = 0

    def add(self, raw: RawBatch) -> None:
        """Run the network on a batch and write its layers."""
        runs = iter(column for column in self.columns if column.dtype is not None)

        def keep(features: Tensor) -> Tensor | None:
            column = next(runs, None)
            if column is None or (self.what == "features" and features.shape[1] != column.layer.size):
                raise self._changed(raw.index)
            name = tensor_name(self.what, column.layer.name)
            if self.what == "features":
                self.file.write(name, raw.first, features)
                return features[:0] if bool(features.isfinite().all()) else None
            matrix = self.kernel.triangle(features)
            if matrix is not None and _lost_in_float32(matrix):
                self.reasons.setdefault(str(self.columns.index(column)), LOST)
                matrix = None
            cells = torch.full((triangle(raw.examples),), math.nan)
            if matrix is not None:
                cells = (matrix[torch.tril_indices(*matrix.shape).unbind()].double() * column.scale).float()
            self.file.write(name, self.start, cells)
            return cells[:0] if bool(cells.isfinite().all()) else None

        observation = self.extractor.observe(raw, keep)
        if [layer.name for layer in observation.layers] != [column.layer.name for column in self.columns]:
            raise self._changed(raw.index)
        for position, reason in observation.reasons.items():
            self.reasons.setdefault(str(position), reason[:_REASON])
        self.file.write(DIGESTS, raw.index, torch.frombuffer(bytearray(raw.digest), dtype=torch.uint8))
        self.start += triangle(raw.examples)

    def _changed(self, index: int) -> DataError:
        return DataError(
            f"{self.extractor.label}: its modules run in another order, number or size in batch {index} than before, "
            "so that one file can't hold their features; choose other modules, or pool over tokens"
        )


def _lost_in_float32(matrix: Tensor) -> bool:
    """Return whether a Gram matrix can't be kept in float32, whatever precision it was formed in."""
    return len(matrix) >= SMALLEST_BATCH and bool(Centred.of([matrix.float()]).imprecise[0])
