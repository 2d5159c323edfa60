"""The largest singular value of masked noise against its width at fixed Omega (HK Fig. 4, right)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array

from mixanalysis.errors import UsageError
from mixanalysis.operators import Masked
from mixanalysis.spectra.marchenko_pastur import c_gamma
from mixanalysis.spectra.masked_edge import graph_edge, sparse_edge
from mixanalysis.spectra.nulls.signs import largest_square
from mixanalysis.spectra.schemas import SPECTRUM_SWEEP

Convention = Literal["stated", "figure", "square"]
"""Density at width m: "stated" Omega/(gamma m^2) (HK 13), "figure" Omega/(gamma m)^2, with which the printed figure
reproduces, or "square" Omega/m^2."""

WIDTHS = (724, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288)


def density(convention: Convention, omega: float, expansion: float, width: int) -> float:
    """P at width m in one of the conventions.

    Returns:
        A density in (0, 1].

    Raises:
        UsageError: the convention is unknown, or p would pass 1.
    """
    powers = {"stated": 1, "figure": 2, "square": 0}
    if convention not in powers:
        raise UsageError(f"density convention must be one of {', '.join(powers)}, got {convention!r}")
    p = omega / (expansion ** powers[convention] * width**2)
    if p > 1 + 1e-3:
        raise UsageError(f"width {width} can't hold Omega = {omega:g} connections: p would be {p:.3g}")
    return min(p, 1.0)


def masked_noise(rows: int, columns: int, p: float, variance: float, generator: np.random.Generator) -> Masked:
    """A rows x columns matrix with a Bernoulli(p) mask and Gaussian values of variance `variance`/p, drawn sparsely."""
    cells = rows * columns
    # given their number, the connections are a uniform subset of the cells
    wanted = int(generator.binomial(cells, p))
    few = min(wanted, cells - wanted)
    chosen = np.empty(0, dtype=np.int64)
    while len(chosen) < few:
        drawn = generator.integers(cells, size=few - len(chosen))
        chosen = np.unique(np.concatenate([chosen, drawn]))
    if few < wanted:
        chosen = np.delete(np.arange(cells), chosen)
    row, column = np.divmod(chosen, columns)
    values = generator.standard_normal(len(row)) * math.sqrt(variance / p)
    return Masked(torch.from_numpy(row), torch.from_numpy(column), torch.from_numpy(values), (rows, columns))


def sweep(
    omega: float = 2.0**19,
    expansion: float = 2.0,
    widths: Sequence[int] = WIDTHS,
    *,
    convention: Convention = "stated",
    seeds: int = 5,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Largest singular values of gamma m x m masked noise of entry variance 1/m.

    Args:
        omega: fixed number of connections.
        expansion: gamma; rows are round(gamma m).
        widths: effective widths m; those with p above 1 are refused.
        convention: how p follows from Omega.
        seeds: matrices per width.
        progress: called after each matrix.

    Returns:
        `SPECTRUM_SWEEP`, a row per width: mean and standard error of s_max over seeds, the mean prediction
        from graph edge and hubs, the first-order edge, and c_gamma.

    Raises:
        UsageError: a width can't hold the connections, or a number is out of range.
    """
    if seeds < 1:
        raise UsageError(f"--seeds must be at least 1, got {seeds}")
    rows = []
    for index, width in enumerate(widths):
        p = density(convention, omega, expansion, width)
        found, predicted, bulk = [], [], []
        for seed in range(seeds):
            generator = np.random.default_rng([seed, width])
            matrix = masked_noise(round(expansion * width), width, p, 1 / width, generator)
            rows_, columns, values = (part.numpy() for part in (matrix.rows, matrix.columns, matrix.values))
            # the largest value alone is much cheaper than an exact spectrum
            found.append(math.sqrt(largest_square(csr_array((values, (rows_, columns)), matrix.shape), generator)))
            edge = graph_edge(rows_, columns, values**2, matrix.shape)
            predicted.append(edge.predicted)
            bulk.append(edge.bulk_edge)
            if progress is not None:
                progress(index * seeds + seed + 1, len(widths) * seeds)
        rows.append(
            {
                "omega": omega,
                "expansion": expansion,
                "convention": convention,
                "width": width,
                "density": p,
                "seeds": seeds,
                "s_max": float(np.mean(found)),
                "standard_error": float(np.std(found, ddof=1) / math.sqrt(seeds)) if seeds > 1 else math.nan,
                "predicted": float(np.mean(predicted)),
                "bulk_edge": float(np.mean(bulk)),
                "first_order_edge": sparse_edge(expansion, width, p),
                "c_gamma": c_gamma(expansion),
            }
        )
    return SPECTRUM_SWEEP.frame(rows)
