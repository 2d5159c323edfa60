"""Files of safetensors, whose header the library checks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mixanalysis.checkpoints.lazy_tensors import FLOAT8, MEBIBYTE, DamagedError, Entry

DTYPES = {
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
"""The dtypes that are read, by safetensors' names for them."""

_FLOAT8 = ("F8_E4M3", "F8_E5M2")


def entries(path: Path) -> tuple[dict[str, Entry], Mapping[str, str]]:
    """A file's tensors and its metadata, from its header.

    Returns:
        Tensors by name, not yet read, and the metadata.

    Raises:
        DamagedError: the header is damaged, doesn't cover the file, or is far too large for it.
    """
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > max(MEBIBYTE, path.stat().st_size // 4):
        msg = f"its header claims {header} bytes, more than the file explains"
        raise DamagedError(msg)
    try:
        opened = safe_open(path, framework="pt")
        table = {}
        for name in opened.keys():  # noqa: SIM118
            part = opened.get_slice(name)
            kind = part.get_dtype()
            float8 = kind in _FLOAT8
            dtype = torch.float32 if float8 else DTYPES.get(kind)
            load = partial(_read, opened, name, dtype)
            table[name] = Entry(tuple(part.get_shape()), dtype, f"the dtype {kind}", load, float8 or kind == "I8")
        return table, opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DamagedError(str(error).splitlines()[0][:200]) from None


def _read(file: Any, name: str, dtype: torch.dtype | None) -> Tensor:
    tensor: Tensor = file.get_tensor(name)
    if tensor.dtype in FLOAT8:
        return tensor.float()
    # a damaged file can hold truth values other than 0 and 1
    return tensor.view(torch.uint8) != 0 if dtype is torch.bool else tensor
