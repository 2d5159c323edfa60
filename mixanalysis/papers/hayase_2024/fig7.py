"""HK Fig. 7: test error of Mixer, RP-Mixer and SW-MLP against depth.

S = C; the SW-MLP has the Mixer's width and density, masks in {0, 1}, and two blocks for each base block. Printed: S = C
= 128, depth 4 .. 20 on CIFAR-10; the digits have S = C = 16 and depth 1 .. 8. The printed optimiser and epochs aren't
known to us, those of Fig. 2 are used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mixanalysis.families.sizes import Sizes
from mixanalysis.papers.experiment import Context, Drawing, Experiment, Rows, Tables, notes
from mixanalysis.papers.hayase_2024.figures import curves
from mixanalysis.papers.hayase_2024.settings import ADAMW, SEEDS, ZERO_ONE
from mixanalysis.papers.runs import Data, Point, Run, Scale
from mixanalysis.papers.statistics import combination
from mixanalysis.papers.tables import claim, means_table, ordered, runs_table, values_at
from mixanalysis.report.style import width_of
from mixanalysis.training import TrainingConfig

MIXER, PERMUTED, SPARSE = "Mixer", "RP-Mixer", "SW-MLP"


@dataclass(frozen=True)
class Fig7:
    """Networks of one width and several depths.

    Attributes:
        channels: S = C.
        depths: base blocks; an SW-MLP has twice as many blocks.
        training: of all of them.
        data: each is a panel.
        seeds: of the networks.
    """

    channels: int
    depths: tuple[int, ...]
    training: TrainingConfig
    data: tuple[Data, ...] = (Data(),)
    seeds: tuple[int, ...] = SEEDS


PRESETS: dict[Scale, Fig7] = {
    "demo": Fig7(16, (1, 2, 4, 8), ADAMW["demo"]),
    "small": Fig7(24, (1, 2, 4, 8, 12), ADAMW["small"]),
    "paper": Fig7(128, (4, 8, 12, 16, 20), replace(ADAMW["paper"], epochs=200)),
}


def points(spec: Fig7) -> list[Point]:
    """Three families at each depth."""
    found = []
    for data in spec.data:
        for depth in spec.depths:
            shared = Sizes(channels=spec.channels, tokens=spec.channels, depth=depth)
            sparse = Sizes(width=spec.channels**2, density=1 / spec.channels, depth=2 * depth, mask_value=ZERO_ONE)
            for seed in spec.seeds:
                training = replace(spec.training, seed=seed)
                for family, series, sizes in (
                    ("mixer", MIXER, shared),
                    ("rp-mixer", PERMUTED, shared),
                    ("sw-mlp", SPARSE, sparse),
                ):
                    found.append(Point(Run(family, sizes, data, training), series, depth, data.kind))
    return found


def tables(spec: Fig7, context: Context) -> Tables:
    """Runs and their means."""
    runs = runs_table("fig7", "base blocks", points(spec), context.book)
    return {"paper_runs": runs, "paper_points": means_table(runs, "test_error", "test error")}


def drawings(found: Tables) -> list[Drawing]:
    """Test error against depth."""
    means = found["paper_points"]
    return [("fig7", (width_of(means["panel"].nunique()), 2.9), curves, (means, "log"))]


def claims(found: Tables) -> Rows:
    """The RP-Mixer's gap to the Mixer closes with depth."""
    runs, rows = found["paper_runs"], []
    for panel in dict.fromkeys(runs["panel"]):
        depths = ordered(runs[runs["panel"] == panel]["x"])
        errors = {
            (series, depth): values_at(runs, "test_error", series=series, x=depth, panel=panel)
            for series in (MIXER, PERMUTED)
            for depth in (depths[0], depths[-1])
        }
        gaps = [[(1.0, errors[PERMUTED, depth]), (-1.0, errors[MIXER, depth])] for depth in (depths[0], depths[-1])]
        shallow = combination(gaps[0])
        closing = combination([*gaps[0], *((-weight, values) for weight, values in gaps[1])])
        for text, quantity, found_, where in (
            (
                "A shallow RP-Mixer is worse than a Mixer",
                "test error of the RP-Mixer less that of the Mixer",
                shallow,
                f"depth {depths[0]:g}",
            ),
            (
                "The RP-Mixer catches up with depth",
                "that difference at the smallest depth less that at the largest",
                closing,
                f"depths {depths[0]:g} and {depths[-1]:g}",
            ),
        ):
            rule = "agrees above 0, disagrees below"
            rows.append(claim("fig7", text, f"{panel}, {where}", quantity, found_, rule, found_.decides(above=0.0)))
    return rows


EXPERIMENT = Experiment(
    name="fig7",
    title="Test error against depth",
    notes=notes(__doc__),
    presets=PRESETS,
    tables=tables,
    drawings=drawings,
    points=points,
    claims=claims,
    kinds=("cifar10",),
)
