"""HK Fig. S.1: spectra of ever sparser and wider random matrices, and accuracy of SW-MLPs along the same line.

Spectra: Z = M * W of m x m with m = Omega^((1+a)/2), p = Omega^-a, W ~ N(0, 1), Omega = 1000, a = 0 .. 1.5; ZZ^T is
scaled by its mean diagonal. The printed curve, about 1.9 rising to about 8, is that of singular values, the square
roots of the eigenvalues of ZZ^T, which go from about 3.6 to about 69: both are in the table.

Accuracy: SW-MLPs of fully connected blocks (gamma = 1) on the same line m(a), p(a), at an Omega of the networks' own,
as far as a masked weight fits into memory. The printed settings of this panel aren't known to us: depth, masks,
optimiser and epochs are those of Fig. 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from mixanalysis.families.sizes import Sizes
from mixanalysis.papers.experiment import Context, Drawing, Experiment, Rows, Tables, notes
from mixanalysis.papers.hayase_2024.figures import curves
from mixanalysis.papers.hayase_2024.settings import SEEDS, SGD, ZERO_ONE
from mixanalysis.papers.runs import Data, Point, Run, Scale
from mixanalysis.papers.schemas import PLACE
from mixanalysis.papers.statistics import mean
from mixanalysis.papers.tables import means_table, reference, runs_table, values_at
from mixanalysis.report.style import COLUMN
from mixanalysis.spectra.nulls.signs import largest_square
from mixanalysis.spectra.sweep import masked_noise
from mixanalysis.training import TrainingConfig

SINGULAR, EIGENVALUE = "largest singular value", "largest eigenvalue"


@dataclass(frozen=True)
class FigS1:
    """Random matrices and networks at fixed Omega.

    Attributes:
        omega: of the matrices.
        exponents: a, for the matrices.
        trials: matrices for each a.
        network_omega: of the networks.
        network_exponents: a, for the networks.
        depth: blocks of a network.
        training: how they are trained.
        data: on what.
        seeds: of the networks.
    """

    omega: float
    exponents: tuple[float, ...]
    trials: int
    network_omega: float
    network_exponents: tuple[float, ...]
    depth: int
    training: TrainingConfig
    data: tuple[Data, ...] = (Data(),)
    seeds: tuple[int, ...] = SEEDS


_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
_FINE = tuple(n / 10 for n in range(16))
PRESETS: dict[Scale, FigS1] = {
    "demo": FigS1(1000.0, _EXPONENTS, 20, 2.0**12, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), 8, SGD["demo"]),
    "small": FigS1(1000.0, _FINE, 100, 2.0**14, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), 8, SGD["small"]),
    "paper": FigS1(1000.0, _FINE, 100, 2.0**18, (0.01, 0.05, 0.1, 0.2, 0.3), 8, SGD["paper"]),
}


def side(omega: float, exponent: float) -> int:
    """M = Omega^((1+a)/2), rounded."""
    width: float = omega ** ((1 + exponent) / 2)
    return round(width)


def points(spec: FigS1) -> list[Point]:
    """SW-MLPs of fully connected blocks at p = Omega^-a."""
    found = []
    for data in spec.data:
        for exponent in spec.network_exponents:
            density = spec.network_omega**-exponent
            width = side(spec.network_omega, exponent)
            sizes = Sizes(width=width, density=density, block="fc", depth=spec.depth, mask_value=ZERO_ONE)
            found += [
                Point(Run("sw-mlp", sizes, data, replace(spec.training, seed=seed)), "SW-MLP", 1 / density, data.kind)
                for seed in spec.seeds
            ]
    return found


def scaled_singular_value(omega: float, exponent: float, seed: int) -> float:
    """Largest singular value of Z over the root of the mean diagonal of ZZ^T; NaN without a single connection."""
    size, p = side(omega, exponent), omega**-exponent
    generator = np.random.default_rng([seed, size])
    noise = masked_noise(size, size, p, p, generator)
    rows, columns, values = (part.numpy() for part in (noise.rows, noise.columns, noise.values))
    if not len(values):
        return math.nan
    largest = largest_square(csr_array((values, (rows, columns)), noise.shape), generator)
    return math.sqrt(largest / (float((values**2).sum()) / size))


def tables(spec: FigS1, context: Context) -> Tables:
    """Spectra of each trial and their means; runs and their means."""
    names = [column.name for column in PLACE]
    rows = []
    for exponent in spec.exponents:

        def measured(a: float = exponent) -> list[float]:
            return [scaled_singular_value(spec.omega, a, seed) for seed in range(spec.trials)]

        found = context.ledger.cached("masked-noise", [spec.omega, exponent, spec.trials], measured)
        for seed, value in enumerate(found):
            place = dict(zip(names, ("figS1", f"Ω = {spec.omega:g}", SINGULAR, "a", exponent), strict=True))
            singular = math.nan if value is None else float(value)
            rows += [
                place | {"trial": seed, "value": singular},
                place | {"series": EIGENVALUE, "trial": seed, "value": singular**2},
            ]
    spectra = pd.DataFrame(rows)
    runs = runs_table("figS1", "1/p", points(spec), context.book)
    return {
        "masked_noise": spectra,
        "paper_spectra": means_table(spectra, "value", "scaled by the mean diagonal of ZZᵀ"),
        "paper_runs": runs,
        "paper_points": means_table(runs, "test_error", "test error"),
    }


def drawings(found: Tables) -> list[Drawing]:
    """Spectra, and test errors."""
    spectra = found["paper_spectra"]
    return [
        ("figS1_spectra", (COLUMN, 2.9), curves, (spectra[spectra["series"] == SINGULAR],)),
        ("figS1_error", (COLUMN, 2.9), curves, (found["paper_points"], "log2")),
    ]


def values(found: Tables) -> Rows:
    """The ends of the printed curve."""
    spectra = found["masked_noise"]
    return [
        reference(
            "figS1", f"scaled {SINGULAR} at a = {a:g}", text, mean(values_at(spectra, "value", series=SINGULAR, x=a))
        )
        for a, text in ((0.0, "about 1.9"), (1.5, "about 8"))
        if (spectra["x"] == a).any()
    ]


EXPERIMENT = Experiment(
    name="figS1",
    title="Spectra of sparse random matrices, and accuracy of SW-MLPs, against density",
    notes=notes(__doc__),
    presets=PRESETS,
    tables=tables,
    drawings=drawings,
    points=points,
    values=values,
    kinds=("cifar10",),
)
