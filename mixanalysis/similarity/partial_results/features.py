"""A file of features under way, and which of its batches are finished, so that a killed run goes on from them."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mixanalysis.files import read_json, remove_stale, stamp, write_text
from mixanalysis.similarity import partial_results


class Reached(NamedTuple):
    """How far a file is.

    Attributes:
        batches: that are finished.
        start: cells of a layer's triangles in them.
        reasons: for layers by their positions, why they have no similarity in some batch.
        whole: inode, size and time of the finished file; empty before.
    """

    batches: int
    start: int
    reasons: dict[str, str]
    whole: tuple[int, ...] = ()


@dataclass
class Unfinished:
    """Two files in a folder: the features, and how far they are.

    Attributes:
        folder: made when it is first written to.
        key: names network, data and choices by their content; files of other keys are left alone.
    """

    folder: Path
    key: str
    _noted: float = field(default=0.0, init=False)

    @property
    def path(self) -> Path:
        """The features."""
        return self.folder / f"features-{self.key[:16]}.safetensors"

    @property
    def record(self) -> Path:
        """How far they are."""
        return self.path.with_suffix(".json")

    def load(self) -> Reached:
        """Return how far an earlier run has come: nowhere, if its files are damaged, changed or of another key."""
        try:
            record = read_json(self.record)
            batches, start, reasons, whole = record["reached"]
            reached = Reached(batches, start, reasons, tuple(whole))
            if record["key"] == self.key and self.path.exists() and reached.whole in ((), self._stamp()):
                return reached
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            pass
        return Reached(0, 0, {})

    def due(self) -> bool:
        """Return whether it is time to note how far the file is."""
        return time.monotonic() - self._noted >= partial_results.SECONDS

    def save(self, reached: Reached) -> None:
        """Note how far the file is; what it says has been written by then."""
        write_text(self.record, json.dumps({"key": self.key, "reached": reached}))
        self._noted = time.monotonic()

    def finish(self, reached: Reached) -> None:
        """Note that the file is whole."""
        self.save(reached._replace(whole=self._stamp()))

    def give(self, path: Path) -> None:
        """Let the finished file stand at `path`, and here where the file system has two names for one content."""
        try:
            os.link(self.path, path)
        except OSError:
            self.path.replace(path)

    def tidy(self) -> None:
        """Take away a file of which nothing is noted."""
        if not self.record.exists():
            self.clear()

    def clear(self) -> None:
        """Forget the file, once the result is safe; the folder goes with its last file."""
        self.record.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        remove_stale(self.record)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _stamp(self) -> tuple[int, ...]:
        return stamp(self.path)[1:]
