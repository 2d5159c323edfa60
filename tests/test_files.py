"""Nothing is ever half-written: a file is there whole, or as it was."""

from __future__ import annotations

import hashlib
import os
import stat

import pytest

from mixanalysis.files import replacing, sha256, write_text


@pytest.fixture(name="umask", params=[0o022, 0o077, 0o002], ids=oct)
def _umask(request):
    previous = os.umask(request.param)
    yield request.param
    os.umask(previous)


def test_the_file_is_there_once_it_is_finished(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path, "only within one file system is the replacement one step"
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_old_file_is_replaced_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


FAILURES = [ValueError, KeyboardInterrupt, SystemExit]


def write_half(path, failure):
    with replacing(path) as temporary:
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
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "a.txt", "new")
    assert list(tmp_path.rglob("*")) == [tmp_path / "a.txt"]


def test_folders_are_made(tmp_path):
    with replacing(tmp_path / "x" / "y" / "a.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "x" / "y" / "a.txt").read_text() == "new"


def test_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_follow_the_umask(tmp_path, umask):
    with replacing(tmp_path / "a.txt") as temporary:
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
