"""Writing files so that nothing is ever half-written, and naming their content.

What is being written lies under a hidden name beside its place and is moved there in one step. Its process holds a lock
on it: what a killed process left has none, and goes when the same place is written to again.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mixanalysis.errors import BusyError, MixanalysisError, OutputError

try:
    import fcntl
except ImportError:  # not on this system: temporary files of killed runs then stay
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".mixanalysis.tmp"
"""Of temporary files and folders, whose names begin with a dot and the name of their place."""

_open: list[Callable[[], None]] = []
"""What is to be done in the end, the last first; each may be done twice."""

_TORCH = re.compile(r"PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+")
"""What torch.save says of a full disk."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {
    errno.EACCES,
    errno.EEXIST,
    errno.EIO,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.ENOTEMPTY,
    errno.EPERM,
}


class Stamp(NamedTuple):
    """A file as it was at some time.

    Attributes:
        path: where it stood.
        inode: its number.
        size: in bytes.
        time: of its last change, in nanoseconds.
    """

    path: Path
    inode: int
    size: int
    time: int


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; on success it replaces `path`, on failure it goes.

    Args:
        path: where the finished file shall stand; missing folders are made.

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

    Raises:
        OutputError: the place can't be written to, or its disk is full.
    """
    with _temporary(path, _make_folder) as temporary:
        temporary.chmod(0o777 & ~_umask())
        yield temporary


@contextlib.contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Refuse a second run that writes to `path`, on this machine or on any that shares its locks.

    Raises:
        BusyError: another run writes to it.
        OutputError: the place can't be written to.
    """
    place = _absolute(path)
    lock = _lock_of(place)
    held: list[BinaryIO] = []

    def release() -> None:
        with contextlib.suppress(OSError):
            if not held:
                held.append(lock.open("rb"))  # lost in an interruption, and so it isn't locked any more
            handle = held[-1].fileno()
            if not _lock(handle) or _stands(handle, lock):
                lock.unlink()
        while held:
            held.pop().close()

    with output_errors(path), _parents(place), _in_the_end(release):
        while True:
            held.append(lock.open("ab"))
            handle = held[-1].fileno()
            try:
                if not _lock(handle) or _stands(handle, lock):
                    break
            except BlockingIOError:
                message = f"{path}: another run is writing there; wait until it ends, or choose another --output"
                raise BusyError(message) from None
            held.pop().close()  # a run that ended in between has taken the file away
        yield


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Say of a full disk and of a place that can't be written to which output they hit.

    Raises:
        OutputError: in place of the system's and the libraries' own errors.
    """
    hidden = str(_absolute(path).with_name(_prefix(_absolute(path))))
    try:
        yield
    except OutputError as error:
        if str(_absolute(error.path)).startswith(hidden):
            raise OutputError(path, error.reason) from error
        raise
    except MixanalysisError:
        raise
    except Exception as error:
        reason = _reason(error, path, hidden)
        if reason is None:
            raise
        raise OutputError(path, reason) from error


def remove_stale(path: Path) -> None:
    """Remove what killed runs have left beside `path`, under its name or a longer one, and their lock."""
    place = _absolute(path)
    hidden = place.parent.glob(f"{glob.escape(_prefix(place).removesuffix('.'))}*{SUFFIX}")
    for found in (*hidden, _lock_of(place)):
        with contextlib.suppress(OSError):  # it lives, isn't ours to remove, or went by itself
            handle = os.open(found, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            try:
                if _lock(handle):
                    _remove(found)
            finally:
                os.close(handle)


def stamp(path: Path) -> Stamp:
    """What whoever replaces a file or writes to it changes."""
    fact = path.stat()
    return Stamp(path, fact.st_ino, fact.st_size, fact.st_mtime_ns)


def clean_up() -> None:
    """Take away what an interruption has left of this process's temporary files, locks and empty folders."""
    while _open:
        _open.pop()()


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step, UTF-8 with plain newlines."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _temporary(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    place = _absolute(path)
    names: list[Path] = []

    def remove() -> None:
        for name in names:
            _remove(name)

    with output_errors(path), _parents(place), _in_the_end(remove):
        remove_stale(path)
        handle = _owned(place, make, names)
        try:
            yield names[-1]
        finally:
            remove()
            if handle is not None:
                os.close(handle)


def _owned(place: Path, make: Callable[[Path], None], names: list[Path]) -> int | None:
    """Make a file or folder and hold the lock that says it is alive; None where the system has no such locks.

    Args:
        place: beside which it is made.
        make: makes it.
        names: its name is appended before it is made; those before it are gone.
    """
    while True:
        names.append(place.with_name(f"{_prefix(place)}{secrets.token_hex(4)}{SUFFIX}"))
        make(names[-1])
        try:
            handle = os.open(names[-1], os.O_RDONLY)
        except FileNotFoundError:
            continue  # another run took it for a dead one's, as it wasn't locked yet
        except OSError:
            return None
        with contextlib.suppress(BlockingIOError):
            if not _lock(handle) or _stands(handle, names[-1]):
                return handle
        os.close(handle)


def _make_file(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _make_folder(path: Path) -> None:
    path.mkdir(0o700)


def _prefix(place: Path) -> str:
    """How hidden names beside a place begin; a hidden place's own are the same and longer."""
    return f"{place.name}." if place.name.endswith(SUFFIX) else f".{place.name}."


@contextlib.contextmanager
def _in_the_end(action: Callable[[], None]) -> Iterator[None]:
    """Do something when this ends, or in `clean_up` where an interruption hits just between."""
    _open.append(action)
    try:
        yield
    finally:
        action()
        # what is still open within has been interrupted, and has to be done before this once more
        if _open and _open[-1] is action:
            _open.pop()


def _lock_of(place: Path) -> Path:
    return place.with_name(f".{place.name}.lock")


def _lock(handle: int) -> bool:
    """Lock an open file; False where that isn't possible, BlockingIOError where another process has it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _stands(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):  # a read-only disk refuses it even where nothing is there
            path.unlink()


@contextlib.contextmanager
def _parents(place: Path) -> Iterator[None]:
    """Make missing folders; those that are empty in the end go."""
    made = [parent for parent in place.parents if not parent.exists()]

    def remove() -> None:
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()

    with _in_the_end(remove):
        place.parent.mkdir(parents=True, exist_ok=True)
        yield


def _reason(error: BaseException | None, path: Path, hidden: str) -> str | None:
    """Why an output can't be written, by the errors that led to this one; None where it is about something else."""
    while error is not None:
        text = str(error)
        if isinstance(error, OSError):
            number, name = error.errno or 0, str(error.filename)
        else:
            # safetensors passes the system's errors on as text
            found = re.search(r"\(os error (\d+)\)", text)
            number, name = int(found[1]) if found else 0, hidden
        if number in _FULL or _TORCH.search(text):
            return f"{os.strerror(number or errno.ENOSPC)}; free some room, or choose another --output"
        ours = name.startswith(hidden) or Path(name) in (path, _absolute(path), *_absolute(path).parents)
        if number == errno.EROFS or (number in _REFUSED and ours):
            return f"{os.strerror(number)}; choose another --output"
        error = error.__cause__ or error.__context__
    return None


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - links are left as they are


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
