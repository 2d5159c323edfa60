"""Files of the well-known data sets: where they are looked for, and whether they are the official ones."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from mixanalysis.errors import DataError


class Raw(NamedTuple):
    """What the files of a data set hold.

    Attributes:
        pixels: uint8, shape (N, channels, height, width).
        labels: int64, shape (N,), or None where the files name no classes.
        classes: number of classes.
        note: what is to be said about the files.
    """

    pixels: Tensor
    labels: Tensor | None
    classes: int
    note: str


class Source(NamedTuple):
    """A data set as its authors give it out.

    Attributes:
        title: its name.
        home: where its files are described.
        archive: the archive that holds the files, or what stands for it in a message.
        folders: sub-folders in which the files may lie, besides the folder itself.
        sums: MD5 (32 digits) or SHA-1 (40) of each file, unpacked.
        pickled: a file of the version for Python, which is never opened.
        packed: MD5 of each file as it is given out, packed with gzip, where no sum of the unpacked file is known.
    """

    title: str
    home: str
    archive: str
    folders: tuple[str, ...]
    sums: Mapping[str, str]
    pickled: str = ""
    packed: Mapping[str, str] = {}


def find(source: Source, directory: Path, names: Sequence[str]) -> list[Path]:
    """The files of these names, each as it is or packed with gzip.

    Returns:
        Paths, in the order of the names.

    Raises:
        DataError: the folder isn't there, or a file of it.
    """
    if not directory.is_dir():
        raise DataError(f"{directory}: no such folder; give the one that holds the files of {source.title}")
    places = [place for name in ("", *source.folders) if (place := directory / name).is_dir()]
    found: list[Path] = []
    missing: list[str] = []
    for name in names:
        candidates = [place / (name + ending) for place in places for ending in ("", ".gz")]
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
        if path is None:
            missing.append(name)
        else:
            found.append(path)
    if missing:
        raise DataError(f"{directory}: {_missing(source, directory, missing)}")
    return found


def _missing(source: Source, directory: Path, names: Sequence[str]) -> str:
    what = f"{', '.join(names)} of {source.title} {'is' if len(names) == 1 else 'are'} missing"
    where = f"{source.archive}, described at {source.home}"
    if source.pickled and any(any(directory.glob(place + source.pickled)) for place in ("", "*/")):
        return f"{what}; it holds the version for Python, whose pickles are never opened: get the binary one, {where}"
    if (directory / source.archive).is_file():
        return f"{what}; unpack {source.archive}"
    return f"{what}; get {where}"


def content(path: Path) -> bytes:
    """A file's bytes, unpacked.

    Returns:
        The bytes.

    Raises:
        DataError: it can't be read.
    """
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: can't be read: {error}; get the file again") from None


def compared(source: Source, contents: Mapping[str, bytes], paths: Sequence[Path] = ()) -> str:
    """A note on the files: official, different from the official ones, or without a known checksum.

    Args:
        source: the data set.
        contents: what each file holds, unpacked, by its official name.
        paths: the files on disk, in the same order; packed ones are compared with `source.packed`.

    Returns:
        One of three notes, which name the data set.
    """
    states: dict[str, list[str]] = {"official": [], "different": [], "unknown": []}
    for (name, data), path in zip_longest(contents.items(), paths):
        states[_state(source, name, data, path)].append(name)
    if not states["different"] and not states["unknown"]:
        return "official files"
    told = {
        "differs from the official file": states["different"],
        "no checksum is known for": states["unknown"],
    }
    return "; ".join(f"{words}: {', '.join(names)}" for words, names in told.items() if names)


def _state(source: Source, name: str, data: bytes, path: Path | None) -> str:
    """Return the state of one file, a key of the states in `compared`."""
    if name in source.sums:
        return "official" if _digest(source.sums[name], data) == source.sums[name] else "different"
    if name in source.packed and path is not None and path.suffix == ".gz":
        # another packing of the same bytes has another sum, so a difference proves nothing
        return "official" if _digest(source.packed[name], path.read_bytes()) == source.packed[name] else "unknown"
    return "unknown"


def _digest(like: str, data: bytes) -> str:
    return hashlib.new({32: "md5", 40: "sha1"}[len(like)], data, usedforsecurity=False).hexdigest()
