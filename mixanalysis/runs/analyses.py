"""The analyses of a report: what each computes of the networks, and the section that tells of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from mixanalysis import width
from mixanalysis.datasets import Dataset
from mixanalysis.network import Network
from mixanalysis.report.section import Section
from mixanalysis.report.similarity.section import section as similarity_section
from mixanalysis.report.spectra.section import section as spectra_section
from mixanalysis.report.width.section import section as width_section
from mixanalysis.runs.cka import CKASettings, compare
from mixanalysis.runs.folder import Stage
from mixanalysis.similarity import CKAResult
from mixanalysis.similarity.sources.source import Control
from mixanalysis.spectra import SpectrumResult, spectrum

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Given:
    """Networks, data and settings of a report, for its analyses.

    Attributes:
        networks: the first is the one that the others are compared with.
        dataset: images.
        record: name, split, size and fingerprint of the data.
        out: the output folder.
        settings: how networks are compared.
        controls: for each network "floor", "ceiling" or "", what it stands for in similarities.
        device: where the networks run.
        seed: of random data.
        resume: keep finished parts in a hidden folder beside `out`, and start from those that are there.
        stage: asked for a progress callback at each stage.
        finished: called once all is written; an analysis adds what removes its finished parts.
    """

    networks: Sequence[Network]
    dataset: Dataset
    record: Mapping[str, Any]
    out: Path
    settings: CKASettings
    controls: Sequence[Control] = ()
    device: str = "cpu"
    seed: int = 0
    resume: bool = False
    stage: Stage = lambda _name: None
    finished: list[Callable[[], None]] = field(default_factory=list)


@dataclass(frozen=True)
class Analysis(Generic[Result]):
    """An analysis that a report has a section of.

    Attributes:
        run: computes its result.
        section: tells of the result.
    """

    run: Callable[[Given], Result]
    section: Callable[[Result], Section]


def _similarity(given: Given) -> CKAResult:
    result, state = compare(
        given.networks,
        given.settings,
        given.dataset,
        given.record,
        given.out,
        controls=given.controls,
        device=given.device,
        seed=given.seed,
        resume=given.resume,
        progress=given.stage("CKA"),
    )
    given.finished.append(state.clear)
    return result


def _spectra(given: Given) -> SpectrumResult:
    return spectrum(*given.networks, progress=given.stage("spectra"))


def _width(given: Given) -> width.WidthResult:
    return width.analyse(given.networks)


ANALYSES: tuple[Analysis[Any], ...] = (
    Analysis(_similarity, similarity_section),
    Analysis(_spectra, spectra_section),
    Analysis(_width, width_section),
)
"""In the order of the report's sections; a new analysis adds a line."""
