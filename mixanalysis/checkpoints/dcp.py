"""Folders of torch.distributed.checkpoint: `.metadata` describes tensors whose parts stand in several files.

`.metadata` is a pickle of a few data classes; it is read as a description (`pickles`), and none of them is made.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mixanalysis.checkpoints import pickles
from mixanalysis.checkpoints.containers import Container
from mixanalysis.checkpoints.lazy_tensors import READ_DTYPES, DamagedError, Entry, sizes, unread
from mixanalysis.checkpoints.pickles import BlockedError, Build, Call, Named
from mixanalysis.checkpoints.safe_paths import inside
from mixanalysis.checkpoints.torch_files import Window, mapped
from mixanalysis.checkpoints.torch_values import DTYPES
from mixanalysis.files import regular_size

METADATA = ".metadata"

_CLASSES = {
    *(
        f"torch.distributed.checkpoint.metadata.{name}"
        for name in (
            "Metadata",
            "TensorStorageMetadata",
            "BytesStorageMetadata",
            "TensorProperties",
            "ChunkStorageMetadata",
            "MetadataIndex",
            "StorageMeta",
            "_MEM_FORMAT_ENCODING",
        )
    ),
    "torch.distributed.checkpoint.filesystem._StorageInfo",
    "torch.serialization._get_layout",
    "collections.OrderedDict",
    "builtins.getattr",  # how Python 3.11 and older write a member of an enumeration; it stays a description
    *(f"pathlib{module}.{name}" for module in ("", "._local") for name in ("PosixPath", "WindowsPath", "Path")),
    *(f"pathlib{module}.Pure{name}Path" for module in ("", "._local") for name in ("Posix", "Windows")),
}


class Part(NamedTuple):
    """A part of a tensor.

    Attributes:
        offsets: where it begins, along each axis.
        shape: its sizes.
        file: the file that holds it.
        start: where a file of torch.save with it begins.
        length: how long that is.
    """

    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    file: Path
    start: int
    length: int


def open_folder(folder: Path) -> Container:
    """Open such a folder.

    Returns:
        The container, its tensors unread.

    Raises:
        DamagedError: its description is damaged, or names what isn't there.
        CheckpointError: the description holds more than plain data.
    """
    path = inside(folder, METADATA)
    described = _described(path)
    shapes, places = described.get("state_dict_metadata"), described.get("storage_data")
    if not isinstance(shapes, dict) or not isinstance(places, dict):
        msg = "its .metadata lacks the tables of tensors and of their places"
        raise DamagedError(msg)
    stored = _stored(places)
    names = sorted({_text(info.get("relative_path")) for info in stored.values()})
    files = {name: inside(folder, name) for name in names}
    missing = [name for name, file in files.items() if not file.is_file()]
    if missing:
        msg = f"it lacks {missing[0]}"
        raise DamagedError(msg)
    size = sum(file.stat().st_size for file in files.values())
    opened: dict[Path, mmap.mmap] = {}
    content: dict[str, Any] = {}
    paths = described.get("planner_data")
    for name, tensor in ((_text(key), value) for key, value in shapes.items()):
        keys = paths.get(name) if isinstance(paths, dict) else None
        entry = None
        if isinstance(tensor, Call) and tensor.name.endswith(".TensorStorageMetadata"):
            entry = _entry(name, tensor, stored, files, size, opened)
        _place(content, keys if isinstance(keys, tuple) and keys else (name,), entry)
    return Container("torch.distributed.checkpoint folder", content, (path, *files.values()))


def _described(path: Path) -> Call:
    regular_size(path)
    with path.open("rb") as file:
        pickle = file.read()
    try:
        found = pickles.read(BytesIO(pickle), _known, _no_storage, len(pickle))
    except BlockedError as error:
        names = ", ".join(sorted(error.names)[:8])
        command = "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE.pt"
        msg = f"its .metadata names what isn't plain data ({names}); if you trust it, convert it with {command}"
        raise DamagedError(msg) from None
    if not isinstance(found, Call):
        msg = "its .metadata is no description of a checkpoint"
        raise DamagedError(msg)
    return found


def _known(name: str) -> Build | None:
    if name == "torch.Size":
        return lambda args: tuple(args[0]) if args else ()
    return partial(Call, name) if name in _CLASSES or name in DTYPES else None


def _text(value: object) -> str:
    if not isinstance(value, str):
        msg = "its .metadata has something else where a name is expected"
        raise DamagedError(msg)
    return value


def _no_storage(_: object) -> object:
    msg = "its .metadata refers to storages"
    raise DamagedError(msg)


def _stored(places: Mapping[Any, Any]) -> dict[tuple[str, tuple[int, ...]], Call]:
    """Where each part of each tensor stands."""
    found: dict[tuple[str, tuple[int, ...]], Call] = {}
    for index, info in places.items():
        if not isinstance(index, Call) or not isinstance(info, Call):
            msg = "its .metadata has places of an unknown kind"
            raise DamagedError(msg)
        if info.get("transform_descriptors"):
            msg = "its files are compressed or otherwise transformed, which isn't read"
            raise DamagedError(msg)
        offset = index.get("offset")
        found[_text(index.get("fqn")), sizes(offset, file_bytes=2**62) if offset is not None else ()] = info
    return found


def _entry(
    name: str,
    tensor: Call,
    stored: Mapping[tuple[str, tuple[int, ...]], Call],
    files: Mapping[str, Path],
    size: int,
    opened: dict[Path, mmap.mmap],
) -> Entry:
    properties, chunks = tensor.get("properties"), tensor.get("chunks")
    state = properties.state if isinstance(properties, Call) else None
    kind = state[0] if isinstance(state, tuple) and state else None
    if not isinstance(kind, Named) or kind.name not in DTYPES or not isinstance(chunks, list):
        msg = f"its .metadata describes {name[:80]} in an unknown way"
        raise DamagedError(msg)
    dtype = DTYPES[kind.name]
    shape = sizes(tensor.get("size"), file_bytes=size, itemsize=dtype.itemsize)
    if dtype not in READ_DTYPES:
        return unread(shape, f"the dtype {kind.name.removeprefix('torch.')}")
    parts = [_part(name, chunk, shape, stored, files) for chunk in chunks]
    if sum(math.prod(part.shape) for part in parts) != math.prod(shape):
        msg = f"the parts of {name[:80]} don't make up its shape"
        raise DamagedError(msg)
    return Entry(shape, dtype, "", partial(_read, parts, shape, dtype, opened))


def _part(
    name: str,
    chunk: object,
    shape: tuple[int, ...],
    stored: Mapping[tuple[str, tuple[int, ...]], Call],
    files: Mapping[str, Path],
) -> Part:
    if not isinstance(chunk, Call):
        msg = f"its .metadata describes a part of {name[:80]} in an unknown way"
        raise DamagedError(msg)
    offsets = sizes(chunk.get("offsets"), file_bytes=2**62)
    part = sizes(chunk.get("sizes"), file_bytes=2**62)
    info = stored.get((name, offsets))
    ends = [offset + length for offset, length in zip(offsets, part, strict=False)]
    if info is None or len(offsets) != len(shape) or len(part) != len(shape) or any(map(int.__gt__, ends, shape)):
        msg = f"its .metadata has a part of {name[:80]} that lies nowhere, or outside of it"
        raise DamagedError(msg)
    start, length = info.get("offset"), info.get("length")
    file = files[_text(info.get("relative_path"))]
    if type(start) is not int or type(length) is not int or not 0 <= start <= start + length <= file.stat().st_size:
        msg = f"a part of {name[:80]} reaches outside of {file.name}"
        raise DamagedError(msg)
    return Part(offsets, part, file, start, length)


def _read(parts: list[Part], shape: tuple[int, ...], dtype: torch.dtype, opened: dict[Path, mmap.mmap]) -> Tensor:
    if len(parts) == 1 and parts[0].shape == shape:
        return _read_part(parts[0], dtype, opened)
    whole = torch.zeros(shape, dtype=dtype)
    for part in parts:
        place = tuple(slice(at, at + size) for at, size in zip(part.offsets, part.shape, strict=True))
        whole[place] = _read_part(part, dtype, opened)
    return whole


def _read_part(part: Part, dtype: torch.dtype, opened: dict[Path, mmap.mmap]) -> Tensor:
    if part.file not in opened:
        opened[part.file] = mapped(part.file)
    try:
        entry = Window(opened[part.file], part.start, part.start + part.length).content()
    except BlockedError as error:
        msg = f"{part.file.name} holds what isn't plain data ({error})"
        raise DamagedError(msg) from None
    if not isinstance(entry, Entry) or entry.shape != part.shape or entry.dtype != dtype:
        msg = f"{part.file.name} holds another tensor than .metadata says"
        raise DamagedError(msg)
    return entry.load()


def _place(content: dict[str, Any], keys: tuple[Any, ...], value: object) -> None:
    """Put a value into nested tables."""
    *outer, last = (str(key) if type(key) is int else _text(key) for key in keys[:16])
    for key in outer:
        inner = content.setdefault(key, {})
        if not isinstance(inner, dict):
            msg = f"its .metadata puts tensors below {key[:80]}, which is one"
            raise DamagedError(msg)
        content = inner
    content[last] = value
