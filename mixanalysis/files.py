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
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mixanalysis.errors import BusyError, MixanalysisError, OutputError

try:
    import fcntl
except ImportError:  # not on this system: temporary files of killed runs then stay
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".mixanalysis.tmp"
"""Of temporary files and folders, whose names begin with a dot and the name of their place."""

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
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; on success it replaces `path`, on failure it goes.

    Args:
        path: where the finished file shall stand; missing folders are made.

    Raises:
        OutputError: the place can't be written to, or its disk is full.
    """
    with _temporary(path, _new_file) as temporary:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path`, which may replace it, and goes in the end.

    Raises:
        OutputError: the place can't be written to, or its disk is full.
    """
    with _temporary(path, _new_folder) as temporary:
        temporary.chmod(0o777 & ~_umask())
        yield temporary


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Refuse a second run that writes to `path`, on this machine or on any that shares its locks.

    Raises:
        BusyError: another run writes to it.
        OutputError: the place can't be written to.
    """
    place = _absolute(path)
    lock = place.with_name(f".{place.name}.lock")
    with writing(path), _parents(place):
        while True:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                locked = _lock(handle)
            except BlockingIOError:
                os.close(handle)
                message = f"{path}: another run is writing there; wait until it ends, or choose another --output"
                raise BusyError(message) from None
            if not locked or _stands(handle, lock):
                break
            os.close(handle)  # a run that ended in between has taken the file away
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            os.close(handle)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say of a full disk and of a place that can't be written to which output they hit.

    Raises:
        OutputError: in place of the system's and the libraries' own errors.
    """
    hidden = str(_absolute(path).with_name(f".{_absolute(path).name}."))
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
    """Remove what killed runs have left beside `path`, under its name or a longer one."""
    place = _absolute(path)
    for found in place.parent.glob(f".{glob.escape(place.name)}*{SUFFIX}"):
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


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step, UTF-8 with plain newlines."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _temporary(path: Path, new: Callable[[Path], str]) -> Iterator[Path]:
    place = _absolute(path)
    with writing(path), _parents(place):
        remove_stale(path)
        temporary, handle = _owned(place, new)
        try:
            yield temporary
        finally:
            _remove(temporary)
            if handle is not None:
                os.close(handle)


def _owned(place: Path, new: Callable[[Path], str]) -> tuple[Path, int | None]:
    """A new temporary name, with the lock that says it is alive; None where the system has no such locks."""
    while True:
        temporary = Path(new(place))
        try:
            handle = os.open(temporary, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another run took it for a dead one's, as it wasn't locked yet
        except OSError:
            return temporary, None
        with contextlib.suppress(BlockingIOError):
            if not _lock(handle) or _stands(handle, temporary):
                return temporary, handle
        os.close(handle)


def _new_file(place: Path) -> str:
    handle, name = tempfile.mkstemp(prefix=f".{place.name}.", suffix=SUFFIX, dir=place.parent)
    os.close(handle)
    return name


def _new_folder(place: Path) -> str:
    return tempfile.mkdtemp(prefix=f".{place.name}.", suffix=SUFFIX, dir=place.parent)


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
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _parents(place: Path) -> Iterator[None]:
    """Make missing folders; those that are empty in the end go."""
    made = [parent for parent in place.parents if not parent.exists()]
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()


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
