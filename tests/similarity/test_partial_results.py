"""Finished batches on disk: found again, merged, and never trusted when they are damaged or of something else."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

import mixanalysis as mx
from mixanalysis import distributed
from mixanalysis.datasets import Dataset
from mixanalysis.similarity import FeatureExtractor, Resume, partial_results
from mixanalysis.similarity.estimators.estimator import Estimator
from mixanalysis.similarity.estimators.minibatch import minibatch_pass
from mixanalysis.similarity.estimators.plan import Plan

BATCH = 4


@pytest.fixture(name="at_once", autouse=True)
def _at_once(monkeypatch):
    """Every batch is written as soon as it is done."""
    monkeypatch.setattr(partial_results, "SECONDS", 0.0)


def data_of(count=40):
    images = np.random.default_rng(0).normal(size=(count, 5))
    return Dataset("made up", "test", torch.from_numpy(images), None, classes=0)


class Counted(nn.Module):
    """Notes its batches, and fails at one of them."""

    def __init__(self, seed, fails_at=-1):
        super().__init__()
        torch.manual_seed(seed)
        self.inner, self.seen, self.fails_at = nn.Linear(5, 3).double(), [], fails_at

    def forward(self, x):
        if len(self.seen) == self.fails_at:
            raise KeyboardInterrupt
        self.seen.append(len(x))
        return self.inner(x)


def pair(fails_at=-1):
    return [
        FeatureExtractor(name, Counted(seed, fails_at), {"x": "inner"}, batch_axis=0) for seed, name in enumerate("ab")
    ]


def interrupted(state, at, data, **options):
    with pytest.raises(KeyboardInterrupt):
        mx.cka(*pair(at), data=data, batch_size=BATCH, resume=state, **options)


@pytest.mark.parametrize("options", [{}, {"measures": ("rsa", "angular"), "permutations": 5}], ids=["alone", "more"])
def test_an_interrupted_run_goes_on(options, tmp_path):
    state = Resume(tmp_path / "state", "key")
    interrupted(state, 6, data_of(), **options)
    subjects = pair()
    found = mx.cka(*subjects, data=data_of(), batch_size=BATCH, resume=state, **options)
    assert [len(subject.module.seen) for subject in subjects] == [4, 4]
    expected = mx.cka(*pair(), data=data_of(), batch_size=BATCH, **options)
    pd.testing.assert_frame_equal(found.cells, expected.cells, check_exact=True)
    pd.testing.assert_frame_equal(found.companions, expected.companions, check_exact=True)
    state.clear()
    assert list(tmp_path.iterdir()) == []


def test_states_of_another_key_are_left_alone(tmp_path):
    folder = tmp_path / "state"
    interrupted(Resume(folder, "x" * 16 + "one"), 6, data_of())
    other = Resume(folder, "x" * 16 + "two")
    assert other.load() is None, "the first 16 characters are the file's name, the whole key is in it"
    different = Resume(folder, "y" * 64)
    different.clear()
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"nonsense", None], ids=["empty", "nonsense", "truncated"])
def test_a_damaged_state_is_no_state(damage, tmp_path):
    state = Resume(tmp_path, "key")
    interrupted(state, 6, data_of())
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-50] if damage is None else damage)
    assert state.load() is None
    subjects = pair()
    mx.cka(*subjects, data=data_of(), batch_size=BATCH, resume=state)
    assert len(subjects[0].module.seen) == 10


def test_a_state_nested_without_end_is_no_state(tmp_path):
    state = Resume(tmp_path, "key")
    interrupted(state, 6, data_of())
    (path,) = tmp_path.iterdir()
    save_file(load_file(path), path, metadata={"mixanalysis": "[" * 200_000})
    assert state.load() is None


def parts_of(data, monkeypatch):
    """The pass over the even batches, and that over the odd ones, as two processes see them."""
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "world", lambda rank=rank: distributed.World(rank, 2))
        monkeypatch.setattr(distributed, "gathered", lambda value: [value])
        parts.append(minibatch_pass(pair(), data, Plan(Estimator(), BATCH)))
    monkeypatch.undo()
    return parts


def test_a_state_is_read_as_it_was_written(tmp_path):
    short = data_of(34 * BATCH + 2)
    options = Plan(Estimator(), BATCH, measures=("rsa",), permutations=3)
    written = minibatch_pass(pair(), short, options)
    Resume(tmp_path, "key").save(written, now=True)
    read = Resume(tmp_path, "key").load()
    assert read.layers == written.layers
    for name in ("pairs", "record", "undefined", "measures"):
        assert getattr(read.sums, name) == getattr(written.sums, name)
    assert read.sums.left_out == 2
    for name in ("unbiased", "biased", "companions"):
        np.testing.assert_array_equal(getattr(read.sums, name).array, getattr(written.sums, name).array)
    for name in ("pairing", "permuted"):
        np.testing.assert_array_equal(getattr(read.sums, name), getattr(written.sums, name))
    np.testing.assert_array_equal(read.sums.top.values, written.sums.top.values)


def test_states_of_several_processes_are_put_together(tmp_path, monkeypatch):
    data, state = data_of(), Resume(tmp_path, "key")
    for rank, part in enumerate(parts_of(data, monkeypatch)):
        monkeypatch.setattr(distributed, "world", lambda rank=rank: distributed.World(rank, 1))
        state.save(part, now=True)
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 2
    found = state.load()
    assert found.sums.record.done == set(range(10))
    again = state.load()
    assert again.sums.record.done == set(range(10)), "the whole is beside a part of it, which isn't counted twice"
    assert again.sums.batches.sum() == 10
    expected = minibatch_pass(pair(), data, Plan(Estimator(), BATCH))
    np.testing.assert_allclose(again.sums.hsic(), expected.sums.hsic(), rtol=0, atol=1e-14)


def test_a_tolerance_stops_where_it_would_have_without_the_interruption(tmp_path):
    data = data_of(64 * BATCH)

    def widest(batches):
        cells = mx.cka(*pair(), data=data, batch_size=BATCH, limit=batches * BATCH).cells
        return float((cells["high"] - cells["low"]).max()) / 2

    at_32, at_40, at_64 = map(widest, (32, 40, 64))
    assert max(at_40, at_64) < at_32, "the test needs an interval that narrows"
    tolerance = (max(at_40, at_64) + at_32) / 2
    state = Resume(tmp_path, "key")
    interrupted(state, 40, data, tolerance=tolerance)
    found = mx.cka(*pair(), data=data, batch_size=BATCH, tolerance=tolerance, resume=state)
    assert found.cells["batches"].unique().tolist() == [64]


def test_little_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(partial_results, "SECONDS", 5.0)
    clock = itertools.chain([100.0, 101.0], itertools.repeat(102.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    state = Resume(tmp_path, "key")
    interrupted(state, 6, data_of())
    assert state.load().sums.record.done == {0}, "five seconds haven't gone by"
