"""Finished batches on disk, so that a killed run goes on from them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mixanalysis import distributed
from mixanalysis.files import atomic_write, remove_stale
from mixanalysis.similarity.accumulator import HSICSums, Pass
from mixanalysis.similarity.extractors import Layer

SECONDS = 5.0
"""Finished batches are written no more often than this."""


@dataclass
class Resume:
    """A folder of states, one file for each process.

    Attributes:
        folder: made when it is first written to.
        key: names networks, data and choices by their content; states of other keys are left alone.
    """

    folder: Path
    key: str
    _written: float = field(default=0.0, init=False)

    def load(self) -> Pass | None:
        """All batches that any process of an earlier run has finished; None without one."""
        found = [state for path in self._files() if (state := self._read(path)) is not None]
        whole: Pass | None = None
        for state in sorted(found, key=lambda state: -len(state.sums.done)):
            if whole is None:
                whole = state
            elif not whole.sums.done & state.sums.done and whole.layers == state.layers:
                whole.sums.merge(state.sums)
        if whole is not None and distributed.world().leads:
            # the other processes will overwrite the files that these batches come from
            self.save(whole, now=True)
        distributed.gathered(None)
        return whole

    def save(self, state: Pass, *, now: bool = False) -> None:
        """Write this process's batches, if it is time to or `now`."""
        if not now and time.monotonic() - self._written < SECONDS:
            return
        here = distributed.world()
        contents = state.sums.state_dict()
        facts = {"key": self.key, "layers": state.layers, "facts": contents.pop("facts")}
        with atomic_write(self.folder / f"cka-{self.key[:16]}-{here.rank}.safetensors") as temporary:
            arrays = {name: np.ascontiguousarray(array) for name, array in contents.items()}
            save_file(arrays, temporary, metadata={"mixanalysis": json.dumps(facts)})
        self._written = time.monotonic()

    def clear(self) -> None:
        """Forget the batches, once the result is safe; the folder goes with its last file."""
        for path in self._files():
            path.unlink(missing_ok=True)
        # of other ranks too
        remove_stale(self.folder / f"cka-{self.key[:16]}-")
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"cka-{self.key[:16]}-*.safetensors"))

    def _read(self, path: Path) -> Pass | None:
        """A state; None for a damaged file, or one of another key: its batches are run again."""
        try:
            with safe_open(path, framework="numpy") as file:
                facts = json.loads(file.metadata()["mixanalysis"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if facts["key"] != self.key:
                return None
            layers = tuple(
                tuple(Layer(name, role, size, tuple(aliases)) for name, role, size, aliases in part)
                for part in facts["layers"]
            )
            return Pass(layers, HSICSums.from_state_dict({**arrays, "facts": facts["facts"]}))
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            return None
