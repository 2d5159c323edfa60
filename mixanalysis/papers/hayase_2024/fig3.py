"""HK Fig. 3: effective width m(C) and density p(C), p(m) of Mixers at fixed Omega; formulas alone.

Each line is given by Omega and by gamma, or by (gamma_S, gamma_C) where token and channel mixing expand differently;
the dotted line p(m) of SW-MLPs has the mean of the two. By default: the line of HK's reference point (Omega = 10^8,
gamma = 1), that of Fig. 4 (2^19, 2), and a Mixer-B/16's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from mixanalysis import width
from mixanalysis.papers.experiment import Context, Drawing, Experiment, Rows, Tables, notes
from mixanalysis.papers.hayase_2024.figures import width_against_channels
from mixanalysis.papers.tables import exact, reference
from mixanalysis.report.style import TEXT
from mixanalysis.width import WIDTH_OPTIMA

MIXER_B16 = (196, 768, 384, 3072)
"""S, C, D_S and D_C."""


@dataclass(frozen=True)
class Fig3:
    """Lines at fixed Omega.

    Attributes:
        lines: (Omega, (gamma_S, gamma_C)) of each.
    """

    lines: tuple[tuple[float, tuple[float, float]], ...]


def _b16() -> tuple[float, tuple[float, float]]:
    tokens, channels, token_hidden, channel_hidden = MIXER_B16
    gammas = (token_hidden / tokens, channel_hidden / channels)
    return width.connections(tokens, channels, gammas), gammas


SPEC = Fig3(lines=((1e8, (1.0, 1.0)), (2.0**19, (2.0, 2.0)), _b16()))


def tables(spec: Fig3, _context: Context) -> Tables:
    """`WIDTH_CHANNELS` and `WIDTH_LINE`, with the number of the line, and `WIDTH_OPTIMA`."""
    lines = (width.line(omega, width.mean_expansion(gammas)) for omega, gammas in spec.lines)
    return {
        "width_channels": _stacked(width.channel_line(*line) for line in spec.lines),
        "width_line": _stacked(lines),
        "width_optima": WIDTH_OPTIMA.frame(width.optimum_row(*line) for line in spec.lines),
    }


def _stacked(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([frame.assign(line=index) for index, frame in enumerate(frames)], ignore_index=True)


def drawings(found: Tables) -> list[Drawing]:
    """One figure of three panels."""
    arguments = (found["width_channels"], found["width_line"], found["width_optima"])
    return [("fig3", (TEXT, 2.7), width_against_channels, arguments)]


PRINTED = {
    (1e8, 1.0): {"S and C of the widest Mixer": "464.16", "its m": "2.154e5", "its p": "2.154e-3"},
    (2.0**19, 2.0): {"S and C of the widest Mixer": "64", "its m": "4096", "its p": "1/64 = 0.015625"},
}


def values(found: Tables) -> Rows:
    """The widest Mixers of HK's reference points, if their lines are there."""
    rows = []
    for best in found["width_optima"].itertuples():
        printed = PRINTED.get((best.omega, best.expansion_token), {}) if best.tokens == best.channels else {}
        line = f"Ω = {best.omega:,.6g}, γ = {best.expansion_token:g}"
        for (name, text), ours in zip(printed.items(), (best.channels, best.width, best.density), strict=False):
            rows.append(reference("fig3", f"{line}: {name}", text, exact(ours)))
    return rows


EXPERIMENT = Experiment(
    name="fig3",
    title="Effective width and density of Mixers at fixed Ω",
    notes=notes(__doc__),
    presets=dict.fromkeys(("demo", "small", "paper"), SPEC),
    tables=tables,
    drawings=drawings,
    values=values,
)
