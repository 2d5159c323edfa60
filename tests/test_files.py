"""Nothing is ever half-written: a file is there whole, or as it was."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from mixanalysis.errors import BusyError, OutputError
from mixanalysis.files import (
    SUFFIX,
    atomic_write,
    clean_up,
    exclusive_lock,
    output_errors,
    parse_json,
    read_json,
    regular_size,
    remove_stale,
    sha256,
    temporary_folder,
    write_text,
)
from mixanalysis.files.reading import JSON_DEPTH


@pytest.fixture(name="umask", params=[0o022, 0o077, 0o002], ids=oct)
def _umask(request):
    previous = os.umask(request.param)
    yield request.param
    os.umask(previous)


def test_the_file_is_there_once_it_is_finished(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path, "only within one file system is the replacement one step"
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_old_file_is_replaced_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


STRIDE = 3
"""One of so many steps is interrupted; with 1, all."""

FAILURES = [ValueError, KeyboardInterrupt, SystemExit]


def write_half(path, failure):
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        raise failure


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_leaves_nothing(tmp_path, failure):
    with pytest.raises(failure):
        write_half(tmp_path / "a.txt", failure)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_keeps_the_old_file(tmp_path, failure):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(failure):
        write_half(path, failure)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_target_that_can_not_be_replaced_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "a.txt").mkdir()
    message = r"a\.txt: can't be written: Is a directory; choose another --output"
    with pytest.raises(OutputError, match=message):
        write_text(tmp_path / "a.txt", "new")
    assert list(tmp_path.rglob("*")) == [tmp_path / "a.txt"]


def test_folders_are_made(tmp_path):
    with atomic_write(tmp_path / "x" / "y" / "a.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "x" / "y" / "a.txt").read_text() == "new"


def test_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_write(path) as first, atomic_write(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_follow_the_umask(tmp_path, umask):
    with atomic_write(tmp_path / "a.txt") as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
    (tmp_path / "b.txt").touch()
    mode = stat.S_IMODE((tmp_path / "a.txt").stat().st_mode)
    assert mode == 0o666 & ~umask == stat.S_IMODE((tmp_path / "b.txt").stat().st_mode)
    assert os.umask(umask) == umask, "the umask itself is left alone"


def test_text_is_utf_8_with_plain_newlines(tmp_path):
    write_text(tmp_path / "a.txt", "Ω = 1\nγ = 2\n")
    assert (tmp_path / "a.txt").read_bytes() == "Ω = 1\nγ = 2\n".encode()


def test_sha256_is_that_of_the_content(tmp_path):
    content = bytes(range(256)) * 4096
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "empty").touch()
    assert sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()
    assert sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def interrupted(at, path):
    """Write a file and be interrupted before the at-th step of files and contextlib; False where there is none."""
    steps = 0

    def look(frame, event, _argument):
        nonlocal steps
        path_of_code = Path(frame.f_code.co_filename)
        if path_of_code.parent.name != "files" and path_of_code.name != "contextlib.py":
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            steps += 1
            if steps > at:
                sys.settrace(None)
                raise KeyboardInterrupt
        return look

    sys.settrace(look)
    try:
        with exclusive_lock(path), atomic_write(path) as temporary:
            temporary.touch()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


class TestLeftovers:
    def test_those_of_killed_runs_go(self, tmp_path):
        (tmp_path / f".a.txt.killed{SUFFIX}").write_text("half")
        (tmp_path / f".a.txt.folder{SUFFIX}" / "inner").mkdir(parents=True)
        write_text(tmp_path / "a.txt", "new")
        assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]

    def test_those_of_a_file_within_a_file_go(self, tmp_path):
        """A writer that is given a temporary name may write by way of another one."""
        with atomic_write(tmp_path / "a.txt") as outer, atomic_write(outer) as inner:
            inner.touch()
            names = [path.name for path in tmp_path.iterdir()]
        assert len(names) == 2
        (tmp_path / "a.txt").unlink()
        for name in names:
            (tmp_path / name).touch()
        write_text(tmp_path / "a.txt", "new")
        assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]

    def test_a_lock_goes_unless_it_is_held(self, tmp_path):
        lock = tmp_path / ".a.txt.lock"
        lock.touch()
        remove_stale(tmp_path / "a.txt")
        assert list(tmp_path.iterdir()) == []
        with exclusive_lock(tmp_path / "a.txt"):
            remove_stale(tmp_path / "a.txt")
            assert list(tmp_path.iterdir()) == [lock]
            with pytest.raises(BusyError, match=r"a\.txt: another run is writing there; wait until it ends"):
                exclusive_lock(tmp_path / "a.txt").__enter__()
            assert list(tmp_path.iterdir()) == [lock]
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_an_interruption_anywhere_leaves_nothing(self, tmp_path):
        """Between any two steps of taking and leaving a place."""
        path = tmp_path / "x" / "a.txt"
        for at in itertools.count(step=STRIDE):
            hit = interrupted(at, path)
            clean_up()
            assert sorted(tmp_path.rglob("*")) in ([], [path.parent, path])
            if not hit:
                break
            path.unlink(missing_ok=True)
        assert at > 500
        assert path.exists()

    def test_those_that_live_stay(self, tmp_path):
        with atomic_write(tmp_path / "a.txt") as file, temporary_folder(tmp_path / "a.txt") as folder:
            remove_stale(tmp_path / "a.txt")
            assert file.exists()
            assert folder.exists()
            file.touch()

    def test_names_of_others_stay(self, tmp_path):
        names = [".a.txt.other.tmp", f".b.txt.killed{SUFFIX}", f"a.txt.killed{SUFFIX}"]
        for name in names:
            (tmp_path / name).touch()
        (tmp_path / f".a.txt.link{SUFFIX}").symlink_to(tmp_path / names[0])
        write_text(tmp_path / "a.txt", "new")
        assert {path.name for path in tmp_path.iterdir()} == {*names, "a.txt", f".a.txt.link{SUFFIX}"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "full"), "No space left on device; free some room, or choose another --output"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 640 vs 534"), "No space left"),
        (RuntimeError("I/O error: Disk quota exceeded (os error 122)"), "Disk quota exceeded; free some room"),
        (OSError(errno.EROFS, "read-only", "x"), "Read-only file system; choose another --output"),
    ],
    ids=["system", "torch", "safetensors", "read-only"],
)
def test_what_writers_say_of_a_disk(error, reason, tmp_path):
    with pytest.raises(OutputError, match=f"a.txt: can't be written: {reason}"), output_errors(tmp_path / "a.txt"):
        raise error
    assert OutputError.exit_code == 3


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "no", "/elsewhere/data.npz"), FileNotFoundError(2, "gone", "x")]
)
def test_errors_about_other_files_stay_what_they_are(error, tmp_path):
    with pytest.raises(type(error)) as found, output_errors(tmp_path / "a.txt"):
        raise error
    assert found.value is error


class TestReading:
    def test_json_is_read_as_json(self, tmp_path):
        (tmp_path / "a.json").write_text('{"a": [1, {"b": "[[["}], "c": "\\u00e9\\ud83d\\ude00"}', encoding="utf-8")
        assert read_json(tmp_path / "a.json") == {"a": [1, {"b": "[[["}], "c": "é😀"}

    @pytest.mark.parametrize("opened", ["[", '{"a":'])
    def test_depth_is_bounded_before_anything_recurses(self, opened):
        closed = {"[": "]", '{"a":': "}"}[opened]
        assert parse_json(opened * JSON_DEPTH + "1" + closed * JSON_DEPTH)
        for depth in (JSON_DEPTH + 1, 100_000):
            with pytest.raises(ValueError, match=f"is nested more than {JSON_DEPTH} levels deep"):
                parse_json(opened * depth + "1" + closed * depth)
            with pytest.raises(ValueError, match="is nested more than"):
                parse_json(opened * depth)

    def test_brackets_in_text_are_no_nesting(self):
        text = "[" * 1000 + '"\\'
        assert parse_json(json.dumps({"a": text})) == {"a": text}

    @pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}'])
    def test_what_is_no_number_of_json_is_refused(self, text):
        with pytest.raises(ValueError, match="is not a JSON number"):
            parse_json(text)

    @pytest.mark.parametrize("text", ["", "{", '"a', '["\\ud800"]', "[1]]", "1" * 5000, '{"a" 1}', "]" * 200])
    def test_what_is_no_sound_json_is_a_value_error(self, text):
        with pytest.raises(ValueError, match=r".+"):
            parse_json(text)

    def test_size_is_bounded(self, tmp_path):
        (tmp_path / "a.json").write_text("[1, 2]")
        assert read_json(tmp_path / "a.json", 6) == [1, 2]
        with pytest.raises(ValueError, match="has 6 bytes, more than the 5 that are read"):
            read_json(tmp_path / "a.json", 5)

    def test_pipes_devices_and_sockets_are_never_opened(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "link").symlink_to("pipe")
        for path, what in [("pipe", "a named pipe"), ("link", "a named pipe"), ("/dev/zero", "a device")]:
            for reader in (regular_size, read_json, sha256):
                with pytest.raises(OSError, match=f"is {what}, not a regular file"):
                    reader(tmp_path / path)
        with pytest.raises(IsADirectoryError, match="Is a directory"):
            regular_size(tmp_path)
        with pytest.raises(FileNotFoundError):
            regular_size(tmp_path / "none")
        (tmp_path / "file").write_bytes(b"12")
        assert regular_size(tmp_path / "file") == 2
