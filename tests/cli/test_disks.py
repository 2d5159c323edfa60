"""Commands on a disk that really is full or read-only: nothing half, a clear line, and room is all that is needed."""

from __future__ import annotations

import pytest

from disks import RefusedError, Seen, Step, on_a_disk
from faults import commands

SIZES = {"cka": 40960, "convert": 4096, "expand": 8192, "features": 8192, "fig2d": 4096, "spectrum": 12288}
"""Bytes that aren't enough for what a command writes, though for some of it."""

REPLACED = ("cka", "convert", "features")
"""Those that write once more where they have written before."""


def seen(steps, tmp_path) -> list[Seen]:
    folder, logs = tmp_path / "work", tmp_path / "logs"
    folder.mkdir()
    logs.mkdir()
    try:
        return on_a_disk(steps, folder, logs)
    except RefusedError as error:
        pytest.skip(f"no file systems of one's own here: {error}")


def output(arguments):
    return arguments[arguments.index("-o") + 1]


def lasting(files):
    return {name: digest for name, digest in files.items() if not name.endswith("manifest.json")}


@pytest.mark.parametrize("command", SIZES)
def test_a_disk_with_too_little_room(command, networks, tmp_path):
    arguments = commands(networks)[command]
    failed, finished = seen([Step(arguments, size=SIZES[command]), Step(arguments, size=1 << 24)], tmp_path)
    assert (failed.ended.code, failed.ended.stdout) == (3, "")
    (line,) = failed.ended.stderr.splitlines()
    assert line.startswith(f"mixanalysis: error: {output(arguments)}")
    assert line.endswith(": can't be written: No space left on device; free some room, or choose another --output")
    # finished batches are kept to go on from
    assert [name for name in failed.entries if ".made.resume" not in name] == []
    assert (finished.ended.code, finished.ended.stderr) == (0, "")
    assert output(arguments) in finished.entries
    assert [name for name in finished.entries if name.startswith(".") or "/." in name] == []


@pytest.mark.parametrize("command", REPLACED)
def test_results_outlive_a_full_and_a_read_only_disk(command, networks, tmp_path):
    arguments = [*commands(networks)[command], "--force"]
    steps = [
        Step(arguments, size=1 << 24),
        Step(arguments, full=True),
        Step(arguments, read_only=True),
        Step(arguments),
    ]
    first, full, read_only, last = seen(steps, tmp_path)
    for failed, reason in (
        (full, "No space left on device; free some room, or"),
        (read_only, "Read-only file system;"),
    ):
        assert (failed.ended.code, failed.ended.stdout) == (3, "")
        message = f"mixanalysis: error: {output(arguments)}: can't be written: {reason} choose another --output\n"
        assert failed.ended.stderr == message
        assert (failed.files, failed.entries) == (first.files, first.entries)
    assert [first.ended.code, last.ended.code] == [0, 0]
    assert (lasting(last.files), last.entries) == (lasting(first.files), first.entries)
    assert first.ended.stdout == last.ended.stdout


def test_a_new_folder_on_a_read_only_disk(networks, tmp_path):
    (only,) = seen([Step(commands(networks)["expand"], read_only=True)], tmp_path)
    message = "made/net.safetensors: can't be written: Read-only file system; choose another --output"
    assert (only.ended.code, only.ended.stderr) == (3, f"mixanalysis: error: {message}\n")
    assert only.entries == []
