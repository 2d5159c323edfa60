"""HK Figs. 5 and 6: test error of S-Mixers, RP S-Mixers and SW-MLPs at fixed Omega, against width and against C/S.

S-Mixers have C channels and S(C) tokens (gamma = 1, rounded); the first token-mixing layer maps the patches to S
tokens, with the skip LN(W~ X). SW-MLPs are of fully connected blocks, gamma = 1, masks in {0, 1}, of width
m = sqrt(Omega/p) for p = 0.9, 0.7, 0.5, 0.3, 0.1: the printed 540, 612, 724, 935, 1619 at Omega = 2^18. Fig. 5 shows
the Mixers with C <= S, Fig. 6 all of them. A Mixer's classifier sees C features, means over tokens, so that C changes
more than the width.

Printed: CIFAR-10, CIFAR-100 and STL-10 at 32 x 32 pixels, patch 4, Omega = 2^18, 2^21, 2^27, 8 blocks, 200 epochs.
Which data go with which Omega isn't known to us: all pairs are run. "8 blocks" are taken as base blocks, and an SW-MLP
has twice as many fully connected ones; with fewer data, 4 and 8. At the printed scale SW-MLPs are at Omega = 2^18.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pandas as pd

from mixanalysis import width
from mixanalysis.families.sizes import Sizes
from mixanalysis.papers.experiment import Context, Drawing, Experiment, Rows, Tables, notes
from mixanalysis.papers.hayase_2024.figures import curves
from mixanalysis.papers.hayase_2024.settings import SEEDS, SGD, ZERO_ONE
from mixanalysis.papers.runs import Data, Point, Run, Scale
from mixanalysis.papers.statistics import combination
from mixanalysis.papers.tables import claim, exact, means_table, ordered, reference, runs_table, values_at
from mixanalysis.report.style import width_of
from mixanalysis.training import TrainingConfig

MIXERS = {"s-mixer": "S-Mixer", "rp-s-mixer": "RP S-Mixer"}
SPARSE = "SW-MLP"
DENSITIES = (0.9, 0.7, 0.5, 0.3, 0.1)

PRINTED_TOKENS = {16: 173, 32: 113, 48: 83}
PRINTED_WIDTHS = dict(zip(DENSITIES, (540, 612, 724, 935, 1619), strict=True))
"""Both at Omega = 2^18."""


@dataclass(frozen=True)
class Fig5:
    """S-Mixers and SW-MLPs at fixed Omega.

    Attributes:
        omegas: (Omega, channels C of the Mixers) of each panel.
        sparse_omegas: where there are SW-MLPs.
        depth: base blocks; an SW-MLP has twice as many blocks.
        training: of all of them.
        data: each with each Omega is a panel.
        seeds: of the networks.
    """

    omegas: tuple[tuple[float, tuple[int, ...]], ...]
    sparse_omegas: tuple[float, ...]
    depth: int
    training: TrainingConfig
    data: tuple[Data, ...] = (Data(),)
    seeds: tuple[int, ...] = SEEDS


PRESETS: dict[Scale, Fig5] = {
    "demo": Fig5(((2.0**12, (4, 8, 16, 32)), (2.0**15, (8, 16, 32, 64))), (2.0**12, 2.0**15), 4, SGD["demo"]),
    "small": Fig5(
        ((2.0**12, (4, 8, 12, 16, 24, 32)), (2.0**15, (8, 16, 24, 32, 48, 64)), (2.0**18, (16, 32, 64, 128))),
        (2.0**12, 2.0**15, 2.0**18),
        4,
        SGD["small"],
    ),
    "paper": Fig5(
        (
            (2.0**18, (16, 32, 48, 64, 96, 128)),
            (2.0**21, (16, 32, 64, 96, 128, 192, 256)),
            (2.0**27, (64, 128, 256, 384, 512, 768, 1024)),
        ),
        (2.0**18,),
        8,
        SGD["paper"],
    ),
}


def sparse_width(omega: float, density: float) -> int:
    """M of the SW-MLP of that density with gamma = 1."""
    return round(math.sqrt(omega / density))


def points(spec: Fig5) -> list[Point]:
    """Mixers and SW-MLPs; x is the width."""
    found = []
    for data in spec.data:
        for omega, channels in spec.omegas:
            panel = f"{data.kind}, Ω = 2^{math.log2(omega):.3g}"
            for seed in spec.seeds:
                training = replace(spec.training, seed=seed)
                for family, series in MIXERS.items():
                    for count in channels:
                        tokens = round(width.tokens(omega, 1.0, count))
                        sizes = Sizes(channels=count, tokens=tokens, depth=spec.depth)
                        run = Run(family, sizes, data, training)
                        found.append(Point(run, series, count * tokens, panel))
                for density in DENSITIES if omega in spec.sparse_omegas else ():
                    m = sparse_width(omega, density)
                    sizes = Sizes(
                        width=m,
                        density=omega / m**2,
                        block="fc",
                        depth=2 * spec.depth,
                        mask_value=ZERO_ONE,
                    )
                    found.append(Point(Run("sw-mlp", sizes, data, training), SPARSE, m, panel))
    return found


def _wide_points(spec: Fig5) -> list[Point]:
    """SW-MLPs, and Mixers up to S = C."""
    return [point for point in points(spec) if (point.run.sizes.channels or 0) <= (point.run.sizes.tokens or 0)]


def _mixer_points(spec: Fig5) -> list[Point]:
    return [point for point in points(spec) if point.series != SPARSE]


def tables(spec: Fig5, context: Context) -> Tables:
    """Runs with C <= S and SW-MLPs against m."""
    runs = runs_table("fig5", "effective width m", _wide_points(spec), context.book)
    runs = runs.sort_values(["panel", "series", "x", "seed"], kind="stable", ignore_index=True)
    return {
        "paper_runs": runs,
        "paper_points": means_table(runs, "test_error", "test error"),
        "width_channels": width.channel_line(2.0**18, 1.0, PRINTED_TOKENS),
    }


def tables_by_ratio(spec: Fig5, context: Context) -> Tables:
    """All Mixers against C/S."""
    runs = runs_table("fig6", "C/S", _mixer_points(spec), context.book)
    runs["x"] = runs["channels"] / runs["tokens"]
    runs = runs.sort_values(["panel", "series", "x", "seed"], kind="stable", ignore_index=True)
    return {"paper_runs": runs, "paper_points": means_table(runs, "test_error", "test error")}


def drawings(found: Tables) -> list[Drawing]:
    """Test error against m."""
    means = found["paper_points"]
    return [("fig5", (width_of(means["panel"].nunique()), 2.9), curves, (means, "log2"))]


def drawings_by_ratio(found: Tables) -> list[Drawing]:
    """Test error against C/S."""
    means = found["paper_points"]
    marks = {panel: [(1.0, "C = S")] for panel in dict.fromkeys(means["panel"])}
    return [("fig6", (width_of(means["panel"].nunique()), 2.9), curves, (means, "log2", marks))]


def claims(found: Tables) -> Rows:
    """Wider is better, family by family."""
    runs = found["paper_runs"]
    return [
        _compared(
            "fig5",
            runs[(runs["panel"] == panel) & (runs["series"] == series)],
            "At fixed Ω a wider network is better, up to S = C",
            "test error of the narrowest less that of the widest",
            (0, -1),
        )
        for panel, series in runs[["panel", "series"]].drop_duplicates().itertuples(index=False)
    ]


def claims_by_ratio(found: Tables) -> Rows:
    """Beyond C = S, where networks get narrower again, they get worse."""
    runs = found["paper_runs"]
    rows = []
    for panel, series in runs[["panel", "series"]].drop_duplicates().itertuples(index=False):
        own = runs[(runs["panel"] == panel) & (runs["series"] == series)]
        xs = ordered(own["x"])
        best = min(range(len(xs)), key=lambda place: abs(math.log(xs[place])))
        if best < len(xs) - 1:
            text = "At fixed Ω the best Mixer has C about S: beyond, it gets worse again"
            rows.append(_compared("fig6", own, text, "test error at the largest C/S less that at C = S", (-1, best)))
    return rows


def _compared(figure: str, own: pd.DataFrame, text: str, quantity: str, places: tuple[int, int]) -> dict[str, object]:
    xs = ordered(own["x"])
    panel, series = own.iloc[0][["panel", "series"]]
    ends = [xs[place] for place in places]
    worse, better = (values_at(own, "test_error", series=series, x=x) for x in ends)
    gain = combination([(1.0, worse), (-1.0, better)])
    where = f"{panel}, {series}, {own.iloc[0]['x_name']} {ends[0]:.4g} and {ends[1]:.4g}"
    rule = "agrees above 0, disagrees below"
    return claim(figure, text, where, quantity, gain, rule, gain.decides(above=0.0))


def values(found: Tables) -> Rows:
    """S(C) and the SW-MLPs' widths at Omega = 2^18."""
    tokens = found["width_channels"]["tokens"]
    return [
        reference("fig5", f"S-Mixer, S at C = {C}, Ω = 2^18", str(PRINTED_TOKENS[C]), exact(S))
        for C, S in zip(PRINTED_TOKENS, tokens, strict=True)
    ] + [
        reference("fig5", f"SW-MLP, m at p = {p:g}, Ω = 2^18", str(m), exact(math.sqrt(2**18 / p)))
        for p, m in PRINTED_WIDTHS.items()
    ]


FIG5 = Experiment(
    name="fig5",
    title="Test error against effective width at fixed Ω",
    notes=notes(__doc__),
    presets=PRESETS,
    tables=tables,
    drawings=drawings,
    points=_wide_points,
    claims=claims,
    values=values,
    kinds=("cifar10", "cifar100", "stl10"),
)
FIG6 = Experiment(
    name="fig6",
    title="Test error against C/S at fixed Ω",
    notes="The Mixers of fig5, with C > S too; see its notes.",
    presets=PRESETS,
    tables=tables_by_ratio,
    drawings=drawings_by_ratio,
    points=_mixer_points,
    claims=claims_by_ratio,
    kinds=("cifar10", "cifar100", "stl10"),
)
