"""Kills every command at every change of files and at random moments, and fills its disk; says what was left.

python benchmarks/kill_commands.py --random 20

Each command runs in a process of its own on small networks. It is killed (SIGKILL) before each file or folder that it
makes, moves or removes, then at random moments, and with SIGINT and SIGTERM at random moments; the disk is full
(ENOSPC) from each file or folder that it makes on, and no file can become larger than some sizes (EFBIG, within a
file). Counted are

    half   files at final names that aren't whole, manifests that don't fit their files
    left   hidden files that a later run hasn't removed, or any file after an interruption or a full disk
    wrong  other files or another answer than those of an undisturbed run, once the same command has run again
    words  anything else than one line on stderr and the documented exit code

A few of the same are among the tests. The exit code is 1 where any count isn't 0.
"""

from __future__ import annotations

import argparse
import errno
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cases import NETWORKS, checkpoint_of
from faults import Ended, Fault, commands, contents, earlier, half, hidden, result, start

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
NEVER = 1 << 20


class Bench:
    """One command, and what went wrong with it.

    Args:
        name: of the command.
        arguments: its command line.
        scratch: an empty folder.
    """

    def __init__(self, name: str, arguments: list[object], scratch: Path) -> None:
        self.name, self.arguments, self.scratch = name, arguments, scratch
        self.logs, self.folder = scratch / "logs", scratch / "work"
        self.logs.mkdir()
        self.counts: Counter[str] = Counter()
        self.fresh()
        undisturbed = self.run(Fault(signal=signal.SIGKILL, at=NEVER))
        if undisturbed.code:
            raise RuntimeError(undisturbed.stderr)
        self.changes, self.answer, self.seconds = undisturbed.points, undisturbed.stdout, undisturbed.seconds
        self.expected = result(self.folder)
        self.fresh()
        self.makings = self.run(Fault(number=errno.ENOSPC, at=NEVER)).points

    def fresh(self) -> None:
        """Empty the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()

    def run(self, fault: Fault | None = None, after: float = 0, number: int = 0) -> Ended:
        """Run the command, and send it a signal where one is given."""
        running = start(self.arguments, self.folder, self.logs, fault)
        if number:
            running.kill_after(after, number)
        ended = running.end(300)
        self.counts["runs"] += 1
        return ended

    def told(self, ended: Ended, code: int) -> None:
        """Count what was said wrongly."""
        # an interruption may come while the answer is being printed
        right = ended.code == code and len(ended.stderr.splitlines()) == 1 and self.answer.startswith(ended.stdout)
        if not right:
            self.note("words", f"{ended.code}: {ended.stderr.strip()[-300:]}")

    def note(self, what: str, text: object) -> None:
        """Count and show one thing that is wrong."""
        self.counts[what] += 1
        print(f"{self.name}: {what}: {text}", flush=True)

    def check(self, *, clean: bool) -> None:
        """Look at the folder, run again, and look at the result."""
        if wrong := half(self.folder, self.expected):
            self.note("half", wrong)
        kept = [name for name in hidden(self.folder) if not name.endswith(".resume") and ".resume/" not in name]
        if clean and kept:
            self.note("left", kept)
        if self.name in ("convert", "expand") and contents(self.folder).keys() & self.expected.keys():
            return  # finished, and not replaced unasked
        ended = self.run()
        # what the doctor measures is never the same
        answered = self.name == "doctor" or ended.stdout == self.answer
        if ended.code or result(self.folder) != self.expected or not answered:
            self.note("wrong", f"{ended.code}: {ended.stderr.strip()[-300:]}")
        if hidden(self.folder):
            self.note("left", hidden(self.folder))

    def kills(self, stride: int) -> None:
        """SIGKILL before every change of files."""
        for at in range(0, self.changes, stride):
            self.fresh()
            if self.run(Fault(signal=signal.SIGKILL, at=at)).code == -signal.SIGKILL:
                self.counts["kills"] += 1
            self.check(clean=False)

    def moments(self, number: int, times: int, generator: random.Random) -> None:
        """A signal at random moments."""
        for _ in range(times):
            self.fresh()
            ended = self.run(after=generator.uniform(0, self.seconds), number=number)
            if ended.code == 0:
                continue  # it was faster
            self.counts["kills" if number == signal.SIGKILL else "interruptions"] += 1
            if number in CODES:
                self.told(ended, CODES[signal.Signals(number)])
            self.check(clean=number != signal.SIGKILL)

    def full(self, stride: int) -> None:
        """A disk that is full from each making of a file on, or within a file."""
        faults = [Fault(number=errno.ENOSPC, at=at) for at in range(0, self.makings, stride)]
        for fault in (*faults, *(Fault(file_size=size) for size in (0x100, 0x1000))):
            self.fresh()
            ended = self.run(fault)
            if ended.code == 0 and (not ended.reached or (self.expected and result(self.folder) == self.expected)):
                continue  # its files are smaller, or all that was still to be made stood already
            self.counts["full disks"] += 1
            self.told(ended, 3)
            self.check(clean=True)


def main() -> int:
    """Run all of it, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commands", nargs="*", help="these alone")
    parser.add_argument("--random", type=int, default=20, help="random moments for each signal and command")
    parser.add_argument("--stride", type=int, default=1, help="take every so manyth change of files")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = random.Random(options.seed)
    total: Counter[str] = Counter()
    columns = ("runs", "kills", "interruptions", "full disks", "half", "left", "wrong", "words")
    with tempfile.TemporaryDirectory() as folder:
        names = {"mixer": "mixer-square", "mlp": "mlp"}
        networks = {
            family: checkpoint_of(NETWORKS[name], Path(folder) / f"{family}.safetensors")
            for family, name in names.items()
        }
        before = Path(folder) / "before"
        start(earlier(networks, before), Path(folder), Path(folder)).end()
        for name, arguments in commands(networks, before).items():
            if options.commands and name not in options.commands:
                continue
            scratch = Path(folder) / name
            scratch.mkdir()
            bench = Bench(name, arguments, scratch)
            bench.kills(options.stride)
            for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
                bench.moments(number, options.random, generator)
            if bench.expected:
                bench.full(options.stride)
            total += bench.counts
            print(name, *(f"{column} {bench.counts[column]}" for column in columns), sep="  ", flush=True)
    print("all", *(f"{column} {total[column]}" for column in columns), sep="  ")
    return int(any(total[column] for column in columns[4:]))


if __name__ == "__main__":
    sys.exit(main())
