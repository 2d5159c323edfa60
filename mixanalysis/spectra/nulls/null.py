"""Noise of a layer's structure: its edges, and how far its largest singular value reaches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mixanalysis.operators import Operator
from mixanalysis.spectra import tracy_widom
from mixanalysis.spectra.free_products import Factor
from mixanalysis.spectra.masked_edge import GraphEdge

VarianceSource = Literal["fitted", "measured", "declared"]


@dataclass(frozen=True)
class Null:
    """Noise of a layer's structure; all edges are singular values.

    Attributes:
        name: which law.
        variance: entry variance, NaN where several factors have their own.
        variance_source: how it was found.
        edge: Marchenko-Pastur edge of a dense matrix of this shape and variance; NaN for products.
        bulk_edge: edge of the law of this structure.
        expected: where the largest singular value of noise is expected: the bulk edge, or the heaviest hub beyond it.
        threshold: what noise exceeds with probability `level`; `expected` where no law of the fluctuations is known.
        centre: of s_max^2 in Tracy-Widom units; NaN where unknown.
        scale: of s_max^2; NaN where unknown.
        ks: Kolmogorov-Smirnov distance of the bulk to the law; NaN where it wasn't fitted.
        graph: the mask's rows and columns; None without a mask.
        outliers: singular values that a sequential test calls outliers; None where they are those beyond `threshold`.
        chain: factors of a free product, leftmost first; empty for other laws.
        check: what of the law's assumptions fails, in words; "ok" where nothing does, empty where nothing was checked.
        check_p_value: probability of that under the law; NaN where nothing was checked.
        compared: the singular value that is compared, where means were taken off first; NaN where it is the largest.
        remainder: the matrix without these means; None where none were taken off.
    """

    name: str
    variance: float
    variance_source: str
    edge: float
    bulk_edge: float
    expected: float
    threshold: float
    centre: float = np.nan
    scale: float = np.nan
    ks: float = np.nan
    graph: GraphEdge | None = None
    outliers: int | None = None
    chain: tuple[Factor, ...] = field(default=())
    check: str = ""
    check_p_value: float = np.nan
    compared: float = np.nan
    remainder: Operator | None = field(default=None, repr=False, compare=False)

    def z(self, s_max: float) -> float:
        """s_max in Tracy-Widom units."""
        value = self.compared if np.isfinite(self.compared) else s_max
        return (value**2 - self.centre) / self.scale

    def p_value(self, s_max: float) -> float:
        """Probability that noise reaches s_max; NaN where no law of its fluctuations is known."""
        z = self.z(s_max)
        return float(tracy_widom.sf(z)) if np.isfinite(z) else np.nan
