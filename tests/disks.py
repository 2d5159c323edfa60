"""Commands on a file system of their own: a tmpfs of some size, which can be filled up and made read-only."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faults import Ended, Fault, Running, _command, contents, context, serve

NEW_USER, NEW_MOUNTS = 0x10000000, 0x00020000
READ_ONLY, REMOUNT, PRIVATE = 1, 32, (1 << 18) | (1 << 14)


@dataclass(frozen=True)
class Step:
    """A command, and how the disk is when it starts.

    Attributes:
        arguments: of the command.
        size: of the disk in bytes, 0 for what it was.
        full: a file takes what is left.
        read_only: nothing can be written.
    """

    arguments: Sequence[object]
    size: int = 0
    full: bool = False
    read_only: bool = False


@dataclass(frozen=True)
class Seen:
    """What became of a step.

    Attributes:
        ended: the command.
        files: SHA-256 of every file on the disk.
        entries: names of all files and folders.
    """

    ended: Ended
    files: dict[str, str]
    entries: list[str]


class RefusedError(Exception):
    """The system permits no file systems of one's own."""


def on_a_disk(steps: Sequence[Step], folder: Path, logs: Path) -> list[Seen]:
    """Run commands one after the other in a folder that is a disk of its own; it goes with them.

    Raises:
        RefusedError: the system permits none.
    """
    process = context.Process(target=_on_a_disk, args=(steps, folder, logs))
    serve()
    process.start()
    process.join()
    refused, answer = logs / "refused", logs / "seen.json"
    if refused.exists():
        raise RefusedError(refused.read_text())
    assert process.exitcode == 0
    return [Seen(Ended(*ended), files, entries) for ended, files, entries in json.loads(answer.read_text())]


def _on_a_disk(steps: Sequence[Step], folder: Path, logs: Path) -> None:
    try:
        _mount_own(folder)
    except OSError as error:
        (logs / "refused").write_text(str(error))
        return
    seen = []
    filler = folder / "filler"
    for number, step in enumerate(steps):
        _mount(None, folder, REMOUNT, f"size={step.size}" if step.size else "")
        filler.unlink(missing_ok=True)
        if step.full:
            _fill(filler)
        if step.read_only:
            _mount(None, folder, REMOUNT | READ_ONLY, "")
        log = logs / f"step{number}"
        # of its kind alone, as only a process without threads can have its own namespaces
        words = [str(argument) for argument in step.arguments]
        process = multiprocessing.get_context("fork").Process(target=_command, args=(words, folder, log, Fault()))
        process.start()
        ended = Running(process, log).end()
        found = {name: digest for name, digest in contents(folder).items() if name != filler.name}
        entries = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path != filler)
        seen.append((_facts(ended), found, entries))
    (logs / "seen.json").write_text(json.dumps(seen))


def _facts(ended: Ended) -> list[object]:
    return [ended.code, ended.stdout, ended.stderr, ended.reached, ended.points, ended.seconds]


def _mount_own(folder: Path) -> None:
    """A tmpfs that this process and its children alone see."""
    user, group = os.getuid(), os.getgid()
    _checked(_libc().unshare(NEW_USER | NEW_MOUNTS))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _mount(None, Path("/"), PRIVATE, "")
    _mount("tmpfs", folder, 0, "")


def _mount(kind: str | None, folder: Path, flags: int, options: str) -> None:
    name = None if kind is None else kind.encode()
    _checked(_libc().mount(name, os.fsencode(folder), name, ctypes.c_ulong(flags), options.encode() or None))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
