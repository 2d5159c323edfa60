"""A safetensors file whose tensors are written piece by piece, because they don't fit into memory together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

import torch
from torch import Tensor

_DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.uint8: "U8"}

ALIGNMENT = 8


class Spec(NamedTuple):
    """A tensor's dtype and shape."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its bytes."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class TensorFile:
    """Writes tensors whose shapes are known beforehand; cells that are never written are zero.

    Args:
        path: the file.
        tensors: what it will hold.
        longest: the longest metadata that it may get, to leave room for them.
        anew: make it anew; otherwise it is one that was written with the same arguments, and keeps its cells.
    """

    def __init__(
        self, path: Path, tensors: Mapping[str, Spec], longest: Mapping[str, str], *, anew: bool = True
    ) -> None:
        self._specs = dict(tensors)
        self._starts: dict[str, int] = {}
        end = 0
        # the widest first, so that each begins at a multiple of its own width
        for name in sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize):
            self._starts[name] = end
            end += tensors[name].size
        self._head = len(self._header(longest))
        self._head += -self._head % ALIGNMENT
        self._file: BinaryIO = path.open("wb" if anew else "r+b")
        self._file.truncate(8 + self._head + end)

    def _header(self, metadata: Mapping[str, str]) -> bytes:
        entries: dict[str, object] = {"__metadata__": dict(metadata)}
        for name, start in self._starts.items():
            spec = self._specs[name]
            offsets = [start, start + spec.size]
            entries[name] = {"dtype": _DTYPES[spec.dtype], "shape": list(spec.shape), "data_offsets": offsets}
        return json.dumps(entries, separators=(",", ":")).encode()

    def write(self, name: str, first: int, rows: Tensor) -> None:
        """Write rows of a tensor, from the first-th on, in the tensor's dtype."""
        spec = self._specs[name]
        width = spec.size // spec.shape[0]
        self._file.seek(8 + self._head + self._starts[name] + first * width)
        self._file.write(rows.to("cpu", spec.dtype).contiguous().view(-1).view(torch.uint8).numpy().data)

    def flush(self) -> None:
        """Hand what was written to the system, so that it is there even if this process is killed."""
        self._file.flush()

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Write the header.

        Raises:
            ValueError: the metadata are longer than the longest that were expected.
        """
        header = self._header(metadata)
        if len(header) > self._head:
            msg = f"{len(header)} bytes of header don't fit into {self._head}"
            raise ValueError(msg)
        self._file.seek(0)
        self._file.write(self._head.to_bytes(8, "little") + header.ljust(self._head))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
