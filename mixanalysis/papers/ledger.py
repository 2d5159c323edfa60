"""The run ledger: a folder in which every finished run stands under a name made from its content.

A run is a trained network (a checkpoint named by its `training.run_key`, with its `.partial` state while it is under
way), a failure (a `.failed.json` beside it), or the rows of a measurement (JSON, named by what was measured). So a
killed sweep goes on from where it was, figures share their runs, and nothing finished is done twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mixanalysis._version import __version__
from mixanalysis.distributed import check_device
from mixanalysis.errors import BusyError, CheckFailedError, OutputError, UsageError
from mixanalysis.families.loading import load
from mixanalysis.files import write_text
from mixanalysis.network import Network
from mixanalysis.papers.runs import Run
from mixanalysis.results import plain, to_json
from mixanalysis.training import train
from mixanalysis.training.trainer import SAVE_EVERY, finished_key, tidy

Stage = Callable[[str], Callable[[int, int], None] | None]


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        run: the run.
        path: its checkpoint; there only if it succeeded.
        error: why it failed; empty if it succeeded.
    """

    run: Run
    path: Path
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is a checkpoint."""
        return not self.error

    def network(self) -> Network:
        """The trained network."""
        return load(self.path)

    @property
    def test_error(self) -> float:
        """Share of test images that the network gets wrong."""
        return 1.0 - float(self.network().provenance.training["test_accuracy"])


Book = Mapping[str, Outcome]
"""Outcomes by the runs' keys."""


@dataclass(frozen=True)
class Ledger:
    """Finished runs in a folder, and how others are run.

    Attributes:
        folder: made when something is written to it.
        jobs: runs at once; more than one needs joblib, and any of its backends can be set around the call. The CPU's
            threads are divided among them.
        devices: such as ("cuda:0", "cuda:1"); runs at once use them in turn, each its own where there are enough.
        resume: keep what is finished; without it everything is run again, once.
        save_every: seconds between two states that a killed run goes on from.
    """

    folder: Path
    jobs: int = 1
    devices: Sequence[str] = ("cpu",)
    resume: bool = True
    save_every: float = SAVE_EVERY

    def path(self, run: Run) -> Path:
        """Where a run's checkpoint stands or will stand."""
        return self.folder / f"{run.key[:20]}.safetensors"

    def found(self, run: Run) -> Outcome | None:
        """What became of a run that needs not be run again.

        A network that diverged would diverge again, so this failure stays; others may have had passing causes.

        Returns:
            The outcome, or None where the run has to be run.
        """
        path = self.path(run)
        if not self.resume:
            return None
        if path.exists() and finished_key(path) == run.key:
            return Outcome(run, path)
        try:
            failure = json.loads(_failure(path).read_text(encoding="utf-8"))
            return Outcome(run, path, str(failure["error"])) if failure["again"] is False else None
        except (OSError, ValueError, KeyError):
            return None

    def train(self, runs: Iterable[Run], stage: Stage = lambda _name: None) -> dict[str, Outcome]:
        """Every run's outcome, after those that aren't finished have been run, longest first.

        A failing run doesn't stop the others, unless nothing can be written.

        Args:
            runs: equal ones are run once.
            stage: asked for a progress callback.

        Returns:
            Outcomes by the runs' keys, in the order of `runs`.

        Raises:
            UsageError: joblib is missing, a device isn't there, or a configuration makes no sense.
            BusyError: another process is at one of these runs.
            OutputError: the folder can't be written to, or its disk is full.
        """
        wanted = {run.key: run for run in runs}
        book = {key: outcome for key, run in wanted.items() if (outcome := self.found(run)) is not None}
        for key, outcome in book.items():
            tidy(outcome.path, key)
        todo = sorted((run for key, run in wanted.items() if key not in book), key=lambda run: -run.seconds())
        for device in self.devices if todo else ():
            check_device(device)
        advance = stage(f"{len(todo)} runs") if todo else None
        for done, outcome in enumerate(self._outcomes(todo), start=1):
            book[outcome.run.key] = outcome
            if advance is not None:
                advance(done, len(todo))
        return {key: book[key] for key in wanted}

    def cached(self, kind: str, content: Any, measure: Callable[[], Any]) -> Any:
        """What `measure` answers, from the ledger if it is there.

        Args:
            kind: what is measured, the beginning of the file's name.
            content: JSON-ready; with the kind it names the measurement.
            measure: gives JSON-ready data, numbers that aren't finite as None.

        Returns:
            The data as JSON gives them back, so that a resumed sweep has the same as one that wasn't interrupted.
        """
        named = json.dumps([kind, __version__, content], sort_keys=True)
        path = self.folder / f"{kind}-{hashlib.sha256(named.encode()).hexdigest()[:20]}.json"
        if self.resume:
            with contextlib.suppress(OSError, ValueError):
                return json.loads(path.read_text(encoding="utf-8"))
        write_text(path, to_json(_plain(measure())))
        return json.loads(path.read_text(encoding="utf-8"))

    def _outcomes(self, runs: Sequence[Run]) -> Iterator[Outcome]:
        if self.jobs == 1 or len(runs) < 2:
            yield from (self._one(run, self.devices[0]) for run in runs)
            return
        try:
            from joblib import Parallel, cpu_count, delayed
        except ModuleNotFoundError:
            raise UsageError("--jobs needs joblib: install mixanalysis with its extra `sweep`") from None
        threads, before = max(1, cpu_count() // self.jobs), torch.get_num_threads()
        try:
            with tempfile.TemporaryDirectory() as slots:
                tasks = (delayed(self._one_of_many)(run, Path(slots), threads) for run in runs)
                yield from Parallel(n_jobs=self.jobs, return_as="generator_unordered", batch_size=1)(tasks)
        finally:
            torch.set_num_threads(before)

    def _one_of_many(self, run: Run, slots: Path, threads: int) -> Outcome:
        torch.set_num_threads(threads)
        with _slot(slots) as number:
            return self._one(run, self.devices[number % len(self.devices)])

    def _one(self, run: Run, device: str) -> Outcome:
        path = self.path(run)
        try:
            # what stands under this run's name and isn't it is damaged
            options: dict[str, Any] = {"resume": self.resume, "force": True, "device": device}
            train(run.config, run.datasets, path, run.training, save_every=self.save_every, **options)
        except (BusyError, OutputError):  # the other runs' places are no better
            raise
        except Exception as error:  # whatever it is, the other runs go on
            text = " ".join(f"{type(error).__name__}: {error}".split())
            failure = {"run": run.label, "error": text, "again": not isinstance(error, CheckFailedError)}
            write_text(_failure(path), to_json(failure) + "\n")
            return Outcome(run, path, text)
        _failure(path).unlink(missing_ok=True)
        return Outcome(run, path)


@contextlib.contextmanager
def _slot(folder: Path) -> Iterator[int]:
    """The lowest number that no other task holds; as many are held as tasks run at once."""
    number = 0
    while True:
        try:
            os.close(os.open(folder / str(number), os.O_CREAT | os.O_EXCL))
            break
        except FileExistsError:
            number += 1
    try:
        yield number
    finally:
        (folder / str(number)).unlink(missing_ok=True)


def _failure(path: Path) -> Path:
    return path.with_suffix(".failed.json")


def _plain(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(name): _plain(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(item) for item in data]
    return plain(data)
