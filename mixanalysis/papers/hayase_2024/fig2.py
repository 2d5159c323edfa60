"""HK Fig. 2a-c: CKA of a Mixer with SW-MLPs of its width against their sparsity 1/p.

Features are outputs of mixing blocks just before the skip; the estimator is the unbiased mini-batch CKA over the test
images. SW-MLP and Mixer of the same seed are compared, block by block at the same position. Besides the paper's curve:
the floor (untrained SW-MLPs of the same density against the trained Mixer) and the ceiling (Mixers of two seeds), and
intervals over images for each seed, over seeds for the mean.

Heat maps (b, c) are those of the first seed, for p = 1 and for the Mixer's own sparsity 1/p = C. The printed panels
disagree among themselves by 0.1 to 0.3, and the printed curve peaks at 1/p of about 4C; the protocol is reproduced
here, not the numbers. Masks are in {0, 1} (A.2.5). The digits become 16 x 16 pixels, 16 patches; where C differs from
the number of patches, the first token-mixing layer maps these to S = C tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from mixanalysis.families.sizes import Sizes
from mixanalysis.network import Network
from mixanalysis.papers.experiment import Context, Drawing, Experiment, Rows, Tables, notes
from mixanalysis.papers.hayase_2024.figures import similarity
from mixanalysis.papers.hayase_2024.schemas import PAPER_SIMILARITY
from mixanalysis.papers.hayase_2024.settings import ADAMW, SEEDS, ZERO_ONE
from mixanalysis.papers.ledger import Outcome
from mixanalysis.papers.runs import Data, Point, Run, Scale
from mixanalysis.papers.statistics import Estimate, combination, mean
from mixanalysis.papers.tables import claim, means_table, runs_table, values_at
from mixanalysis.report.similarity.figures import cka_heatmap
from mixanalysis.report.style import COLUMN, width_of
from mixanalysis.results import records
from mixanalysis.similarity import cka
from mixanalysis.similarity.schemas import CKA_CELLS
from mixanalysis.training import TrainingConfig

TRAINED, FLOOR, CEILING = "SW-MLP", "untrained SW-MLP (floor)", "Mixer of another seed (ceiling)"


@dataclass(frozen=True)
class Fig2:
    """Mixers with S = C, and SW-MLPs of the same width m = C^2.

    Attributes:
        panels: (C, largest n) of each; p = 2^-n for n = 0, 1, ..., largest n.
        depth: base blocks of a Mixer; an SW-MLP has twice as many blocks.
        training: of all of them.
        batch_size: images of a batch of the CKA.
        data: of which the first is used.
        seeds: of the networks.
    """

    panels: tuple[tuple[int, int], ...]
    depth: int
    training: TrainingConfig
    batch_size: int = 64
    data: tuple[Data, ...] = (Data(),)
    seeds: tuple[int, ...] = SEEDS


PRESETS: dict[Scale, Fig2] = {
    "demo": Fig2(((8, 6), (16, 8)), 3, ADAMW["demo"]),
    "small": Fig2(((16, 8), (24, 9)), 3, ADAMW["small"]),
    "paper": Fig2(((32, 10), (64, 10)), 3, ADAMW["paper"], batch_size=128),
}


def points(spec: Fig2) -> list[Point]:
    """Mixers, and SW-MLPs trained and untrained."""
    found = []
    for channels, largest in spec.panels:
        panel = f"C = {channels}"
        for seed in spec.seeds:
            training = replace(spec.training, seed=seed)
            sizes = Sizes(channels=channels, tokens=channels, depth=spec.depth)
            found.append(Point(Run("mixer", sizes, spec.data[0], training), "Mixer", channels, panel))
            for n in range(largest + 1):
                sparse = Sizes(width=channels**2, depth=2 * spec.depth)
                if n:
                    sparse = replace(sparse, density=2.0**-n, mask_value=ZERO_ONE)
                for series, how in ((TRAINED, training), (FLOOR, replace(training, epochs=0))):
                    run = Run("sw-mlp" if n else "mlp", sparse, spec.data[0], how)
                    found.append(Point(run, series, 2.0**n, panel))
    return found


def tables(spec: Fig2, context: Context) -> Tables:
    """Runs; the CKA's diagonals and cells, and their means over seeds."""
    placed = points(spec)
    rows: Rows = []
    cells = []
    for panel in dict.fromkeys(point.panel for point in placed):
        for point, mixer in _pairs(spec, [point for point in placed if point.panel == panel]):
            pair = context.book[mixer.key], context.book[point.run.key]
            if pair[0].ok and pair[1].ok:
                found = _compared(*pair, point, spec, context)
                rows.append(_diagonal(found["diagonal"][0], point, mixer.training.seed))
                if point.series == TRAINED and mixer.training.seed == min(spec.seeds):
                    cells.append(pd.DataFrame(found["cells"]))
    frame = PAPER_SIMILARITY.frame(rows)
    return {
        "paper_runs": runs_table("fig2", "1/p", placed, context.book),
        "paper_similarity": frame,
        "paper_points": means_table(frame, "mean", "mean CKA of blocks at the same position"),
        "cka": pd.concat(cells, ignore_index=True) if cells else CKA_CELLS.frame([]),
    }


def _pairs(spec: Fig2, points: Sequence[Point]) -> Iterator[tuple[Point, Run]]:
    """Every network with the Mixer that it is compared with: of its seed, or for a Mixer that of the seed before.

    Two seeds make one pair; pairs of three or more share networks, so that the ceiling's interval is a rough one.

    Yields:
        A network's point, and the run of its Mixer.
    """
    mixers = {point.run.training.seed: point.run for point in points if point.series == "Mixer"}
    for point in points:
        seed = point.run.training.seed
        if point.series != "Mixer":
            yield point, mixers[seed]
        elif (place := spec.seeds.index(seed)) or len(spec.seeds) > 2:
            yield replace(point, series=CEILING), mixers[spec.seeds[place - 1]]


def _compared(mixer: Outcome, network: Outcome, point: Point, spec: Fig2, context: Context) -> Any:
    test = point.run.datasets[1]
    content = [mixer.run.key, network.run.key, test.fingerprint, spec.batch_size]
    name = point.series if point.series == CEILING else f"{point.series} p = {1 / point.x:.3g}"

    def measured() -> dict[str, Any]:
        pair = (_labelled(mixer, f"Mixer {point.panel}"), _labelled(network, name))
        found = cka(*pair, data=test, batch_size=spec.batch_size, device=context.ledger.devices[0])
        return {"diagonal": records(found.diagonal), "cells": records(found.cells)}

    return context.ledger.cached("cka", [*content, name, point.panel], measured)


def _labelled(outcome: Outcome, label: str) -> Network:
    return replace(outcome.network(), label=label)


def _diagonal(found: dict[str, Any], point: Point, seed: int) -> dict[str, Any]:
    numbers = {name: math.nan if found[name] is None else found[name] for name in ("mean", "low", "high")}
    return {
        "figure": "fig2",
        "panel": point.panel,
        "series": point.series,
        "x_name": "1/p",
        "x": point.x,
        "seed": seed,
        **{name: found[name] for name in ("blocks", "estimator", "features", "n")},
        **numbers,
    }


def drawings(found: Tables) -> list[Drawing]:
    """The curve, and for each panel the heat maps of p = 1 and 1/p = C."""
    table, means, cells = found["paper_similarity"], found["paper_points"], found["cka"]
    panels = list(dict.fromkeys(table["panel"]))
    marks = {panel: [(_channels(panel), "1/p = C")] for panel in panels}
    drawn: list[Drawing] = [("fig2a", (width_of(len(panels)), 3.2), similarity, (table, means, marks))]
    for letter, sparsity in (("b", lambda _: 1.0), ("c", _channels)):
        for panel in panels:
            label = f"{TRAINED} p = {1 / sparsity(panel):.3g}"
            pair = cells[(cells["network_a"] == f"Mixer {panel}") & (cells["network_b"] == label)]
            if len(pair):
                name = f"fig2{letter}_C{_channels(panel):g}"
                drawn.append((name, (COLUMN, 3.1), cka_heatmap, (pair,)))
    return drawn


def _channels(panel: str) -> float:
    return float(panel.removeprefix("C = "))


def claims(found: Tables) -> Rows:
    """Sparser is more similar; and where the peak lies."""
    table = found["paper_similarity"]
    rows = []
    for panel in dict.fromkeys(table["panel"]):
        channels = _channels(panel)
        own, dense = (values_at(table, "mean", series=TRAINED, x=x, panel=panel) for x in (channels, 1.0))
        difference = combination([(1.0, own), (-1.0, dense)]) if own and dense else mean([])
        rows.append(
            claim(
                "fig2",
                "A sparser SW-MLP is more similar to the Mixer",
                panel,
                "CKA at 1/p = C less CKA at p = 1",
                difference,
                "agrees above 0, disagrees below",
                difference.decides(above=0.0),
            )
        )
        peak = peak_position(table[(table["panel"] == panel) & (table["series"] == TRAINED)])
        low, high = math.log2(channels) - 1, math.log2(4 * channels) + 1
        rows.append(
            claim(
                "fig2",
                "The similarity is largest near the Mixer's own sparsity, at 1/p between C and about 4C",
                panel,
                "log2 of 1/p at the maximum of each seed's curve, interval widened by half a step of the grid",
                peak,
                f"agrees within an octave, in ({low:g}, {high:g}), disagrees outside",
                peak.decides(above=low, below=high),
            )
        )
    return rows


def peak_position(rows: pd.DataFrame) -> Estimate:
    """Mean over seeds of log2(1/p) at the maximum, its interval widened by half a step to either side."""
    places = [
        math.log2(float(own.loc[own["mean"].idxmax(), "x"])) for _, own in rows.dropna(subset="mean").groupby("seed")
    ]
    found = mean(places)
    return replace(found, low=found.low - 0.5, high=found.high + 0.5)


EXPERIMENT = Experiment(
    name="fig2",
    title="Similarity of Mixers and SW-MLPs against sparsity",
    notes=notes(__doc__),
    presets=PRESETS,
    tables=tables,
    drawings=drawings,
    points=points,
    claims=claims,
    kinds=("cifar10",),
)
