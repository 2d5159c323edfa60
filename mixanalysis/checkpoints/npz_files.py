"""Arrays of numpy.savez: shapes from the members' headers, values one array at a time, and never a pickle."""

from __future__ import annotations

import math
import mmap
import re
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mixanalysis.checkpoints import zips
from mixanalysis.checkpoints.lazy_tensors import DamagedError, Entry, sizes, unread
from mixanalysis.checkpoints.torch_files import view
from mixanalysis.checkpoints.zips import STORED, Member

_HEADER = re.compile(
    r"\{'descr': '([<>|=])([a-zA-Z])([0-9]{1,6})', 'fortran_order': (True|False), "
    r"'shape': \(((?:[0-9]{1,19}L?(?:, ?)?)*)\),? ?\} *\n?"
)
_KINDS = {
    "f8": torch.float64,
    "f4": torch.float32,
    "f2": torch.float16,
    "i8": torch.int64,
    "i4": torch.int32,
    "i2": torch.int16,
    "i1": torch.int8,
    "u1": torch.uint8,
    "b1": torch.bool,
    "V2": torch.bfloat16,  # numpy has no name for it
}
_LONGEST_HEADER = 10_000


def entries(data: mmap.mmap, members: dict[str, Member]) -> dict[str, Entry]:
    """The arrays of a file under their names, from their headers alone.

    Returns:
        Arrays by name, not yet read.

    Raises:
        DamagedError: a header is damaged, or doesn't belong to its member.
    """
    return {
        name.removesuffix(".npy"): _entry(data, name, member)
        for name, member in members.items()
        if name.endswith(".npy")
    }


def _entry(data: mmap.mmap, name: str, member: Member) -> Entry:
    head = zips.beginning(data, member, _LONGEST_HEADER + 12)
    if head[:6] != b"\x93NUMPY" or head[6:7] not in (b"\x01", b"\x02") or len(head) < 12:
        msg = f"its member {name[:80]} is no array"
        raise DamagedError(msg)
    begin = 10 if head[6] == 1 else 12
    length = int.from_bytes(head[8:begin], "little")
    text = head[begin : begin + length].decode("latin-1")
    if re.match(r"\{'descr': '\|O'", text):
        return unread((), "Python objects, which may hold code")
    match = _HEADER.fullmatch(text) if length <= _LONGEST_HEADER else None
    if match is None:
        msg = f"the header of its member {name[:80]} isn't one of a plain array"
        raise DamagedError(msg)
    order, kind, itemsize = match[1], f"{match[2]}{match[3]}", int(match[3])
    shape = tuple(int(size.rstrip("L ")) for size in match[5].split(",") if size.strip())
    if kind not in _KINDS:
        return unread(shape[:64], f"the dtype {kind}")
    sized = sizes(shape, file_bytes=max(member.size, member.stored), itemsize=itemsize)
    start = begin + length
    if start + math.prod(sized) * itemsize != member.size:
        msg = f"its member {name[:80]} has {member.size} bytes, which is not what its header says"
        raise DamagedError(msg)
    layout = (_KINDS[kind], order == ">" and itemsize > 1, match[4] == "True")
    return Entry(sized, _KINDS[kind], "", partial(_read, data, member, start, sized, layout))


def _read(
    data: mmap.mmap, member: Member, start: int, shape: tuple[int, ...], layout: tuple[torch.dtype, bool, bool]
) -> Tensor:
    dtype, swapped, fortran = layout
    count = math.prod(shape)
    if member.method == STORED and not swapped:
        flat = view(data, member.start + start, count, dtype)
    else:
        content = zips.content(data, member)
        if swapped:
            numbers = np.frombuffer(content, f"i{dtype.itemsize}", offset=start)
            numbers.byteswap(inplace=True)
        flat = view(content, start, count, dtype)
    return flat.reshape(shape[::-1]).permute(*range(len(shape))[::-1]) if fortran else flat.reshape(shape)
