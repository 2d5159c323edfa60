"""A network's features, or the Gram matrices of its layers, from a file in its place.

For each batch the file holds the SHA-256 of the inputs, so that networks are compared on the same examples in the same
order, or not at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mixanalysis.datasets import Dataset
from mixanalysis.errors import CheckpointError, DataError, NothingToAnalyseError, UsageError
from mixanalysis.network import Provenance
from mixanalysis.similarity.estimators.estimator import Estimator
from mixanalysis.similarity.estimators.kernels import Kernel
from mixanalysis.similarity.sources.batches import RawBatch
from mixanalysis.similarity.sources.feature_files.metadata import (
    DIGESTS,
    What,
    metadata_of,
    read_facts,
    tensor_name,
    triangle,
)
from mixanalysis.similarity.sources.source import Control, Layer, Observation, why_no_gram


def is_stored(path: str | Path) -> bool:
    """Return whether a file holds features, by its content."""
    return metadata_of(Path(path)) is not None


@dataclass(frozen=True, eq=False)
class Stored:
    """A network whose layers lie in a file; a source of features like a `FeatureExtractor`.

    Attributes:
        label: name of the network.
        provenance: the file.
        what: Gram matrices or features.
        kernel: of the Gram matrices.
        layers: of the network, in the order in which they ran.
        reasons: for a layer's position, why it has no similarity in the first batch where it has none.
        rows: images of each batch.
        data: name, split and fingerprint of the data.
        description: which tensors these are, and what of them was kept.
        config: the network's configuration, where it is known.
        seed: of its training, where that was recorded.
        trained: whether it was trained at all, None where that wasn't recorded.
        control: what it stands for.
        density: mean density p of its mixing layers, None where that isn't known.
    """

    label: str
    provenance: Provenance
    what: What
    kernel: Kernel
    layers: tuple[Layer, ...]
    reasons: Mapping[int, str]
    rows: tuple[int, ...]
    data: Mapping[str, str]
    description: str
    config: object = None
    seed: int | None = None
    trained: bool | None = None
    control: Control = ""
    density: float | None = None

    @classmethod
    def open(cls, path: str | Path) -> Stored:
        """Open a file that `store` wrote.

        A file that holds no features, is damaged or of a later version is a CheckpointError.

        Returns:
            The network, of which no layer is read yet.
        """
        path = Path(path)
        facts = read_facts(path)
        provenance = Provenance(path, "safetensors", "none", f"stored {facts.what}")
        return cls(provenance=provenance, **vars(facts))

    def only(self, keep: Callable[[str], bool], control: Control = "") -> Stored:
        """With some layers alone, and standing for something.

        Returns:
            A network that reads the same file.

        Raises:
            NothingToAnalyseError: no layer is kept.
        """
        kept = [place for place, layer in enumerate(self.layers) if keep(layer.name)]
        if not kept:
            some = ", ".join(layer.name for layer in self.layers[:4])
            raise NothingToAnalyseError(f"{self.label}: no layer left to analyse; layers are called {some}, ...")
        return replace(
            self,
            control=control,
            layers=tuple(self.layers[place] for place in kept),
            reasons={new: self.reasons[old] for new, old in enumerate(kept) if old in self.reasons},
        )

    def check(self, estimator: Estimator) -> None:
        """Refuse an estimator that the file can't serve.

        Raises:
            UsageError: Gram matrices of batches are there, and an estimator over all images or of another kernel is
                wanted.
        """
        path = self.provenance.path
        if self.what == "grams" and estimator.full:
            raise UsageError(f"{path}: holds Gram matrices of batches; full-data estimators need --what features")
        if self.what == "grams" and estimator.kernel != self.kernel:
            raise UsageError(f"{path}: its Gram matrices are of the kernel {self.kernel}, not {estimator.kernel}")

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        """SHA-256 of each batch's inputs."""
        return tuple(row.numpy().tobytes() for row in self._file.get_tensor(DIGESTS))

    @cached_property
    def _file(self) -> Any:
        return safe_open(self.provenance.path, framework="pt")

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        """Where each batch begins in a layer's tensor."""
        lengths = self.rows if self.what == "features" else [triangle(n) for n in self.rows]
        return tuple(itertools.accumulate(lengths, initial=0))

    def observe(self, raw: RawBatch, make: Callable[[Tensor], Tensor | None]) -> Observation:
        """The layers of one batch, with what `make` made of their features; Gram matrices are there already.

        A batch other than the one that the network has seen is a DataError.

        Returns:
            The layers, and what was made of each.
        """
        self._agree(raw)
        start, stop = self._starts[raw.index : raw.index + 2]
        values: list[Tensor | None] = []
        reasons: dict[int, str] = {}
        for position, layer in enumerate(self.layers):
            if layer.size == 0:
                values.append(None)
                reasons[position] = "never ran"
                continue
            part = self._part(layer, slice(start, stop))
            value = make(part) if self.what == "features" else self._gram(layer, part, raw)
            if value is None:
                known = self.reasons.get(position, "not finite")
                reasons[position] = why_no_gram(part, raw.first) if self.what == "features" else known
            values.append(value)
        return Observation(self.layers, tuple(values), reasons)

    def _part(self, layer: Layer, part: slice) -> Tensor:
        try:
            cells: Tensor = self._file.get_slice(tensor_name(self.what, layer.name))[part]
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{self.provenance.path}: can't be read any more: {error}") from None
        return cells

    def _gram(self, layer: Layer, cells: Tensor, raw: RawBatch) -> Tensor | None:
        """Return the lower triangle of a Gram matrix, as `Kernel.triangle` gives it.

        Raises:
            CheckpointError: it isn't positive semidefinite.
        """
        if not bool(cells.isfinite().all()):
            return None
        n = raw.examples
        matrix = cells.new_zeros(n, n)
        matrix[torch.tril_indices(n, n).unbind()] = cells
        if not _is_gram(matrix):
            message = (
                f"{self.provenance.path}: {layer.name} of batch {raw.index} isn't a Gram matrix: it has negative "
                "eigenvalues; write the file again"
            )
            raise CheckpointError(message)
        return matrix

    def _agree(self, raw: RawBatch) -> None:
        path, index = self.provenance.path, raw.index
        if index >= len(self.rows):
            raise DataError(f"{path}: holds {sum(self.rows)} images, the data more; use --limit {sum(self.rows)}")
        if raw.examples != self.rows[index]:
            raise DataError(
                f"{path}: its batch {index} has {self.rows[index]} images, here it has {raw.examples}; use "
                f"--batch-size {self.rows[0]}, and a --limit that cuts no batch"
            )
        if not _unseen(raw) and raw.digest != self.digests[index]:
            raise DataError(
                f"{path}: batch {index} isn't the one that {self.label} has seen: its images differ; the file was "
                f"written for {self.data['name']} ({self.data['split']})"
            )


def _is_gram(triangle: Tensor) -> bool:
    """Return whether a lower triangle is that of a positive semidefinite matrix, up to rounding in float32."""
    matrix = triangle.double()
    largest = float(matrix.diagonal().abs().max())
    matrix.diagonal().add_(len(matrix) * torch.finfo(torch.float32).eps * largest or 1.0)
    return int(torch.linalg.cholesky_ex(matrix).info) == 0


def _unseen(raw: RawBatch) -> bool:
    return isinstance(raw.content, Dataset) and raw.content.images.shape[1] == 0


def replay(files: Sequence[Stored]) -> Dataset:
    """A data set without pixels, that stands for the one which files of features were all written for.

    Returns:
        As many images as the files have, without pixels.

    Raises:
        DataError: they weren't written for the same batches.
    """
    first = files[0]
    for other in files[1:]:
        for index, (a, b) in enumerate(itertools.zip_longest(first.digests, other.digests)):
            if a != b:
                raise DataError(
                    f"{first.provenance.path} and {other.provenance.path}: batch {index} isn't the same in both: write "
                    "them with the same --data, --limit and --batch-size"
                )
    split: Any = first.data["split"]
    return Dataset(first.data["name"], split, torch.empty(sum(first.rows), 0, 1, 1), None, classes=0)
