"""What a checkpoint file is, told from its first bytes, and one reader per kind."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mixanalysis.errors import CheckpointError

SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

PICKLED_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
"""The number with which the old stream format of torch.save begins, after the pickle protocol's two bytes."""

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params", "module")
"""Keys under which training scripts nest their weights, in the order in which they are tried."""


class Container(Protocol):
    """One file of named tensors, read lazily."""

    format: str
    wrapper: str
    metadata: Mapping[str, str]
    ignored: tuple[str, ...]

    def names(self) -> tuple[str, ...]:
        """Names of all tensors."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""

    def dtype(self, name: str) -> torch.dtype:
        """Its dtype, without reading it."""

    def read(self, name: str) -> Tensor:
        """The tensor."""


def open_container(path: Path) -> Container:
    """Open a checkpoint file by its content, whatever its name.

    Raises:
        CheckpointError: the file is missing, unreadable, truncated, of a kind that isn't read, or would need
            code to be run.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; give the path of a checkpoint") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path}: is a folder; give the path of a checkpoint file in it") from None
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror}") from None
    if not head:
        raise CheckpointError(f"{path}: not a checkpoint: the file is empty")
    if head.startswith(b"PK\x03\x04"):
        return _open_zip(path)
    # a header's length may begin with any byte, so that safetensors is told before a pickle stream
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < max(path.stat().st_size, 2**20):
        return SafetensorsFile(path)
    if head[2:].startswith(PICKLED_MAGIC):
        return TorchFile(path, "torch (pickle stream)", mmap=False)
    if head.startswith(b"\x80"):
        message = (
            f"{path}: a Python pickle, but not as torch.save writes it; it may hold code, so it isn't read; "
            "save the plain state_dict() with torch.save or safetensors instead"
        )
        raise CheckpointError(message)
    raise CheckpointError(f"{path}: not a checkpoint: neither a safetensors file nor one of torch.save")


def _open_zip(path: Path) -> Container:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):  # what a damaged index raises
        message = f"{path}: truncated or damaged: it starts like a torch.save file but has no sound index at its end"
        raise CheckpointError(message) from None
    if any(member.endswith("constants.pkl") for member in members):
        message = f"{path}: a TorchScript archive holds code; save the module's state_dict() instead"
        raise CheckpointError(message)
    if not any(member.endswith("/data.pkl") for member in members):
        raise CheckpointError(f"{path}: a zip file, but not one of torch.save (it holds no data.pkl)")
    return TorchFile(path, "torch (zip)", mmap=True)


class SafetensorsFile:
    """A single .safetensors file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.format, self.wrapper = "safetensors", "none"
        self.ignored: tuple[str, ...] = ()
        try:
            self._file = safe_open(path, framework="pt")
            self._slices = {name: self._file.get_slice(name) for name in self._file.keys()}  # noqa: SIM118
            self.metadata: Mapping[str, str] = self._file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: truncated or damaged safetensors file: {error}") from None

    def names(self) -> tuple[str, ...]:
        """Names of all tensors."""
        return tuple(self._slices)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        return tuple(self._slices[name].get_shape())

    def dtype(self, name: str) -> torch.dtype:
        """Its dtype, without reading it."""
        kind = self._slices[name].get_dtype()
        if kind not in SAFETENSORS_DTYPES:
            raise CheckpointError(f"{self.path}: tensor {name} has the dtype {kind}, which isn't read")
        return SAFETENSORS_DTYPES[kind]

    def read(self, name: str) -> Tensor:
        """The tensor."""
        self.dtype(name)
        tensor: Tensor = self._file.get_tensor(name)
        return tensor


class TorchFile:
    """A file of torch.save, read with weights_only: data is loaded, code never."""

    def __init__(self, path: Path, kind: str, *, mmap: bool) -> None:
        self.path = path
        self.format = kind
        self.metadata: Mapping[str, str] = {}
        content = _load(path, mmap=mmap)
        self._tensors, self.wrapper, self.ignored = _unwrap(path, content)

    def names(self) -> tuple[str, ...]:
        """Names of all tensors."""
        return tuple(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        return tuple(self._tensors[name].shape)

    def dtype(self, name: str) -> torch.dtype:
        """Its dtype, without reading it."""
        tensor = self._tensors[name]
        if tensor.dtype not in SAFETENSORS_DTYPES.values() or tensor.is_meta:
            kind = "no values" if tensor.is_meta else f"the dtype {str(tensor.dtype).removeprefix('torch.')}"
            raise CheckpointError(f"{self.path}: tensor {name} has {kind}, which isn't read")
        return tensor.dtype

    def read(self, name: str) -> Tensor:
        """The tensor."""
        self.dtype(name)
        return self._tensors[name].to_dense()


def _load(path: Path, *, mmap: bool) -> object:
    try:
        with torch.serialization.safe_globals([Namespace]), warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            # torch.load takes a path that ends in .safetensors for one, whatever the content
            mmap = mmap and path.suffix != ".safetensors"
            return torch.load(path if mmap else file, map_location="cpu", mmap=mmap, weights_only=True)
    except pickle.UnpicklingError as error:
        blockers = _blockers(path, str(error))
        if not blockers:
            message = f"{path}: truncated or damaged torch.save file, or one of another pickle protocol than 2"
            raise CheckpointError(message) from None
        message = (
            f"{path}: refused: loading it would run code ({', '.join(blockers)}); "
            "save the plain state_dict() with torch.save or safetensors instead"
        )
        raise CheckpointError(message) from None
    except Exception as error:  # a damaged pickle can raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: truncated or damaged torch.save file: {reason}") from None


def _blockers(path: Path, refusal: str) -> list[str]:
    """Classes and functions that the file asks for and that are not plain data."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except Exception:  # the old stream format isn't scanned, but the refusal names the first
        names = re.findall(r"GLOBAL (\S+)", refusal)
    return sorted(set(names) - {"argparse.Namespace"})


def _unwrap(path: Path, content: object) -> tuple[dict[str, Tensor], str, tuple[str, ...]]:
    """The innermost table of tensors, how it was nested, and what stood beside it."""
    steps: list[str] = []
    beside: list[str] = []
    # a wrapper comes before tensors beside it, such as {"state_dict": ..., "best_accuracy": tensor}
    while isinstance(content, Mapping) and (inner := _wrapped(content, len(steps))) is not None:
        steps.append(inner)
        beside += [str(key) for key in content if key != inner]
        content = content[inner]
    table = content if isinstance(content, Mapping) else {}
    state = {str(name): value for name, value in table.items() if isinstance(value, Tensor)}
    if not state:
        what = type(content).__name__
        if isinstance(content, Mapping):
            what += f" with keys {', '.join(map(str, list(content)[:5]))}" if content else " without entries"
        raise CheckpointError(f"{path}: holds no table of named tensors; found {what}")
    beside += [str(name) for name in table if str(name) not in state]
    state, prefixes = strip_prefixes(state)
    return state, " > ".join([*steps, *prefixes]) or "none", tuple(beside)


def _wrapped(content: Mapping[Any, Any], depth: int) -> str | None:
    """The key of `WRAPPERS` under which there are tensors, or a further wrapper."""
    for key in WRAPPERS if depth < len(WRAPPERS) else ():
        inner = content.get(key)
        if isinstance(inner, Mapping) and (
            any(isinstance(value, Tensor) for value in inner.values()) or _wrapped(inner, depth + 1) is not None
        ):
            return key
    return None


def strip_prefixes(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Remove what DistributedDataParallel and torch.compile add to names; say which were removed."""
    found = []
    names = list(state)
    if any("_orig_mod." in name for name in names):
        found.append("_orig_mod.")
        names = [name.replace("_orig_mod.", "") for name in names]
    while names and all(name.startswith("module.") for name in names):
        found.append("module.")
        names = [name.removeprefix("module.") for name in names]
    return dict(zip(names, state.values(), strict=True)), found
