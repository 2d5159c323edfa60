"""Commands in processes of their own, that are killed or can't write at a chosen moment; and what they leave."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import forkserver
from pathlib import Path

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["faults_preload"])


def serve() -> None:
    """Start the server that commands are forked from; it takes its path from the environment alone."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *([before] if before else [])])
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


MAKING = ("os.mkdir", "open")
CHANGING = (*MAKING, "os.rename", "os.remove", "os.rmdir")


@dataclass(frozen=True)
class Fault:
    """What goes wrong.

    Attributes:
        signal: sent by the process to itself at a change of files, 0 for none.
        number: the error of every making of a file or folder from there on, 0 for none.
        at: the number of that change or making, from 0.
        only: count changes of this kind alone, such as "os.rename".
        file_size: no file can become larger, in bytes.
        environment: set before the command runs.
        epochs: of the networks of the demo and of the paper's figure.
        dies_at_end: the process is killed before its sums are put together with those of others.
    """

    signal: int = 0
    number: int = 0
    at: int = 0
    only: str = ""
    file_size: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    epochs: int = 2
    dies_at_end: bool = False


def _watch(fault: Fault, log: Path) -> list[str]:
    seen: list[str] = []
    here = str(Path.cwd())

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in (CHANGING if fault.signal else MAKING) or fault.only not in ("", event):
            return
        path = arguments[0]
        if event == "open" and not int(arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):  # type: ignore[call-overload]
            return
        if not isinstance(path, str | os.PathLike) or not os.path.abspath(path).startswith(here):  # noqa: PTH100
            return
        seen.append(event)
        if fault.signal and len(seen) == fault.at + 1:
            os.kill(os.getpid(), fault.signal)
        if fault.number and len(seen) > fault.at:
            log.with_suffix(".reached").touch()
            raise OSError(fault.number, os.strerror(fault.number), str(path))

    sys.addaudithook(hook)
    return seen


def _command(arguments: Sequence[str], folder: Path, log: Path, fault: Fault) -> None:
    os.chdir(folder)
    for number, ending in ((1, ".out"), (2, ".err")):
        handle = os.open(log.with_suffix(ending), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.environ.update(fault.environment)
    from mixanalysis.papers import Ledger
    from mixanalysis.papers.hayase_2024 import demo, fig2d
    from mixanalysis.similarity import partial_results
    from mixanalysis.similarity.estimators import minibatch
    from mixanalysis.training import train
    from mixanalysis_cli import main

    # states are saved after every batch and epoch
    partial_results.SECONDS = 0.0
    train.__kwdefaults__["save_every"] = 0.0
    Ledger.__init__.__defaults__ = (*Ledger.__init__.__defaults__[:-1], 0.0)  # type: ignore[misc, index]
    if fault.dies_at_end:
        minibatch._together = lambda _own: os.kill(os.getpid(), signal.SIGKILL)
    demo.EPOCHS = fault.epochs
    demo.RUNS = tuple(
        demo.Run(run.name, run.family, run.seed, min(run.epochs, fault.epochs), run.sizes) for run in demo.RUNS
    )
    preset = fig2d.PRESETS["demo"]
    fig2d.PRESETS["demo"] = replace(preset, training=replace(preset.training, epochs=fault.epochs))
    seen: list[str] = []
    if fault.file_size:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.file_size, fault.file_size))
    if fault.signal or fault.number:
        seen = _watch(fault, log)
    sys.argv = ["mixanalysis", *arguments]
    # background jobs are started with it ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    begun = time.monotonic()
    log.with_suffix(".begun").touch()
    try:
        main()
    finally:
        seconds = time.monotonic() - begun
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
            sys.stderr.flush()
        log.with_suffix(".count").write_text(f"{len(seen)} {seconds}")


@dataclass
class Running:
    """A command that runs.

    Attributes:
        process: it.
        log: where its words go.
    """

    process: multiprocessing.process.BaseProcess
    log: Path

    def end(self, seconds: float = 120) -> Ended:
        """Wait for it."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise TimeoutError(f"no end after {seconds} seconds")
        count = self.log.with_suffix(".count")
        # it may have been killed while it counted
        points, took = (count.read_text().split() if count.exists() else []) or ("0", "0")
        logs = (self.log.with_suffix(ending) for ending in (".out", ".err"))
        texts = (log.read_text() if log.exists() else "" for log in logs)
        return Ended(
            self.process.exitcode or 0,
            *texts,
            self.log.with_suffix(".reached").exists(),
            int(points),
            float(took),
        )

    def kill_after(self, seconds: float, number: int = signal.SIGKILL) -> None:
        """Send a signal so long after it has begun, unless it has ended by then."""
        while not self.log.with_suffix(".begun").exists() and self.process.is_alive():
            time.sleep(0.001)
        self.process.join(seconds)
        if self.process.exitcode is None and self.process.pid is not None:
            os.kill(self.process.pid, number)


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        code: its exit code, negative for a signal.
        stdout: the result.
        stderr: all else.
        reached: whether its fault came.
        points: changes of files, or makings, that were counted.
        seconds: that it took.
    """

    code: int
    stdout: str
    stderr: str
    reached: bool
    points: int
    seconds: float


def start(arguments: Sequence[object], folder: Path, logs: Path, fault: Fault | None = None) -> Running:
    """Start a command in a folder; its words are kept in another one."""
    log = logs / f"command{len(list(logs.iterdir()))}"
    words = [str(argument) for argument in arguments]
    process = context.Process(target=_command, args=(words, folder, log, fault or Fault()))
    serve()
    process.start()
    return Running(process, log)


def _write_beside(name: str, folder: Path, log: Path, fault: Fault) -> None:
    os.chdir(folder)
    from mixanalysis.runs import Invocation, opened

    _watch(fault, log)
    with opened(Path("made"), Invocation("test"), ours=(name,)) as made:
        for path in ("report.txt", "tables/one.csv", "tables/two.csv"):
            made.path(path).write_text(path)


def write_beside(name: str, folder: Path, logs: Path, fault: Fault | None = None) -> int:
    """Write an output folder that holds something of ours already; the exit code."""
    process = context.Process(target=_write_beside, args=(name, folder, logs / "writer", fault or Fault()))
    serve()
    process.start()
    process.join()
    return process.exitcode or 0


def commands(networks: Mapping[str, Path], before: Path = Path("before")) -> dict[str, list[object]]:
    """Every command on something small; `before` holds what `earlier` wrote."""
    small = ("--limit", 32, "--batch-size", 8)
    mixer, mlp = networks["mixer"], networks["mlp"]
    return {
        "train": ["train", "mixer", "--epochs", 3, "--limit", 64, "-o", "made/net.safetensors"],
        "cka": ["cka", mixer, "-o", "made", *small],
        "features": ["features", mixer, mlp, "-o", "made", *small],
        "spectrum": ["spectrum", mixer, "-o", "made"],
        "width": ["width", "--omega", "2^10", "-o", "made"],
        "convert": ["convert", mixer, "--to", "timm", "-o", "made/net.safetensors"],
        "expand": ["expand", mixer, "-o", "made/net.safetensors"],
        "report": ["report", mixer, "-o", "made", "--limit", 32],
        "demo": ["demo", "-o", "made"],
        "sweep": ["spectrum", "--sweep", "--omega", "2^10", "--width", 32, "--width", 48, "--seeds", 2, "-o", "made"],
        "rerun": ["rerun", before, "-o", "made"],
        "fig3": ["reproduce", "fig3", "--omega", "2^10", "-o", "made"],
        "fig2d": ["reproduce", "fig2d", "--seeds", 1, "--limit", 64, "-o", "made"],
        "inspect": ["inspect", mixer, mlp, "--json"],
        "diff": ["diff", before, before, "--json"],
        "doctor": ["doctor", "--json"],
        "schema": ["schema", "--json"],
    }


def earlier(networks: Mapping[str, Path], before: Path) -> list[object]:
    """The run that `rerun` runs again."""
    return ["spectrum", networks["mixer"], "--format", "svg", "-o", before]


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def hidden(folder: Path) -> list[str]:
    """Names of temporary files, locks and states."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))


def left(folder: Path) -> list[str]:
    """Every file but finished batches and states of training, which a later run goes on from."""
    return [name for name in contents(folder) if ".resume/" not in name and not name.endswith(".partial")]


def result(folder: Path) -> dict[str, str]:
    """The finished files and their content; times and the command line in manifests and pages are left out."""
    found = contents(folder)
    return {name: digest for name, digest in found.items() if not name.endswith(("manifest.json", "report.html"))}


def half(folder: Path, expected: Mapping[str, str]) -> list[str]:
    """Files at final names that aren't whole: other content, a manifest that doesn't fit, a damaged state."""
    wrong = []
    for name in contents(folder):
        path = folder / name
        if any(part.startswith(".") for part in Path(name).parts):
            continue
        if name.endswith(".partial"):
            import torch

            try:
                torch.load(path, weights_only=True)
            except Exception:
                wrong.append(name)
        elif name.endswith("manifest.json"):
            manifest = json.loads(path.read_text())
            now = contents(path.parent)
            if manifest["status"] == "ok" and any(now.get(key) != hash_ for key, hash_ in manifest["outputs"].items()):
                wrong.append(name)
        elif not name.endswith("report.html") and contents(folder)[name] != expected.get(name):
            wrong.append(name)
    return wrong
