"""Files of features whose run was cut: the next one goes on from finished batches, to the same bytes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mixanalysis.datasets import Dataset
from mixanalysis.similarity import FeatureExtractor, Unfinished, store

BATCH = 4
EXAMPLES = 22
LAST = 6
"""Batches, of which the last one is shorter."""


class Counted(nn.Module):
    """Counts its batches, fails at one of them, and has features that aren't finite from the third batch on."""

    def __init__(self, fails_at=-1):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.other = nn.Linear(5, 3), nn.Linear(3, 4)
        self.seen, self.fails_at = 0, fails_at

    def forward(self, x):
        # the first batch is seen twice
        if self.seen == self.fails_at + 1 > 0:
            raise KeyboardInterrupt
        self.seen += 1
        hidden = self.inner(x)
        return self.other(hidden / (x[0, 0] < 2))


def data_of():
    images = np.random.default_rng(0).normal(size=(EXAMPLES, 5)).astype(np.float32)
    images[2 * BATCH, 0] = 3
    return Dataset("made up", "test", torch.from_numpy(images), None, classes=0)


def run(path, unfinished=None, fails_at=-1, what="grams"):
    """Batches that the network saw."""
    module = Counted(fails_at)
    subject = FeatureExtractor("a", module, {"one": "inner", "two": "other"}, batch_axis=0)
    store(subject, data_of(), path, what=what, batch_size=BATCH, unfinished=unfinished)
    return module.seen


@pytest.fixture(name="state")
def _state(tmp_path, monkeypatch):
    monkeypatch.setattr("mixanalysis.similarity.partial_results.SECONDS", 0.0)
    return Unfinished(tmp_path / "state", "0123456789abcdef0123")


@pytest.fixture(name="whole", params=["grams", "features"])
def _whole(request, tmp_path):
    """What is kept, and the file of a run that nothing cut."""
    run(tmp_path / "whole", what=request.param)
    return request.param, (tmp_path / "whole").read_bytes()


def interrupted(path, state, at, what="grams"):
    with pytest.raises(KeyboardInterrupt):
        run(path, state, at, what)
    assert not path.exists()


@pytest.mark.parametrize("at", range(1, LAST))
def test_a_run_goes_on(at, whole, state, tmp_path):
    what, content = whole
    interrupted(tmp_path / "a", state, at, what)
    assert state.load().batches == at
    assert run(tmp_path / "a", state, what=what) == 1 + LAST - at, "the first batch tells the sizes"
    assert (tmp_path / "a").read_bytes() == content
    state.clear()
    assert not state.folder.exists()


def test_cut_twice(whole, state, tmp_path):
    what, content = whole
    interrupted(tmp_path / "a", state, 2, what)
    interrupted(tmp_path / "a", state, 2, what)
    assert state.load().batches == 4
    assert run(tmp_path / "a", state, what=what) == 3
    assert (tmp_path / "a").read_bytes() == content


def test_a_finished_network_does_not_run_again(state, tmp_path):
    run(tmp_path / "a", state)
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").unlink()
    assert run(tmp_path / "a", state) == 0
    assert (tmp_path / "a").read_bytes() == content


def test_without_a_second_name_for_the_file_it_moves(state, tmp_path, monkeypatch):
    def refused(*_arguments):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    run(tmp_path / "a", state)
    content = (tmp_path / "a").read_bytes()
    assert not state.path.exists()
    assert run(tmp_path / "b", state) == 1 + LAST
    assert (tmp_path / "b").read_bytes() == content


def other_key(state):
    record = json.loads(state.record.read_text())
    state.record.write_text(json.dumps(record | {"key": "0123456789abcdefFFFF"}))


DAMAGE = {
    "another key": other_key,
    "no record": lambda state: state.record.unlink(),
    "half a record": lambda state: state.record.write_text(state.record.read_text()[:20]),
    "another record": lambda state: state.record.write_text('{"key": []}'),
    "no file": lambda state: state.path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("finished", [False, True])
def test_damaged_files_are_made_anew(damage, finished, state, tmp_path):
    run(tmp_path / "whole")
    if finished:
        run(tmp_path / "a", state)
        (tmp_path / "a").unlink()
    else:
        interrupted(tmp_path / "a", state, 3)
    damage(state)
    assert run(tmp_path / "a", state) == 1 + LAST
    assert (tmp_path / "a").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_finished_file_that_was_changed_is_made_anew(state, tmp_path):
    run(tmp_path / "a", state)
    content = (tmp_path / "a").read_bytes()
    with (tmp_path / "a").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    os.utime(tmp_path / "a", ns=(0, 0))
    assert run(tmp_path / "b", state) == 1 + LAST
    assert (tmp_path / "b").read_bytes() == content


def test_nothing_stays_before_it_is_worth_it(tmp_path):
    state = Unfinished(tmp_path / "state", "0123456789abcdef0123")
    state._noted = float("inf")
    interrupted(tmp_path / "a", state, 3)
    assert list(tmp_path.iterdir()) == []


def test_states_of_others_stay(state, tmp_path):
    state.folder.mkdir()
    other = state.folder / "cka-0.safetensors"
    other.touch()
    run(tmp_path / "a", state)
    state.clear()
    assert list(Path(state.folder).iterdir()) == [other]
