"""HK Fig. 2d: MLPs x -> Bc B2 relu(B1 x) whose B are Monarch or Kronecker matrices; test errors over trials.

The classifier Bc is dense; both families have the width of the pixels and the number of blocks k nearest to its root
(28 for MNIST, 16 for digits at 16 x 16 pixels). Printed: MNIST, AdamW, 200 epochs, five trials; the learning rate isn't
known to us, that of Fig. 2 is used. A Monarch matrix has k times the weights of a Kronecker product.

The claim is taken to be that both have similar errors; similar, that their means differ by less than 0.01.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mixanalysis.families.sizes import Sizes
from mixanalysis.papers.experiment import Context, Drawing, Experiment, Rows, Tables, notes
from mixanalysis.papers.hayase_2024.figures import trials
from mixanalysis.papers.hayase_2024.settings import ADAMW
from mixanalysis.papers.runs import Data, Point, Run, Scale
from mixanalysis.papers.statistics import combination
from mixanalysis.papers.tables import claim, means_table, runs_table, values_at
from mixanalysis.report.style import COLUMN
from mixanalysis.training import TrainingConfig

FAMILIES = {"monarch-mlp": "Monarch", "kronecker-mlp": "Kronecker"}

MARGIN = 0.01
"""Difference of test errors below which two families are said to be similar."""


@dataclass(frozen=True)
class Fig2d:
    """Two families on the same data.

    Attributes:
        training: of all runs.
        data: each is a panel.
        seeds: the trials.
    """

    training: TrainingConfig
    data: tuple[Data, ...] = (Data(),)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


PRESETS: dict[Scale, Fig2d] = {
    "demo": Fig2d(replace(ADAMW["demo"], epochs=100)),
    "small": Fig2d(replace(ADAMW["small"], epochs=200)),
    "paper": Fig2d(replace(ADAMW["paper"], epochs=200)),
}


def points(spec: Fig2d) -> list[Point]:
    """One run for each family and trial."""
    return [
        Point(Run(family, Sizes(), data, replace(spec.training, seed=seed)), name, 0.0, data.kind)
        for data in spec.data
        for family, name in FAMILIES.items()
        for seed in spec.seeds
    ]


def tables(spec: Fig2d, context: Context) -> Tables:
    """Runs and their means."""
    runs = runs_table("fig2d", "", points(spec), context.book)
    return {"paper_runs": runs, "paper_points": means_table(runs, "test_error", "test error")}


def drawings(found: Tables) -> list[Drawing]:
    """Dots and means."""
    return [("fig2d", (COLUMN, 2.8), trials, (found["paper_runs"], found["paper_points"]))]


def claims(found: Tables) -> Rows:
    """Whether the two have similar errors."""
    runs = found["paper_runs"]
    rows = []
    for panel in dict.fromkeys(runs["panel"]):
        errors = [values_at(runs, "test_error", series=name, panel=panel) for name in FAMILIES.values()]
        difference = combination([(1.0, errors[1]), (-1.0, errors[0])])
        rows.append(
            claim(
                "fig2d",
                "Kronecker weights (one shared block) do about as well as Monarch weights",
                panel,
                "test error with Kronecker less that with Monarch weights",
                difference,
                f"agrees within ±{MARGIN:g}, disagrees outside",
                difference.decides(above=-MARGIN, below=MARGIN),
            )
        )
    return rows


EXPERIMENT = Experiment(
    name="fig2d",
    title="Monarch against Kronecker weights",
    notes=notes(__doc__),
    presets=PRESETS,
    tables=tables,
    drawings=drawings,
    points=points,
    claims=claims,
    kinds=("mnist",),
)
