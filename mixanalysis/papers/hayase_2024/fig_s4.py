"""HK Fig. S.4: Mixers of which some mixing blocks alone have random permutations.

PK networks of three base blocks (S = C, gamma = 2) with the permutations of each base block of its own, of a Mixer
("normal") or of an RP-Mixer ("random"), from no random block to all of them. Which patterns the figure has isn't known
to us, nor its settings: those of Fig. 2 are used. No claim is examined on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mixanalysis.families.sizes import Sizes
from mixanalysis.papers.experiment import Context, Drawing, Experiment, Tables, notes
from mixanalysis.papers.hayase_2024.figures import trials
from mixanalysis.papers.hayase_2024.settings import ADAMW, SEEDS
from mixanalysis.papers.runs import Data, Point, Run, Scale
from mixanalysis.papers.tables import means_table, runs_table
from mixanalysis.report.style import width_of
from mixanalysis.training import TrainingConfig

PATTERNS = {
    "none": "normal",
    "first": "random,normal,normal",
    "middle": "normal,random,normal",
    "last": "normal,normal,random",
    "token mixing": "random/normal",
    "channel mixing": "normal/random",
    "all": "random",
}
"""Which blocks are permuted, and how a PK network is told so."""


@dataclass(frozen=True)
class FigS4:
    """PK networks of three base blocks.

    Attributes:
        channels: S = C.
        training: of all of them.
        data: each is a panel.
        seeds: of the networks.
    """

    channels: int
    training: TrainingConfig
    data: tuple[Data, ...] = (Data(),)
    seeds: tuple[int, ...] = SEEDS


PRESETS: dict[Scale, FigS4] = {
    "demo": FigS4(16, ADAMW["demo"]),
    "small": FigS4(24, ADAMW["small"]),
    "paper": FigS4(64, ADAMW["paper"]),
}


def points(spec: FigS4) -> list[Point]:
    """Every pattern and seed."""
    return [
        Point(
            Run(
                "pk-mixer",
                Sizes(channels=spec.channels, tokens=spec.channels, depth=3, permutations=pattern),
                data,
                replace(spec.training, seed=seed),
            ),
            name,
            float(place),
            data.kind,
        )
        for data in spec.data
        for place, (name, pattern) in enumerate(PATTERNS.items())
        for seed in spec.seeds
    ]


def tables(spec: FigS4, context: Context) -> Tables:
    """Runs and their means."""
    runs = runs_table("figS4", "permuted blocks", points(spec), context.book)
    return {"paper_runs": runs, "paper_points": means_table(runs, "test_error", "test error")}


def drawings(found: Tables) -> list[Drawing]:
    """Dots and means for each pattern."""
    means = found["paper_points"]
    return [("figS4", (width_of(means["panel"].nunique()), 3.0), trials, (found["paper_runs"], means))]


EXPERIMENT = Experiment(
    name="figS4",
    title="Random permutations in some mixing blocks alone",
    notes=notes(__doc__),
    presets=PRESETS,
    tables=tables,
    drawings=drawings,
    points=points,
    kinds=("cifar10",),
)
