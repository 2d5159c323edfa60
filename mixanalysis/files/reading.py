"""Reading files that others wrote: kind, size and depth are checked before anything is believed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

JSON_BYTES = 64 * 2**20
"""The largest JSON file that is read, in bytes; a manifest of a thousand outputs has about a tenth of a mebibyte."""

JSON_DEPTH = 64
"""Tables within tables that JSON may have; no file of this package or of the usual trainers has ten."""

_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKETS = re.compile(r"[\[{\]}]")
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


class Stamp(NamedTuple):
    """Identity of a file at some time; it differs once the file has been replaced or written to.

    Attributes:
        path: the file.
        inode: its inode number.
        size: its size in bytes.
        time: time of its last change, in nanoseconds.
    """

    path: Path
    inode: int
    size: int
    time: int


def regular_size(path: Path) -> int:
    """Size of a regular file, found without opening it: opening a pipe or a device may block for ever.

    Args:
        path: the file, or a link to one.

    Returns:
        Its size in bytes.

    Raises:
        IsADirectoryError: it is a folder.
        OSError: there is nothing of that name, or it is a pipe, a device or a socket.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    for is_kind, name in _KINDS:
        if is_kind(status.st_mode):
            raise OSError(errno.EINVAL, f"is {name}, not a regular file", str(path))
    return status.st_size


def read_json(path: Path, limit: int = JSON_BYTES) -> Any:
    """Read a JSON file that may be damaged or hostile.

    Args:
        path: a regular file of UTF-8 text.
        limit: the largest size that is read, in bytes.

    Returns:
        Tables, lists, text and numbers, at most `JSON_DEPTH` deep.

    Raises:
        OSError: the file can't be read, or isn't a regular one.
        ValueError: it is too large, nested too deeply, or no JSON.
    """
    size = regular_size(path)
    if size > limit:
        msg = f"has {size} bytes, more than the {limit} that are read of such a file"
        raise ValueError(msg)
    return parse_json(path.read_text(encoding="utf-8"))


def parse_json(text: str) -> Any:
    """Read JSON that may be damaged or hostile.

    Args:
        text: the JSON; NaN and infinite numbers, which JSON doesn't have, are refused.

    Returns:
        Tables, lists, text and numbers, at most `JSON_DEPTH` deep.

    Raises:
        ValueError: it is nested too deeply, no JSON, or holds text that isn't Unicode.

    Examples:
        >>> parse_json('{"epochs": [1, 2]}')
        {'epochs': [1, 2]}
    """
    steps = (1 if bracket in "[{" else -1 for bracket in _BRACKETS.findall(_STRING.sub("", text)))
    if max(accumulate(steps), default=0) > JSON_DEPTH:
        msg = f"is nested more than {JSON_DEPTH} levels deep"
        raise ValueError(msg)
    found = json.loads(text, parse_constant=_refuse)
    if "\\u" in text:  # half of a surrogate pair can be neither printed nor written
        json.dumps(found, ensure_ascii=False).encode()
    return found


def _refuse(constant: str) -> None:
    msg = f"{constant} is not a JSON number"
    raise ValueError(msg)


def stamp(path: Path) -> Stamp:
    """Identity of a file as it is now."""
    status = path.stat()
    return Stamp(path, status.st_ino, status.st_size, status.st_mtime_ns)


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    regular_size(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
