"""Reads damaged files by the hundred thousand, and says what went wrong with which.

python benchmarks/fuzz_checkpoints.py --files 200000 --jobs 2

Small sound checkpoints of every container, some that hypothesis invents, stored features, manifests and data files are
mutated: bits flipped, bytes set, cut, removed, repeated, spliced, numbers of headers replaced, pickles given other
instructions, zip members replaced.
Each must be read or refused by one of the package's own errors. Any other exception, a crash, more than ten seconds,
more memory than four times the file and 24 MiB, or an attempt to run code fails; the files that failed are kept.
A short run of the same is among the tests. The exit code is 1 where anything failed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from checkpoints import fuzzing

CHUNK = 500
BATCH = 25


_sound: list[fuzzing.Files] = []


def prepare() -> None:
    """Make the sound checkpoints of a process and read each once, so that imports are done before they are watched."""
    with tempfile.TemporaryDirectory() as scratch:
        _sound.extend(fuzzing.corpus(Path(scratch)).values())
        fuzzing.watch()
        for i, files in enumerate(_sound):
            folder = Path(scratch) / f"s{i}"
            folder.mkdir()
            fuzzing.verdict(fuzzing.write(folder, files))


def chunk(number: int, kept: Path) -> Counter[str]:
    """Read `CHUNK` damaged checkpoints; those that fail are moved to `kept`."""
    shared = Path("/dev/shm")
    scratch = Path(tempfile.mkdtemp(prefix=f"fuzz{number}_", dir=shared if shared.is_dir() else None))
    answers: Counter[str] = Counter()
    try:
        seeds = [*_sound, *_sound, *fuzzing.invented(12, number)]
        batch: list[Path] = []
        fuzzing.forget_peak()
        before, largest = fuzzing.resident(), 0
        for i, files in enumerate(fuzzing.damaged(number, seeds, CHUNK)):
            folder = scratch / str(i)
            folder.mkdir()
            answer = fuzzing.verdict(fuzzing.write(folder, files))
            answers[answer] += 1
            batch.append(folder)
            largest = max(largest, sum(map(len, files.values())))
            if answer not in ("read", "refused"):
                shutil.copytree(folder, kept / f"{number}_{i}", dirs_exist_ok=True)
            if len(batch) == BATCH or i == CHUNK - 1:
                if fuzzing.peak() - before > 4 * largest + fuzzing.SLACK:
                    answers[f"took {(fuzzing.peak() - before) >> 20} MiB"] += 1
                    for one in batch:
                        shutil.copytree(one, kept / f"memory_{number}_{i}" / one.name, dirs_exist_ok=True)
                for one in batch:
                    shutil.rmtree(one)
                batch.clear()
                fuzzing.forget_peak()
                before, largest = fuzzing.resident(), 0
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return answers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="Folder for what fails.")
    options = parser.parse_args()
    answers: Counter[str] = Counter()
    started = time.monotonic()
    numbers = range(options.seed, options.seed + -(-options.files // CHUNK))
    with ProcessPoolExecutor(options.jobs, initializer=prepare) as pool:
        waiting = {number: pool.submit(chunk, number, options.keep) for number in numbers}
        for number, future in waiting.items():
            try:
                answers += future.result()
            except BrokenProcessPool:
                answers[f"a process crashed: --seed {number} --files {CHUNK} --jobs 1, or one beside it"] += 1
                break
            done = sum(answers.values())
            if (number - options.seed) % 20 == 19:
                print(f"{done} files, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    for answer, count in answers.most_common():
        print(f"{count:8} {answer}")
    bad = set(answers) - {"read", "refused"}
    print(f"{sum(answers.values())} files in {time.monotonic() - started:.0f} s; {len(bad)} kinds of failure")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
