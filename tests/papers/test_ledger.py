"""A sweep may be killed anywhere, and fail in places; what is finished is never done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import joblib
import pandas as pd
import pytest
import torch

from mixanalysis.errors import UsageError
from mixanalysis.families.sizes import Sizes
from mixanalysis.papers import Ledger, ledger, reproduce
from mixanalysis.papers.experiment import Context
from mixanalysis.papers.ledger import _slot
from mixanalysis.papers.runs import Run
from mixanalysis.training import train
from papers.tiny import DATA, EXPERIMENTS, SPECS, TRAINING

RUNS = [Run("mixer", Sizes(channels=4, tokens=4, depth=1), DATA, replace(TRAINING, seed=seed)) for seed in range(3)]
DIVERGING = Run("mlp", Sizes(width=8, depth=1), DATA, replace(TRAINING, optimizer="sgd", lr=1e30))


@pytest.fixture(name="calls")
def _calls(monkeypatch):
    """Every run that is trained."""
    calls = []

    def counted(config, data, out, settings, **options):
        calls.append((config.family, settings.seed))
        return train(config, data, out, settings, **options)

    monkeypatch.setattr(ledger, "train", counted)
    return calls


class TestFinished:
    def test_is_not_repeated(self, tmp_path, calls):
        first = Ledger(tmp_path).train([*RUNS, RUNS[0]])
        assert calls == [("mixer", seed) for seed in range(3)]
        again = Ledger(tmp_path).train(RUNS)
        assert len(calls) == 3
        assert {key: outcome.path for key, outcome in again.items()} == {
            key: outcome.path for key, outcome in first.items()
        }
        assert [outcome.test_error for outcome in again.values()] == [
            1 - outcome.network().provenance.training["test_accuracy"] for outcome in first.values()
        ]

    def test_is_shared_with_another_selection(self, tmp_path, calls):
        Ledger(tmp_path).train(RUNS[:2])
        Ledger(tmp_path).train(RUNS[1:])
        assert calls == [("mixer", 0), ("mixer", 1), ("mixer", 2)]

    def test_is_repeated_if_wanted(self, tmp_path, calls):
        Ledger(tmp_path).train(RUNS[:1])
        Ledger(tmp_path, resume=False).train(RUNS[:1])
        assert len(calls) == 2

    def test_longest_first(self, tmp_path, calls):
        long = replace(RUNS[0], training=replace(TRAINING, epochs=4, seed=9))
        Ledger(tmp_path).train([RUNS[0], long, RUNS[1]])
        assert calls == [("mixer", 9), ("mixer", 0), ("mixer", 1)]

    def test_a_damaged_one_is_replaced(self, tmp_path):
        first = Ledger(tmp_path).train(RUNS[:2])
        paths = [outcome.path for outcome in first.values()]
        whole = [path.read_bytes() for path in paths]
        paths[0].write_bytes(whole[0][:-20])
        paths[1].write_bytes(whole[0])
        again = Ledger(tmp_path).train(RUNS[:2])
        assert all(outcome.ok for outcome in again.values())
        assert [path.read_bytes() for path in paths] == whole


class TestFailed:
    def test_does_not_stop_the_others(self, tmp_path, calls):
        book = Ledger(tmp_path).train([DIVERGING, *RUNS[:2]])
        assert [outcome.ok for outcome in book.values()] == [False, True, True]
        error = book[DIVERGING.key].error
        assert error.startswith("CheckFailedError: the loss is no longer finite in epoch 0; use a smaller --lr")
        (record,) = tmp_path.glob("*.failed.json")
        assert json.loads(record.read_text())["run"] == DIVERGING.label
        # it would diverge again
        again = Ledger(tmp_path).train([DIVERGING])
        assert again[DIVERGING.key].error == error
        assert len(calls) == 3

    def test_of_a_passing_cause_is_tried_again(self, tmp_path, monkeypatch):
        def full(*arguments, **options):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(ledger, "train", full)
        (outcome,) = Ledger(tmp_path).train(RUNS[:1]).values()
        assert outcome.error == "OSError: [Errno 28] No space left on device"
        monkeypatch.undo()
        (outcome,) = Ledger(tmp_path).train(RUNS[:1]).values()
        assert outcome.ok
        assert not list(tmp_path.glob("*.failed.json"))

    def test_damaged_record(self, tmp_path):
        path = Ledger(tmp_path).path(RUNS[0])
        path.with_suffix(".failed.json").write_text("{")
        (outcome,) = Ledger(tmp_path).train(RUNS[:1]).values()
        assert outcome.ok


class TestAtOnce:
    @pytest.mark.parametrize("backend", ["loky", "threading"])
    def test_same_networks_on_any_backend(self, tmp_path, backend):
        runs = [*RUNS, DIVERGING]
        with joblib.parallel_config(backend=backend):
            book = Ledger(tmp_path / "many", jobs=2).train(runs)
        alone = Ledger(tmp_path / "one").train(runs)
        assert list(book) == list(alone)
        for key, outcome in book.items():
            assert outcome.error == alone[key].error
            if outcome.ok:
                assert outcome.path.read_bytes() == alone[key].path.read_bytes()

    def test_each_has_a_device_of_its_own(self, tmp_path):
        with _slot(tmp_path) as first, _slot(tmp_path) as second:
            assert (first, second) == (0, 1)
        with _slot(tmp_path) as again:
            assert again == 0

    def test_devices_are_taken_in_turn(self, tmp_path, monkeypatch):
        used = []
        monkeypatch.setattr(ledger, "train", lambda *_arguments, device, **_options: used.append(device))
        monkeypatch.setattr(ledger, "check_device", lambda _device: None)
        with joblib.parallel_config(backend="threading"):
            Ledger(tmp_path, jobs=2, devices=("cuda:0", "cuda:1")).train(RUNS)
        assert len(used) == 3
        assert set(used) <= {"cuda:0", "cuda:1"}

    def test_threads_are_given_back(self, tmp_path):
        before = torch.get_num_threads()
        with joblib.parallel_config(backend="threading"):
            Ledger(tmp_path, jobs=2).train(RUNS[:2])
        assert torch.get_num_threads() == before

    def test_without_joblib(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "joblib", None)
        with pytest.raises(UsageError, match=r"^--jobs needs joblib: install mixanalysis with its extra `sweep`$"):
            Ledger(tmp_path, jobs=2).train(RUNS)

    def test_a_device_that_is_not_there(self, tmp_path):
        with pytest.raises(UsageError, match=r"^--device cuda:99: not available here: "):
            Ledger(tmp_path, devices=("cuda:99",)).train(RUNS)


class TestMeasurements:
    def test_once(self, tmp_path):
        calls = []
        kept = Ledger(tmp_path)
        for _ in range(2):
            found = kept.cached("noise", [1, "a"], lambda: calls.append(1) or {"x": [0.1, float("nan")], "n": 3})
            assert found == {"x": [0.1, None], "n": 3}
        assert len(calls) == 1
        assert kept.cached("noise", [2, "a"], lambda: 5) == 5
        assert kept.cached("other", [1, "a"], lambda: 6) == 6
        assert Ledger(tmp_path, resume=False).cached("other", [1, "a"], lambda: 7) == 7

    def test_damaged(self, tmp_path):
        kept = Ledger(tmp_path)
        kept.cached("noise", 1, lambda: 5)
        next(tmp_path.iterdir()).write_text("{")
        assert kept.cached("noise", 1, lambda: 6) == 6


NAME = "fig2"


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    kept = Ledger(folder, save_every=0.0)
    points = EXPERIMENTS[NAME].points(SPECS[NAME])
    return EXPERIMENTS[NAME].tables(SPECS[NAME], Context(kept.train(point.run for point in points), kept))


class Interrupted:
    """`train`, interrupted after so many steps of all runs together."""

    def __init__(self, steps: int, action) -> None:
        self.left, self.action = steps, action

    def __call__(self, config, data, out, settings, **options):
        return train(config, data, out, settings, progress=self.step, **options)

    def step(self, _done: int, _total: int) -> None:
        self.left -= 1
        if self.left == 0:
            self.action()


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.fixture(name="whole", scope="module")
def _whole(tmp_path_factory):
    """Tables of a sweep that wasn't interrupted: 8 networks of 2 epochs of 2 steps, and as many untrained."""
    return tables(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("steps", [1, 4, 18])
def test_interrupted_and_resumed(tmp_path, monkeypatch, whole, steps):
    monkeypatch.setattr(ledger, "train", Interrupted(steps, interrupt))
    with pytest.raises(KeyboardInterrupt):
        tables(tmp_path)
    # and once more, on the way
    monkeypatch.setattr(ledger, "train", Interrupted(3, interrupt))
    if steps < 30:
        with pytest.raises(KeyboardInterrupt):
            tables(tmp_path)
    monkeypatch.undo()
    resumed = tables(tmp_path)
    assert resumed.keys() == whole.keys()
    for name, frame in whole.items():
        pd.testing.assert_frame_equal(resumed[name], frame, check_exact=True)
    assert not list(tmp_path.glob("*.partial"))


def test_interrupted_between_measurements(tmp_path, monkeypatch, whole):
    measured = []

    def once(*arguments, **options):
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(1)
        return compare(*arguments, **options)

    from mixanalysis.papers.hayase_2024 import fig2

    compare = fig2.cka
    monkeypatch.setattr(fig2, "cka", once)
    with pytest.raises(KeyboardInterrupt):
        tables(tmp_path)
    monkeypatch.undo()
    for name, frame in tables(tmp_path).items():
        pd.testing.assert_frame_equal(frame, whole[name], check_exact=True)


@pytest.mark.parametrize("steps", [19])
def test_killed_and_resumed(tmp_path, whole, steps):
    code = f"""
    import os, signal, sys
    from pathlib import Path
    from mixanalysis.papers import ledger
    from papers import test_ledger
    ledger.train = test_ledger.Interrupted({steps}, lambda: os.kill(os.getpid(), signal.SIGKILL))
    test_ledger.tables(Path({str(tmp_path / "runs")!r}))
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert list((tmp_path / "runs").glob("*.safetensors"))
    for name, frame in tables(tmp_path / "runs").items():
        pd.testing.assert_frame_equal(frame, whole[name], check_exact=True)


def test_a_whole_reproduction_resumed_is_the_same_files(tmp_path, monkeypatch):
    experiment = replace(EXPERIMENTS["figS1"], presets={"demo": SPECS["figS1"]})
    limit = DATA.limit

    def made(out: Path) -> dict[str, bytes]:
        from mixanalysis.papers import Options

        reproduce([experiment], out, Ledger(out / "runs", save_every=0.0), Options(limit=limit, seeds=2))
        return {
            str(path.relative_to(out)): path.read_bytes()
            for path in sorted(out.rglob("*"))
            if path.is_file() and path.name != "manifest.json"
        }

    whole = made(tmp_path / "whole")
    monkeypatch.setattr(ledger, "train", Interrupted(5, interrupt))
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "cut")
    assert not (tmp_path / "cut" / "figS1").exists()
    monkeypatch.undo()
    assert made(tmp_path / "cut") == whole
