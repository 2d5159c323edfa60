"""Where the members of a zip file stand, without reading them; what torch.save and numpy.savez write, and no more."""

from __future__ import annotations

import mmap
import struct
import zlib
from typing import NamedTuple

from mixanalysis.checkpoints.lazy_tensors import MEBIBYTE, DamagedError

STORED, DEFLATED = 0, 8

_END = struct.Struct("<4sHHHHIIH")
_END_64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_MEMBER = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<4sHHHHHIIIHH")


class Member(NamedTuple):
    """A member of a zip file.

    Attributes:
        start: where its bytes begin in the file.
        stored: how many bytes stand there.
        size: how many bytes it has when it is unpacked.
        method: `STORED` or `DEFLATED`.
        crc: CRC-32 of its unpacked bytes.
    """

    start: int
    stored: int
    size: int
    method: int
    crc: int


def members(data: mmap.mmap, start: int, stop: int) -> dict[str, Member]:
    """The members of the zip file that stands between two places of a file, in their order.

    Returns:
        Members by name.

    Raises:
        DamagedError: there is no sound index, members lie outside, overlap or are there twice, or are encrypted.
    """
    try:
        return _members(data, start, stop)
    except struct.error:
        msg = "missing zip directory (file truncated?)"
        raise DamagedError(msg) from None


def _members(data: mmap.mmap, start: int, stop: int) -> dict[str, Member]:
    count, place, length = _index(data, start, stop)
    if place < start or length < 0 or place + length > stop or count * _MEMBER.size > length:
        msg = "missing zip directory (file truncated?)"
        raise DamagedError(msg)
    if length > max(MEBIBYTE, (stop - start) // 3):
        msg = "its index is larger than its content explains"
        raise DamagedError(msg)
    found: dict[str, Member] = {}
    end = place + length
    for _ in range(count):
        if place + _MEMBER.size > end:
            msg = "missing zip directory (file truncated?)"
            raise DamagedError(msg)
        fields = _MEMBER.unpack_from(data, place)
        magic, _, _, flags, method, _, _, crc, stored, size, name_length, extra_length, note_length = fields[:13]
        offset, name_at = fields[16], place + _MEMBER.size
        if magic != b"PK\x01\x02" or flags & 1 or method not in (STORED, DEFLATED):
            msg = "a member of it is encrypted, or packed in a way that isn't read"
            raise DamagedError(msg)
        name = data[name_at : name_at + name_length].decode("utf-8", "replace")
        extra = data[name_at + name_length : name_at + name_length + extra_length]
        size, stored, offset = _wide(extra, size, stored, offset)
        if name in found:
            msg = f"it holds {name[:80]} twice"
            raise DamagedError(msg)
        found[name] = _located(data, start, stop, (offset, stored, size, method, crc))
        place = name_at + name_length + extra_length + note_length
    _apart(found)
    return found


def _apart(found: dict[str, Member]) -> None:
    """Refuse members that share bytes, of which a small file could hold any number."""
    end = 0
    for member in sorted(found.values()):
        if member.start < end:
            msg = "members of it overlap"
            raise DamagedError(msg)
        end = member.start + member.stored + 1


def _index(data: mmap.mmap, start: int, stop: int) -> tuple[int, int, int]:
    """Number of members, place and length of the index."""
    at = data.rfind(b"PK\x05\x06", max(start, stop - _END.size - 0xFFFF), stop)
    if at < 0 or at + _END.size > stop:
        msg = "missing zip directory (file truncated?)"
        raise DamagedError(msg)
    _, _, _, _, count, length, offset, _ = _END.unpack_from(data, at)
    locator = at - _LOCATOR.size
    if locator >= start and data[locator : locator + 4] == b"PK\x06\x07":
        _, _, offset_64, _ = _LOCATOR.unpack_from(data, locator)
        if start + offset_64 + _END_64.size > stop:
            msg = "missing zip directory (file truncated?)"
            raise DamagedError(msg)
        magic, _, _, _, _, _, _, count, length, offset = _END_64.unpack_from(data, start + offset_64)
        if magic != b"PK\x06\x06":
            msg = "missing zip directory (file truncated?)"
            raise DamagedError(msg)
    return count, start + offset, length


def _wide(extra: bytes, *numbers: int) -> tuple[int, ...]:
    """Sizes and place where they are too large for 32 bits, from the extra field."""
    at, found = 0, list(numbers)
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            field = extra[at + 4 : at + 4 + length]
            wide = [i for i, number in enumerate(numbers) if number == 0xFFFFFFFF]
            if len(field) < 8 * len(wide):
                msg = "a member's size is damaged"
                raise DamagedError(msg)
            for i, value in zip(wide, struct.unpack_from(f"<{len(wide)}Q", field), strict=True):
                found[i] = value
        at += 4 + length
    return tuple(found)


def _located(data: mmap.mmap, start: int, stop: int, entry: tuple[int, int, int, int, int]) -> Member:
    offset, stored, size, method, crc = entry
    header = start + offset
    if header + _LOCAL.size > stop or data[header : header + 4] != b"PK\x03\x04":
        msg = "a member of it lies outside of the file"
        raise DamagedError(msg)
    *_, name_length, extra_length = _LOCAL.unpack_from(data, header)
    begin = header + _LOCAL.size + name_length + extra_length
    if begin + stored > stop or (method == STORED and stored != size):
        msg = "a member of it lies outside of the file"
        raise DamagedError(msg)
    return Member(begin, stored, size, method, crc)


def beginning(data: mmap.mmap, member: Member, count: int) -> bytes:
    """The first unpacked bytes of a member; fewer where it is shorter.

    Returns:
        At most `count` bytes.

    Raises:
        DamagedError: it can't be unpacked.
    """
    if member.method == STORED:
        return data[member.start : member.start + min(count, member.stored)]
    packed = data[member.start : member.start + min(member.stored, 2 * count + 1024)]
    try:
        return zlib.decompressobj(-15).decompress(packed, count)
    except zlib.error:
        msg = "a member of it is damaged"
        raise DamagedError(msg) from None


def content(data: mmap.mmap, member: Member) -> bytearray:
    """A member's unpacked bytes.

    Returns:
        All bytes of the member.

    Raises:
        DamagedError: it doesn't hold what it says, or unpacks to more than four times the file and 16 MiB.
    """
    if member.method == STORED:
        found = bytearray(data[member.start : member.start + member.stored])
    elif member.size > 4 * len(data) + 16 * MEBIBYTE:
        msg = f"a member of it claims to unpack to {member.size} bytes, far more than the file explains"
        raise DamagedError(msg)
    else:
        found = _inflated(data, member)
    if len(found) != member.size or zlib.crc32(found) != member.crc:
        msg = "a member of it is damaged"
        raise DamagedError(msg)
    return found


def _inflated(data: mmap.mmap, member: Member) -> bytearray:
    unpacker, found = zlib.decompressobj(-15), bytearray()
    try:
        for place in range(member.start, member.start + member.stored, MEBIBYTE):
            packed = data[place : min(place + MEBIBYTE, member.start + member.stored)]
            while packed and len(found) <= member.size:
                found += unpacker.decompress(packed, MEBIBYTE)
                packed = unpacker.unconsumed_tail
    except zlib.error:
        msg = "a member of it is damaged"
        raise DamagedError(msg) from None
    return found
