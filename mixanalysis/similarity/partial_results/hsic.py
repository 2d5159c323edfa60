"""Sums of HSIC over finished batches on disk, so that a killed run goes on from them."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mixanalysis import distributed
from mixanalysis.files import atomic_write, parse_json, remove_stale
from mixanalysis.similarity import partial_results
from mixanalysis.similarity.estimators.batch_sums import BatchRecord, FirstReasons, GroupedSums, LargestContributions
from mixanalysis.similarity.estimators.hsic_sums import HSICSums, MinibatchPass
from mixanalysis.similarity.estimators.layer_pairs import LayerPairs
from mixanalysis.similarity.sources.source import Layer


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

    def load(self) -> MinibatchPass | None:
        """All batches that any process of an earlier run has finished.

        Returns:
            Their sums; None without an earlier run.
        """
        states = [state for path in self._files() if (state := self._read(path)) is not None]
        whole: MinibatchPass | None = None
        for state in sorted(states, key=lambda state: -len(state.sums.record.done)):
            if whole is None:
                whole = state
            elif not whole.sums.record.done & state.sums.record.done and whole.layers == state.layers:
                whole = whole + state
        if whole is not None and distributed.world().leads:
            # the other processes will overwrite the files that these batches come from
            self.save(whole, now=True)
        distributed.gathered(None)
        return whole

    def save(self, state: MinibatchPass, *, now: bool = False) -> None:
        """Write this process's batches, if it is time to or `now`."""
        if not now and time.monotonic() - self._written < partial_results.SECONDS:
            return
        facts = {"key": self.key, "layers": state.layers, "facts": _facts(state.sums)}
        path = self.folder / f"cka-{self.key[:16]}-{distributed.world().rank}.safetensors"
        with atomic_write(path) as temporary:
            save_file(_arrays(state.sums), temporary, metadata={"mixanalysis": json.dumps(facts)})
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

    def _read(self, path: Path) -> MinibatchPass | None:
        """Return a state; None for a damaged file, or one of another key: its batches are run again."""
        try:
            with safe_open(path, framework="numpy") as file:
                facts = parse_json(file.metadata()["mixanalysis"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if facts["key"] != self.key:
                return None
            layers = tuple(
                tuple(Layer(name, role, size, tuple(aliases)) for name, role, size, aliases in part)
                for part in facts["layers"]
            )
            return MinibatchPass(layers, _sums(facts["facts"], arrays))
        except (SafetensorError, OSError, LookupError, TypeError, ValueError, AttributeError):
            return None


def _facts(sums: HSICSums) -> dict[str, Any]:
    """Return everything but arrays, ready for JSON."""
    record = {
        name: sorted(value) if isinstance(value, frozenset) else value for name, value in vars(sums.record).items()
    }
    reasons = [[position, index, reason] for position, (index, reason) in sums.reasons.items()]
    return {**dataclasses.asdict(sums.pairs), "measures": sums.measures, "record": record, "reasons": reasons}


def _arrays(sums: HSICSums) -> dict[str, NDArray[Any]]:
    return {
        "unbiased": sums.unbiased.array,
        "biased": sums.biased.array,
        "companions": sums.companions.array,
        "pairing": sums.pairing,
        "permuted": sums.permuted,
        "top": sums.top.values,
        "vanished": sums.vanished,
    }


def _sums(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> HSICSums:
    """Return the sums that `_facts` and `_arrays` describe.

    Raises:
        ValueError: the arrays are of other shapes than the facts say.
    """
    added, skipped, *counts = (facts["record"][each.name] for each in dataclasses.fields(BatchRecord))
    record = BatchRecord(frozenset(added), frozenset(skipped), *counts)
    used = np.flatnonzero(record.per_group)
    pairs = LayerPairs(tuple(map(tuple, facts["names"])), facts["within"])
    square = (pairs.layers, pairs.layers)
    if any(arrays[name].shape[-2:] != square for name in ("unbiased", "biased", "companions", "pairing", "permuted")):
        msg = f"arrays of other shapes than {square}"
        raise ValueError(msg)
    return HSICSums(
        pairs,
        GroupedSums.of_array(arrays["unbiased"], used),
        GroupedSums.of_array(arrays["biased"], used),
        GroupedSums.of_array(arrays["companions"], used),
        arrays["pairing"],
        arrays["permuted"],
        LargestContributions(arrays["top"]),
        arrays["vanished"],
        record,
        FirstReasons({position: (index, reason) for position, index, reason in facts["reasons"]}),
        tuple(facts["measures"]),
    )
