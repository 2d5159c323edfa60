"""Leftovers of killed and interrupted runs: hidden names beside an output, and locks that tell which are in use.

A temporary file or folder is itself locked (flock), so that one left by a killed process is recognised by having no
lock. The package filelock can't replace this: it locks a file of its own, which it leaves in place on Unix, it doesn't
lock folders, and an interruption within it may leave its file behind.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on this system: temporary files of killed runs then stay
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".mixanalysis.tmp"
"""Ending of temporary files and folders, whose names begin with a dot and the name of their place."""

_open: list[Callable[[], None]] = []
"""Pending clean-up actions, run last first; each may run twice."""


def remove_stale(path: Path) -> None:
    """Remove temporary files, folders and locks that killed runs have left beside an output.

    Args:
        path: the output; leftovers of longer names that begin with its name go too.
    """
    place = absolute(path)
    hidden = place.parent.glob(f"{glob.escape(hidden_prefix(place).removesuffix('.'))}*{SUFFIX}")
    for leftover in (*hidden, lock_of(place)):
        with contextlib.suppress(OSError):  # it lives, isn't ours to remove, or went by itself
            handle = os.open(leftover, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            try:
                if try_lock(handle):
                    remove(leftover)
            finally:
                os.close(handle)


def clean_up() -> None:
    """Remove temporary files, locks and empty folders that an interruption of this process has left."""
    while _open:
        _open.pop()()


@contextlib.contextmanager
def in_the_end(action: Callable[[], None]) -> Iterator[None]:
    """Run an action at the end of a block, or in `clean_up` where an interruption comes just before it.

    Args:
        action: the action, which may run twice.
    """
    _open.append(action)
    try:
        yield
    finally:
        action()
        # what is still open within has been interrupted, and has to be done before this once more
        if _open and _open[-1] is action:
            _open.pop()


@contextlib.contextmanager
def parents(place: Path) -> Iterator[None]:
    """Make an output's missing folders; those that are empty in the end are removed.

    Args:
        place: the output.
    """
    made = [parent for parent in place.parents if not parent.exists()]

    def remove() -> None:
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()

    with in_the_end(remove):
        place.parent.mkdir(parents=True, exist_ok=True)
        yield


def hidden_prefix(place: Path) -> str:
    """Beginning of the names of temporary files beside an output; those of a temporary file begin with its own name."""
    return f"{place.name}." if place.name.endswith(SUFFIX) else f".{place.name}."


def lock_of(place: Path) -> Path:
    """Path of an output's lock file."""
    return place.with_name(f".{place.name}.lock")


def try_lock(handle: int) -> bool:
    """Lock an open file or folder without waiting.

    Args:
        handle: its file descriptor.

    Returns:
        Whether it is locked; False where the system or the file system has no such locks.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def stands(handle: int, path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def remove(path: Path) -> None:
    """Remove a file, link or folder, if that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):  # a read-only disk refuses it even where nothing is there
            path.unlink()


def absolute(path: Path) -> Path:
    """Absolute path with its links left as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - links are left as they are
