"""Writing so that nothing is ever half-written: under a hidden name beside the place, moved there in one step."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from mixanalysis.files.failures import output_errors
from mixanalysis.files.leftovers import (
    SUFFIX,
    absolute,
    hidden_prefix,
    in_the_end,
    parents,
    remove,
    remove_stale,
    stands,
    try_lock,
)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; on success it replaces `path`, on failure it goes.

    Args:
        path: where the finished file shall stand; missing folders are made.

    Yields:
        The temporary path.

    Raises:
        OutputError: the place can't be written to, or its disk is full.
    """
    with _temporary(path, _make_file) as temporary:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path`, which may replace it, and goes in the end.

    Yields:
        The path of the empty folder.

    Raises:
        OutputError: the place can't be written to, or its disk is full.
    """
    with _temporary(path, _make_folder) as temporary:
        temporary.chmod(0o777 & ~_umask())
        yield temporary


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step, UTF-8 with plain newlines."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextlib.contextmanager
def _temporary(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    place = absolute(path)
    names: list[Path] = []

    def remove_all() -> None:
        for name in names:
            remove(name)

    with output_errors(path), parents(place), in_the_end(remove_all):
        remove_stale(path)
        handle = _owned(place, make, names)
        try:
            yield names[-1]
        finally:
            remove_all()
            if handle is not None:
                os.close(handle)


def _owned(place: Path, make: Callable[[Path], None], names: list[Path]) -> int | None:
    """Make a file or folder and hold the lock that says it is alive; None where the system has no such locks.

    Args:
        place: beside which it is made.
        make: makes it.
        names: its name is appended before it is made; those before it are gone.

    Returns:
        The file descriptor that holds the lock, or None.
    """
    while True:
        names.append(place.with_name(f"{hidden_prefix(place)}{secrets.token_hex(4)}{SUFFIX}"))
        make(names[-1])
        try:
            handle = os.open(names[-1], os.O_RDONLY)
        except FileNotFoundError:
            continue  # another run took it for a dead one's, as it wasn't locked yet
        except OSError:
            return None
        with contextlib.suppress(BlockingIOError):
            if not try_lock(handle) or stands(handle, names[-1]):
                return handle
        os.close(handle)


def _make_file(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _make_folder(path: Path) -> None:
    path.mkdir(0o700)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
