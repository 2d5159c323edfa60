"""HK Fig. 4: test error against gamma m at fixed Omega (left), and the largest singular value of masks (right).

Left: Mixers with C channels and S(C) tokens (rounded, by `width.tokens`), whose first token-mixing layer maps the
patches to S tokens, and SW-MLPs with p(m) = Omega/(gamma m^2); 0/1 masks (A.2.5). Printed: Omega = 2^19, gamma = 2,
C in 4 .. 64; epochs and optimiser of Fig. 2 are used. The digits have Omega = 2^13, whose widest Mixer is S = C = 16;
the SW-MLPs go on beyond it. A Mixer's classifier sees C features, means over tokens: where C is below the number of
classes, that alone makes a narrow Mixer worse.

Right: masked Gaussian noise of variance 1/m at the printed Omega = 2^19, gamma = 2, at every scale. The density is the
stated Omega/(gamma m^2); the printed figure reproduces with half of it, Omega/(gamma m)^2, which is the second table.
A Mixer's largest singular value at initialisation is that of its dense factors, at c_gamma whatever its width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from mixanalysis import width
from mixanalysis.families.sizes import Sizes
from mixanalysis.papers.experiment import Context, Drawing, Experiment, Rows, Tables, notes
from mixanalysis.papers.hayase_2024.figures import curves
from mixanalysis.papers.hayase_2024.settings import ADAMW, SEEDS, ZERO_ONE
from mixanalysis.papers.runs import Data, Point, Run, Scale
from mixanalysis.papers.statistics import Estimate, combination, half_width
from mixanalysis.papers.tables import claim, exact, means_table, ordered, reference, runs_table, values_at
from mixanalysis.report.spectra.figures import spectrum_sweep
from mixanalysis.report.style import COLUMN
from mixanalysis.results import records
from mixanalysis.spectra.schemas import SPECTRUM_SWEEP
from mixanalysis.spectra.sweep import WIDTHS, Convention, sweep
from mixanalysis.training import TrainingConfig

MIXER, SPARSE = "Mixer", "SW-MLP"
LEAVES = 0.05
"""A mask's largest singular value has left c_gamma where it lies this share beyond it."""

PRINTED_TOKENS = {4: 360, 8: 252, 12: 203, 16: 173}
"""S(C) at Omega = 2^19, gamma = 2."""


@dataclass(frozen=True)
class Fig4:
    """Networks and noise at fixed Omega.

    Attributes:
        omega: of the networks.
        expansion: gamma of networks and noise.
        channels: C of the Mixers.
        widths: m of SW-MLPs besides the Mixers' own.
        depth: base blocks of a Mixer; an SW-MLP has twice as many blocks.
        training: of the networks.
        noise_omega: of the noise.
        noise_widths: of the noise.
        matrices: of each width.
        data: each is a panel.
        seeds: of the networks.
    """

    omega: float
    expansion: float
    channels: tuple[int, ...]
    widths: tuple[int, ...]
    depth: int
    training: TrainingConfig
    noise_omega: float = 2.0**19
    noise_widths: tuple[int, ...] = WIDTHS
    matrices: int = 5
    data: tuple[Data, ...] = (Data(),)
    seeds: tuple[int, ...] = SEEDS


PRESETS: dict[Scale, Fig4] = {
    "demo": Fig4(2.0**13, 2.0, (2, 4, 8, 16), (512, 1024), 3, ADAMW["demo"], matrices=3),
    "small": Fig4(2.0**16, 2.0, (4, 6, 8, 12, 16, 24, 32), (1536, 2048), 3, ADAMW["small"]),
    "paper": Fig4(2.0**19, 2.0, (4, 8, 12, 16, 24, 32, 48, 64), (8192,), 3, ADAMW["paper"]),
}


def tokens_of(omega: float, expansion: float, channels: int) -> int:
    """S(C), rounded."""
    return round(width.tokens(omega, expansion, channels))


def points(spec: Fig4) -> list[Point]:
    """Mixers, and SW-MLPs of their widths and beyond."""
    found = []
    for data in spec.data:
        mixers = [
            Sizes(
                channels=channels,
                tokens=tokens_of(spec.omega, spec.expansion, channels),
                expansion=spec.expansion,
                depth=spec.depth,
            )
            for channels in spec.channels
        ]
        widths = [(sizes.channels or 0) * (sizes.tokens or 0) for sizes in mixers]
        sparse = [
            Sizes(
                width=m,
                density=width.density(spec.omega, spec.expansion, m),
                expansion=spec.expansion,
                depth=2 * spec.depth,
                mask_value=ZERO_ONE,
            )
            for m in (*widths, *spec.widths)
        ]
        for seed in spec.seeds:
            training = replace(spec.training, seed=seed)
            for sizes, m in zip(mixers, widths, strict=True):
                found.append(Point(Run("mixer", sizes, data, training), MIXER, spec.expansion * m, data.kind))
            for sizes in sparse:
                x = spec.expansion * (sizes.width or 0)
                found.append(Point(Run("sw-mlp", sizes, data, training), SPARSE, x, data.kind))
    return found


def tables(spec: Fig4, context: Context) -> Tables:
    """Runs and their means; sweeps of both conventions of the density; S(C)."""
    runs = runs_table("fig4", "γ m", points(spec), context.book)
    return {
        "paper_runs": runs,
        "paper_points": means_table(runs, "test_error", "test error"),
        "spectrum_sweep": _sweep(spec, context, "stated"),
        "spectrum_sweep_printed": _sweep(spec, context, "figure"),
        "width_channels": width.channel_line(2.0**19, 2.0, PRINTED_TOKENS),
    }


def _sweep(spec: Fig4, context: Context, convention: Convention) -> pd.DataFrame:
    rows: Rows = []
    for m in spec.noise_widths:
        content = [spec.noise_omega, spec.expansion, m, convention, spec.matrices]

        def measured(width: int = m) -> Rows:
            found = sweep(spec.noise_omega, spec.expansion, [width], convention=convention, seeds=spec.matrices)
            return records(found)

        rows += context.ledger.cached("spectrum-sweep", content, measured)
    return SPECTRUM_SWEEP.frame(rows).astype({"standard_error": float})


def drawings(found: Tables) -> list[Drawing]:
    """Left, and right for both conventions."""
    return [
        ("fig4_left", (COLUMN, 3.0), curves, (found["paper_points"], "log2")),
        ("fig4_right", (COLUMN, 3.0), spectrum_sweep, (found["spectrum_sweep"],)),
        ("fig4_right_printed", (COLUMN, 3.0), spectrum_sweep, (found["spectrum_sweep_printed"],)),
    ]


def claims(found: Tables) -> Rows:
    """Wider is better for Mixers; SW-MLPs get worse beyond; their edge leaves c_gamma."""
    runs, rows = found["paper_runs"], []
    for panel in dict.fromkeys(runs["panel"]):
        rows += [_wider(runs, panel), _worse_beyond(runs, panel)]
    noise = found["spectrum_sweep"]
    first, last = noise.iloc[0], noise.iloc[-1]
    near, far = (_excess(row) for row in (first, last))
    rows.append(
        claim(
            "fig4",
            "The largest singular value of a moderately wide mask lies at c_γ",
            f"noise, Ω = {first['omega']:,.6g}, m = {first['width']:.0f}",
            "s_max/c_γ - 1",
            near,
            f"agrees within ±{LEAVES:g}, disagrees outside",
            near.decides(above=-LEAVES, below=LEAVES),
        )
    )
    rows.append(
        claim(
            "fig4",
            "That of a very wide, very sparse mask lies far beyond c_γ",
            f"noise, Ω = {last['omega']:,.6g}, m = {last['width']:.0f}; first beyond at m = {_leaves(noise)}",
            "s_max/c_γ - 1",
            far,
            f"agrees above {LEAVES:g}, disagrees below",
            far.decides(above=LEAVES),
        )
    )
    return rows


def _wider(runs: pd.DataFrame, panel: str) -> dict[str, object]:
    own = runs[(runs["panel"] == panel) & (runs["series"] == MIXER)]
    xs = ordered(own["x"])
    errors = [values_at(runs, "test_error", series=MIXER, x=x, panel=panel) for x in (xs[0], xs[-1])]
    gain = combination([(1.0, errors[0]), (-1.0, errors[1])])
    return claim(
        "fig4",
        "At fixed Ω a wider Mixer is better, up to S = C",
        f"{panel}, {MIXER}, γm {xs[0]:g} and {xs[-1]:g}",
        "test error of the narrowest less that of the widest",
        gain,
        "agrees above 0, disagrees below",
        gain.decides(above=0.0),
    )


def _worse_beyond(runs: pd.DataFrame, panel: str) -> dict[str, object]:
    own = runs[(runs["panel"] == panel) & (runs["series"] == SPARSE)]
    xs = ordered(own["x"])
    widest = max(runs[(runs["panel"] == panel) & (runs["series"] == MIXER)]["x"])
    # places that are chosen before the errors are seen: a Mixer's largest width, and the last one
    errors = [values_at(runs, "test_error", series=SPARSE, x=x, panel=panel) for x in (xs[-1], widest)]
    loss = combination([(1.0, errors[0]), (-1.0, errors[1])])
    return claim(
        "fig4",
        "An SW-MLP gets worse where it becomes very wide and sparse",
        f"{panel}, {SPARSE}, γm {xs[-1]:g} and {widest:g}",
        "test error of the widest less that at the widest Mixer's width",
        loss,
        "agrees above 0, disagrees below",
        loss.decides(above=0.0),
    )


def _excess(row: pd.Series) -> Estimate:
    """S_max/c_gamma - 1 of a row of the sweep, with the interval of its mean."""
    half = half_width(int(row["seeds"]) - 1) * row["standard_error"] / row["c_gamma"]
    value = row["s_max"] / row["c_gamma"] - 1
    return Estimate(value, value - half, value + half, int(row["seeds"]))


def _leaves(noise: pd.DataFrame) -> str:
    beyond = noise[[_excess(row).low > LEAVES for _, row in noise.iterrows()]]
    return f"{beyond.iloc[0]['width']:.0f}" if len(beyond) else "none"


def values(found: Tables) -> Rows:
    """S(C) at the printed Omega."""
    return [
        reference("fig4", f"S at C = {C}, Ω = 2^19, γ = 2", str(PRINTED_TOKENS[C]), exact(tokens))
        for C, tokens in zip(PRINTED_TOKENS, found["width_channels"]["tokens"], strict=True)
    ]


EXPERIMENT = Experiment(
    name="fig4",
    title="Test error and spectral edge against width at fixed Ω",
    notes=notes(__doc__),
    presets=PRESETS,
    tables=tables,
    drawings=drawings,
    points=points,
    claims=claims,
    values=values,
    kinds=("cifar10",),
)
