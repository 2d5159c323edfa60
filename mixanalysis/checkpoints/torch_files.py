"""Files of torch.save, zipped or the older stream, and TorchScript archives; nothing in them is ever run."""

from __future__ import annotations

import mmap
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mixanalysis.checkpoints import pickles, zips
from mixanalysis.checkpoints.lazy_tensors import AnyEntry, DamagedError, Entry, SparseEntry
from mixanalysis.checkpoints.pickles import Call
from mixanalysis.checkpoints.torch_values import Storage, known, script_known, storage
from mixanalysis.checkpoints.zips import STORED, Member

PICKLED_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
"""The number with which the old stream format of torch.save begins, after the pickle protocol's two bytes."""


def mapped(path: Path) -> mmap.mmap:
    """A file as memory: read when touched, and never written back."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def view(data: mmap.mmap | bytearray, start: int, count: int, dtype: torch.dtype) -> Tensor:
    """Numbers that stand in memory, as a 1-D tensor; copied only where they are not aligned.

    Args:
        data: the memory, such as a mapped file.
        start: byte at which they begin.
        count: how many.
        dtype: their dtype.

    Returns:
        Shape (count,).
    """
    if count == 0:
        return torch.empty(0, dtype=dtype)
    stored = torch.uint8 if dtype is torch.bool else dtype
    if start % stored.itemsize:
        found = torch.frombuffer(bytearray(data[start : start + count * stored.itemsize]), dtype=stored)
    else:
        found = torch.frombuffer(data, dtype=stored, count=count, offset=start)
    # a damaged file can hold truth values other than 0 and 1
    return found != 0 if dtype is torch.bool else found


class Window:
    """A zip file of torch.save that stands between two places of a mapped file."""

    def __init__(self, data: mmap.mmap, start: int, stop: int) -> None:
        self.data, self.size = data, stop - start
        self.members = zips.members(data, start, stop)
        pickled = [name for name in self.members if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickled) != 1:
            msg = f"it holds {len(pickled)} members named data.pkl, expected one"
            raise DamagedError(msg)
        self.root = pickled[0].removesuffix("data.pkl")
        byteorder = self.members.get(f"{self.root}byteorder")
        if byteorder is not None and zips.beginning(data, byteorder, 8) != b"little":
            msg = "it was written on a machine whose numbers are big-endian, which isn't read"
            raise DamagedError(msg)

    @property
    def script(self) -> bool:
        """Whether it is a TorchScript archive."""
        return f"{self.root}constants.pkl" in self.members

    def content(self) -> Any:
        """What was saved, tensors as entries."""
        # checksums aren't compared: torch.save can be told to leave them out
        member = self._stored(f"{self.root}data.pkl")
        pickle = BytesIO(self.data[member.start : member.start + member.size])
        return pickles.read(pickle, (script_known if self.script else known)(self), self._storage, self.size)

    def _stored(self, name: str) -> Member:
        member = self.members.get(name)
        if member is None or member.method != STORED:
            msg = f"it lacks {name[:80]}, or holds it compressed, as torch.save never writes it"
            raise DamagedError(msg)
        return member

    def _storage(self, pid: object) -> Storage:
        found = storage(pid)
        if found.elements * found.dtype.itemsize > self._stored(f"{self.root}data/{found.key}").size:
            msg = f"its storage {found.key[:80]} is shorter than its pickle says"
            raise DamagedError(msg)
        return found

    def read(
        self, storage: Storage, dtype: torch.dtype, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> Tensor:
        """A view of a storage."""
        start = self.members[f"{self.root}data/{storage.key}"].start + offset * dtype.itemsize
        return strided(self.data, start, dtype, shape, strides)


def strided(
    data: mmap.mmap, start: int, dtype: torch.dtype, shape: tuple[int, ...], strides: tuple[int, ...]
) -> Tensor:
    """A tensor of a mapped file, whose extent was checked."""
    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    span = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    return view(data, start, span, dtype).as_strided(shape, strides)


class Stream:
    """A file of torch.save in the format from before version 1.6: pickles, and then storages one after another."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.size = data, len(data)
        self._used: dict[str, Storage] = {}
        self._starts: dict[str, int] = {}

    def content(self) -> Any:
        """What was saved, tensors as entries."""
        self.data.seek(0)
        names = known(self)
        for _ in ("magic number", "protocol", "system"):
            pickles.read(self.data, names, self._storage, self.size)
        content = pickles.read(self.data, names, self._storage, self.size)
        keys = pickles.read(self.data, names, self._storage, self.size)
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            msg = "its list of storages is damaged"
            raise DamagedError(msg)
        self._locate(keys, self.data.tell())
        if missing := [key for key in self._used if key not in self._starts]:
            msg = f"it lacks the storage {missing[0][:80]}"
            raise DamagedError(msg)
        return content

    def _storage(self, pid: object) -> Storage:
        found = storage(pid)
        before = self._used.get(found.key)
        if before is not None and before.dtype != found.dtype:
            msg = f"its storage {found.key[:80]} is of two kinds"
            raise DamagedError(msg)
        if before is None or before.offset + before.elements < found.offset + found.elements:
            self._used[found.key] = found
        return found

    def _locate(self, keys: list[str], place: int) -> None:
        """Where each storage begins: before it stands its number of elements."""
        for key in keys:
            used = self._used.get(key)
            count = int.from_bytes(self.data[place : place + 8], "little", signed=True)
            if used is None or place + 8 > self.size or count < used.offset + used.elements:
                msg = f"its storage {key[:80]} is not what its pickle says"
                raise DamagedError(msg)
            self._starts[key] = place + 8
            place += 8 + count * used.dtype.itemsize
            if place > self.size:
                msg = f"it ends {place - self.size} bytes too early"
                raise DamagedError(msg)

    def read(
        self, storage: Storage, dtype: torch.dtype, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> Tensor:
        """A view of a storage."""
        start = self._starts[storage.key] + storage.offset * storage.dtype.itemsize + offset * dtype.itemsize
        return strided(self.data, start, dtype, shape, strides)


def attributes(content: Any) -> dict[str, AnyEntry]:
    """The tensors of a TorchScript module under the paths of their attributes, as its state_dict() names them."""
    found: dict[str, AnyEntry] = {}
    pending: list[tuple[str, Any]] = [("", content)]
    seen: set[int] = set()
    while pending:
        prefix, module = pending.pop()
        if not isinstance(module, Call) or not isinstance(module.state, dict) or id(module) in seen:
            continue
        seen.add(id(module))
        for name, value in module.state.items():
            if isinstance(value, Entry | SparseEntry):
                found[f"{prefix}{name}"] = value
        # a stack gives the last first
        pending += [(f"{prefix}{name}.", value) for name, value in reversed(module.state.items())]
    return found
