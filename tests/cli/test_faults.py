"""Commands that are killed, meet a full disk or one another: no half file, a clear line, and a rerun works."""

from __future__ import annotations

import errno
import re
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from faults import Fault, commands, contents, earlier, half, hidden, left, result, start, write_beside

KILLED = {"expand": (2, 5, 8), "features": (0, 9, 40, 70), "train": (2, 9, 16)}
"""Changes of files before which a command is killed; benchmarks/kill_commands.py takes all of all commands."""

FULL = {"convert": (0, 1), "expand": (1, 3), "features": (0, 5, 20, 40), "train": (0, 3, 6)}
"""Makings of files and folders from which on the disk is full."""


@pytest.fixture(name="logs")
def _logs(tmp_path):
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


@pytest.fixture(name="folder")
def _folder(tmp_path):
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture(name="lines", scope="module")
def _lines(networks, tmp_path_factory):
    """The command lines by their names."""
    before = tmp_path_factory.mktemp("earlier") / "before"
    assert start(earlier(networks, before), before.parent, tmp_path_factory.mktemp("logs")).end().code == 0
    return commands(networks, before)


@pytest.fixture(name="expected", scope="module")
def _expected(lines, tmp_path_factory):
    """What each command gives when nothing goes wrong."""
    logs = tmp_path_factory.mktemp("logs")
    found = {}
    for name in {*KILLED, *FULL, "fig2d", "rerun"}:
        folder = tmp_path_factory.mktemp(name)
        ended = start(lines[name], folder, logs).end()
        assert (ended.code, ended.stderr) == (0, "")
        found[name] = result(folder)
        assert found[name]
    return found


def cases(table):
    return pytest.mark.parametrize(("command", "at"), [(name, at) for name, places in table.items() for at in places])


@cases(KILLED)
def test_a_killed_command(command, at, lines, expected, folder, logs):
    ended = start(lines[command], folder, logs, Fault(signal=signal.SIGKILL, at=at)).end()
    assert ended.code == -signal.SIGKILL
    assert half(folder, expected[command]) == []
    # a file that was finished is refused otherwise
    force = ["--force"] if command == "expand" else []
    again = start([*lines[command], *force], folder, logs).end()
    assert (again.code, again.stderr) == (0, "")
    assert result(folder) == expected[command]
    assert hidden(folder) == []


def test_a_kill_while_files_replace_older_ones(lines, expected, folder, logs):
    command = [*lines["features"], "--no-resume"]
    assert start(command, folder, logs).end().code == 0
    states = []
    for at in (3, 4, 6):
        fault = Fault(signal=signal.SIGKILL, at=at, only="os.rename")
        ended = start(command, folder, logs, fault).end()
        assert ended.code == -signal.SIGKILL
        assert half(folder, expected["features"]) == []
        states.append('"incomplete"' in (folder / "made" / "manifest.json").read_text())
    assert states == [False, True, True], "the test has to hit the replacing itself"
    assert start(command, folder, logs).end().code == 0
    assert result(folder) == expected["features"]
    assert hidden(folder) == []


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
    ids=["Ctrl-C", "SIGTERM"],
)
@pytest.mark.parametrize(("command", "at"), [("features", 30), ("rerun", 9), ("train", 9)])
def test_an_interrupted_command(number, code, word, command, at, lines, expected, folder, logs):
    ended = start(lines[command], folder, logs, Fault(signal=number, at=at)).end()
    assert (ended.code, ended.stdout, ended.stderr) == (code, "", f"mixanalysis: error: {word}\n")
    assert left(folder) == []
    again = start(lines[command], folder, logs).end()
    assert (again.code, again.stderr) == (0, "")
    assert result(folder) == expected[command]
    assert hidden(folder) == []


def test_kills_while_files_come_beside_checkpoints(folder, logs):
    """As in the demo's folder, which has no manifest before."""
    checkpoint = folder / "made" / "checkpoints" / "net"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    kills = 0
    while code := write_beside("checkpoints", folder, logs, Fault(signal=signal.SIGKILL, at=kills, only="os.rename")):
        assert code == -signal.SIGKILL
        kills += 1
        assert write_beside("checkpoints", folder, logs) == 0, f"after a kill at rename {kills - 1}"
        assert contents(folder).keys() == {
            "made/checkpoints/net",
            "made/manifest.json",
            "made/report.txt",
            "made/tables/one.csv",
            "made/tables/two.csv",
        }
        for name in ("manifest.json", "report.txt", "tables/one.csv", "tables/two.csv"):
            (folder / "made" / name).unlink()
        (folder / "made" / "tables").rmdir()
    assert kills > 4


@pytest.mark.parametrize("at", [24, 45])
def test_finished_networks_are_not_trained_again(at, lines, expected, folder, logs):
    """Those of a killed experiment: a second network is under way, or tables are."""
    command = lines["fig2d"]
    assert start(command, folder, logs, Fault(signal=signal.SIGKILL, at=at)).end().code == -signal.SIGKILL
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "made" / "runs").glob("*.safetensors")}
    assert start(command, folder, logs).end().code == 0
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "made" / "runs").glob("*.safetensors")}
    assert before.items() <= after.items()
    assert (len(before), len(after)) == (1 + (at == 45), 2)
    assert result(folder) == expected["fig2d"]
    assert hidden(folder) == []


@cases(FULL)
def test_a_full_disk(command, at, lines, folder, logs):
    ended = start(lines[command], folder, logs, Fault(number=errno.ENOSPC, at=at)).end()
    assert ended.reached
    out = lines[command][lines[command].index("-o") + 1]
    message = "can't be written: No space left on device; free some room, or choose another --output"
    said = ended.stderr.replace(".partial:", ":")
    assert (ended.code, ended.stdout, said) == (3, "", f"mixanalysis: error: {out}: {message}\n")
    assert left(folder) == []


@pytest.mark.parametrize("command", ["convert", "features", "spectrum", "train"])
def test_a_disk_that_fills_up_within_a_file(command, lines, folder, logs):
    arguments = [*lines[command]]
    if command == "convert":
        # torch.save tells it otherwise
        arguments[arguments.index("-o") + 1] = "made/net.pt"
    out = arguments[arguments.index("-o") + 1]
    ended = start(arguments, folder, logs, Fault(file_size=1000)).end()
    message = rf"mixanalysis: error: {out}(\.partial)?: can't be written: (File too large|No space left on device); "
    assert (ended.code, ended.stdout) == (3, "")
    assert re.match(message, ended.stderr), ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert left(folder) == []


@pytest.mark.parametrize(("number", "text"), [(errno.EROFS, "Read-only file system"), (errno.EACCES, "Permission den")])
def test_a_place_that_can_not_be_written_to(number, text, lines, folder, logs):
    (folder / "made").mkdir()
    ended = start(lines["expand"], folder, logs, Fault(number=number)).end()
    assert (ended.code, ended.stdout) == (3, "")
    assert ended.stderr.startswith(f"mixanalysis: error: made/net.safetensors: can't be written: {text}")
    assert ended.stderr.endswith("; choose another --output\n")
    assert hidden(folder) == []


@pytest.mark.parametrize("command", ["expand", "features"])
def test_a_file_where_a_folder_has_to_be(command, lines, folder, logs):
    (folder / "made").write_text("mine")
    ended = start(lines[command], folder, logs).end()
    assert ended.code in (2, 3)
    assert len(ended.stderr.splitlines()) == 1
    assert "made" in ended.stderr
    assert "choose another --output" in ended.stderr
    assert contents(folder).keys() == {"made"}
    assert (folder / "made").read_text() == "mine"


@pytest.mark.parametrize("command", ["features", "train"])
def test_two_runs_at_once(command, lines, expected, folder, logs):
    arguments = lines[command]
    out = arguments[arguments.index("-o") + 1]
    # the first one stops in the middle, with the place taken
    first = start(arguments, folder, logs, Fault(signal=signal.SIGSTOP, at=3))
    for _ in range(3000):
        if (
            first.process.pid
            and Path(f"/proc/{first.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
        ):
            break
        time.sleep(0.02)
    try:
        second = start(arguments, folder, logs).end()
    finally:
        first.kill_after(0, signal.SIGCONT)
    message = "another run is writing there; wait until it ends, or choose another --output"
    assert (second.code, second.stderr) == (2, f"mixanalysis: error: {out}: {message}\n")
    assert first.end().code == 0
    assert result(folder) == expected[command]
    assert hidden(folder) == []


def ranks(arguments, folder, logs, faults):
    """The command as torchrun starts it, in as many processes as there are faults."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(len(faults)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        start(
            arguments, folder, logs, replace(fault, environment=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        )
        for rank, fault in enumerate(faults)
    ]


@pytest.mark.parametrize("dies", [0, 1], ids=["the first dies", "the second dies"])
def test_a_process_of_several_that_dies(dies, lines, folder, logs):
    arguments = [*lines["cka"], "--no-resume"]
    started = ranks(arguments, folder, logs, [Fault(dies_at_end=rank == dies) for rank in (0, 1)])
    ended = [process.end(60) for process in started]
    assert ended[dies].code == -signal.SIGKILL
    other = ended[1 - dies]
    assert other.code == 1
    message = "another process of this run has ended before its time; start the run again"
    assert other.stdout == ""
    # the first process keeps what all share, and torch itself says that it is gone
    lines = other.stderr.splitlines()
    assert lines[-1] == f"mixanalysis: error: {message}"
    assert dies == 0 or len(lines) == 1
    assert not (folder / "made").exists()
    assert dies == 0 or list(folder.rglob("*")) == []
    again = start(arguments, folder, logs).end()
    assert (again.code, again.stderr, hidden(folder)) == (0, "", [])
