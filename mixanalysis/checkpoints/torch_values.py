"""What the names in a pickle of torch.save stand for: tensors as entries, everything else as plain data."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from mixanalysis.checkpoints.lazy_tensors import (
    FLOAT8,
    READ_DTYPES,
    AnyEntry,
    DamagedError,
    Entry,
    SparseEntry,
    sizes,
    unread,
)
from mixanalysis.checkpoints.pickles import BlockedError, Build, Call, Named

DTYPES = {f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
"""Every dtype of torch by its name in a pickle."""

STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "QInt8Storage": "qint8",
    "QInt32Storage": "qint32",
    "QUInt8Storage": "quint8",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
}
"""Name of the dtype of each of torch's storage classes."""


@dataclass(frozen=True, eq=False, slots=True)
class Storage:
    """A run of numbers in the file, that tensors are views of.

    Attributes:
        key: its name.
        dtype: what it was saved as.
        elements: how many of that.
        offset: elements of a storage of that name that come before it.
    """

    key: str
    dtype: torch.dtype
    elements: int
    offset: int = 0


class Source(Protocol):
    """The file that storages stand in."""

    @property
    def size(self) -> int:
        """Bytes of the file."""

    def read(
        self, storage: Storage, dtype: torch.dtype, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> Tensor:
        """A view of a storage."""


def known(source: Source) -> Callable[[str], Build | None]:
    """The function that stands for each name of a pickle of torch.save; None for what isn't plain data."""
    table = _table(source)

    def look_up(name: str) -> Build | None:
        return table.get(name) or (_describe(name) if name in _DESCRIBED or name in _CONSTANTS else None)

    return look_up


def script_known(source: Source) -> Callable[[str], Build | None]:
    """`known`, where the modules of a TorchScript archive are tables of their attributes."""
    plain = known(source)

    def look_up(name: str) -> Build | None:
        script = name.startswith(("__torch__.", "torch.jit._pickle."))
        return plain(name) or (_describe(name) if script else None)

    return look_up


def storage(pid: object) -> Storage:
    """The storage that a persistent id names.

    Returns:
        Key, dtype, size and offset of the storage.

    Raises:
        DamagedError: it names none.
    """
    if not isinstance(pid, tuple) or len(pid) < 5 or _text(pid[0]) != "storage" or not isinstance(pid[1], Named):
        msg = "its pickle refers to what is no storage of numbers"
        raise DamagedError(msg)
    kind, key, elements = pid[1].name.rpartition(".")[2], _text(pid[2]), pid[4]
    if kind not in STORAGES or type(elements) is not int or not 0 <= elements < 2**60:
        msg = f"its pickle refers to a storage of an unknown kind ({kind[:60]})"
        raise DamagedError(msg)
    view = pid[5] if len(pid) > 5 else None
    offset = 0
    if view is not None:  # old files name parts of storages: (key, offset, elements)
        if not isinstance(view, tuple) or len(view) != 3 or not all(type(n) is int and n >= 0 for n in view[1:]):
            msg = "its pickle refers to a part of a storage in an unknown way"
            raise DamagedError(msg)
        offset = view[1]
        if offset + view[2] > elements:
            msg = "its pickle refers to a part outside of its storage"
            raise DamagedError(msg)
        elements = view[2]
    return Storage(key, DTYPES[f"torch.{STORAGES[kind]}"], elements, offset)


def _text(value: object) -> str:
    if not isinstance(value, str):
        msg = "its pickle names a storage by what is no text"
        raise DamagedError(msg)
    return value


# what a name stands for


def _describe(name: str) -> Build:
    return partial(Call, name)


_CONSTANTS = {
    *DTYPES,
    *(f"torch.{name}" for name in STORAGES),
    *(f"torch.storage.{name}" for name in ("UntypedStorage", "TypedStorage", "_LegacyStorage")),
    *(f"torch.{name}" for name in ("per_tensor_affine", "per_tensor_symmetric", "per_channel_affine")),
    *("torch.per_channel_symmetric", "torch.per_channel_affine_float_qparams"),
}
_DESCRIBED = {
    "argparse.Namespace",
    "builtins.bytearray",
    "builtins.complex",
    "numpy.dtype",
    "torch.device",
    "torch.serialization._get_layout",
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
}
_NUMBER = re.compile(r"[<>=|]?[biufcSUmM][0-9]{1,6}")


def _table(source: Source) -> dict[str, Build]:
    table: dict[str, Build] = {
        "collections.OrderedDict": _table_of_pairs,
        "collections.Counter": _table_of_pairs,
        "builtins.set": _items,
        "_codecs.encode": _encoded,
        "torch.Size": _size,
        "torch._utils._rebuild_parameter": _first,
        "torch._utils._rebuild_parameter_with_state": _first,
        "torch._utils._rebuild_tensor": partial(_tensor, source, None),
        "torch._utils._rebuild_tensor_v2": partial(_tensor, source, None),
        "torch._utils._rebuild_tensor_v3": partial(_tensor_v3, source),
        "torch._utils._rebuild_sparse_tensor": partial(_sparse, source),
        "torch._utils._rebuild_meta_tensor_no_storage": _no_values,
        "torch._utils._rebuild_qtensor": partial(_quantised, source),
        "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
        "torch._utils._rebuild_wrapper_subclass": _subclass,
        "torch._utils._rebuild_nested_tensor": _subclass,
        "torch._tensor._rebuild_from_type_v2": _typed,
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        table[f"{module}.scalar"] = _scalar
    for kind in ("Bool", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"):
        table[f"numpy.dtypes.{kind}DType"] = _describe("numpy.dtype")
    for kind in ("Float16", "Float32", "Float64"):
        table[f"numpy.dtypes.{kind}DType"] = _describe("numpy.dtype")
    return table


def _table_of_pairs(args: tuple[Any, ...]) -> object:
    pairs = args[0] if args else []
    if isinstance(pairs, dict):
        return dict(pairs)
    return {key: value for key, value in pairs if isinstance(key, str | int)}


def _items(args: tuple[Any, ...]) -> object:
    return list(args[0]) if args and isinstance(args[0], list | tuple) else []


def _encoded(args: tuple[Any, ...]) -> object:
    text, encoding = args
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        msg = "its pickle holds bytes in an unknown form"
        raise DamagedError(msg)
    return text.encode("latin-1")


def _size(args: tuple[Any, ...]) -> object:
    return tuple(args[0]) if args else ()


def _scalar(args: tuple[Any, ...]) -> object:
    kind = args[0] if args else None
    if isinstance(kind, Call) and kind.name == "numpy.dtype" and kind.args and _NUMBER.fullmatch(str(kind.args[0])):
        return Call("numpy scalar", ())
    raise BlockedError({"numpy scalar of Python objects"})


def _first(args: tuple[Any, ...]) -> object:
    return args[0]


def _no_values(args: tuple[Any, ...]) -> object:
    # its shape costs nothing, and no value of it is ever read
    shape = args[1] if len(args) > 1 and isinstance(args[1], tuple | list) else ()
    return unread(tuple(size for size in shape[:64] if type(size) is int), "no values (it was on the meta device)")


def _subclass(_: tuple[Any, ...]) -> object:
    return unread((), "the form of a tensor subclass")


def _typed(args: tuple[Any, ...]) -> object:
    function, kind, inner = args[:3]
    plain = isinstance(kind, Named) and kind.name in ("torch.Tensor", "torch.nn.parameter.Parameter")
    if isinstance(function, Named) and function.build is not None and plain and isinstance(inner, tuple):
        return function.build(inner)
    return _subclass(())


def _quantised(source: Source, args: tuple[Any, ...]) -> object:
    found = _tensor(source, None, args[:4])
    kind = found.kind if isinstance(found, Entry) and found.dtype is None else "a quantised form"
    return unread(found.shape if isinstance(found, Entry) else (), kind)


def _tensor_v3(source: Source, args: tuple[Any, ...]) -> object:
    dtype = args[6]
    if not isinstance(dtype, Named) or dtype.name not in DTYPES:
        msg = "a tensor has an unknown dtype"
        raise DamagedError(msg)
    return _tensor(source, DTYPES[dtype.name], (*args[:6], *args[7:8]))


def _tensor(source: Source, dtype: torch.dtype | None, args: tuple[Any, ...]) -> Entry:
    """A view of a storage; args are (storage, offset, size, strides, requires_grad, hooks, metadata)."""
    store, offset, shape, strides = args[:4]
    if not isinstance(store, Storage) or type(offset) is not int or offset < 0:
        msg = "a tensor isn't a view of a storage"
        raise DamagedError(msg)
    dtype = store.dtype if dtype is None else dtype
    sized = sizes(shape, file_bytes=source.size, itemsize=dtype.itemsize)
    good = isinstance(strides, tuple | list) and len(strides) == len(sized)
    if not good or not all(type(stride) is int and 0 <= stride < 2**48 for stride in strides):
        msg = "a tensor has strides that none can have"
        raise DamagedError(msg)
    span = 0 if 0 in sized else 1 + sum((size - 1) * stride for size, stride in zip(sized, strides, strict=True))
    if (offset + span) * dtype.itemsize > store.elements * store.dtype.itemsize:
        msg = "a tensor reaches outside of its storage"
        raise DamagedError(msg)
    if dtype in FLOAT8:
        load = partial(_decoded, source, store, dtype, offset, sized, tuple(strides))
        return Entry(sized, torch.float32, "", load, quantised=True)
    if dtype not in READ_DTYPES:
        return unread(sized, f"the dtype {str(dtype).removeprefix('torch.')}")
    if len(args) > 6 and args[6]:
        return unread(sized, "the form of a lazy conjugate or negative")
    load = partial(source.read, store, dtype, offset, sized, tuple(strides))
    return Entry(sized, dtype, "", load, quantised=dtype is torch.int8)


def _decoded(
    source: Source,
    store: Storage,
    dtype: torch.dtype,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
) -> Tensor:
    return source.read(store, torch.uint8, offset, shape, strides).contiguous().view(dtype).float()


_LAYOUTS = {
    "torch.sparse_coo": "coo",
    "torch.sparse_csr": "csr",
    "torch.sparse_csc": "csc",
    "torch.sparse_bsr": "bsr",
    "torch.sparse_bsc": "bsc",
}


def _sparse(source: Source, args: tuple[Any, ...]) -> AnyEntry:
    layout, data = args[:2]
    name = layout.args[0] if isinstance(layout, Call) and layout.args else None
    if name not in _LAYOUTS or not isinstance(data, tuple):
        msg = "a sparse tensor has an unknown layout"
        raise DamagedError(msg)
    count = 1 if name == "torch.sparse_coo" else 2
    indices, values, shape = data[:count], data[count], data[count + 1]
    if not all(isinstance(part, Entry) for part in (*indices, values)):
        msg = "a sparse tensor lacks its indices or values"
        raise DamagedError(msg)
    # its dense shape may be larger than the file; it is refused where it would have to be made dense
    sized = tuple(sizes([size], file_bytes=2**48)[0] for size in shape)
    if math.prod(sized) >= 2**62 or len(sized) > 64:
        msg = "a sparse tensor has a size that none can have"
        raise DamagedError(msg)
    return SparseEntry(_LAYOUTS[name], sized, tuple(indices), values)
