"""One run at a time for an output."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mixanalysis.errors import BusyError
from mixanalysis.files.failures import output_errors
from mixanalysis.files.leftovers import absolute, in_the_end, lock_of, parents, stands, try_lock


@contextlib.contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Refuse a second run that writes to `path`, on this machine or on any that shares its locks.

    Raises:
        BusyError: another run writes to it.
        OutputError: the place can't be written to.
    """
    place = absolute(path)
    lock = lock_of(place)
    held: list[BinaryIO] = []

    def release() -> None:
        with contextlib.suppress(OSError):
            if not held:
                held.append(lock.open("rb"))  # lost in an interruption, and so it isn't locked any more
            handle = held[-1].fileno()
            if not try_lock(handle) or stands(handle, lock):
                lock.unlink()
        while held:
            held.pop().close()

    with output_errors(path), parents(place), in_the_end(release):
        while True:
            held.append(lock.open("ab"))
            handle = held[-1].fileno()
            try:
                if not try_lock(handle) or stands(handle, lock):
                    break
            except BlockingIOError:
                message = f"{path}: another run is writing there; wait until it ends, or choose another --output"
                raise BusyError(message) from None
            held.pop().close()  # a run that ended in between has taken the file away
        yield
