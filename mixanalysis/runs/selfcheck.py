"""Whether this installation computes what it should: identities whose answers are known, in under a second."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mixanalysis.operators import Dense, Kronecker, Masked
from mixanalysis.operators.lanczos import Search, lanczos_top
from mixanalysis.results import Schema
from mixanalysis.similarity import linear_cka
from mixanalysis.spectra import edge, tracy_widom

CHECKS = Schema.of(
    "checks",
    ("check", "", "what was computed"),
    ("found", "", "the number"),
    ("expected", "", "the number by theory, or by a slower way"),
    ("tolerance", "", "how far they may be apart"),
    ("ok", "", "whether they are that close"),
    keys=("check",),
)


def self_check() -> pd.DataFrame:
    """Every check with the number that was found (`CHECKS`)."""
    rows = []
    for check in CHECKED:
        found, expected, tolerance = check()
        right = math.isfinite(found) and abs(found - expected) <= tolerance
        meaning = str(check.__doc__).rstrip(".")
        rows.append({"check": meaning, "found": found, "expected": expected, "tolerance": tolerance, "ok": right})
    return CHECKS.frame(rows)


Check = Callable[[], tuple[float, float, float]]
"""What is found, what is expected, and how far the two may be apart."""


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def cka_of_itself() -> tuple[float, float, float]:
    """CKA of features with themselves, turned and scaled."""
    features = _random(64, 32)
    turn = torch.linalg.qr(_random(32, 32)).Q
    return linear_cka(features, 3 * features @ turn), 1.0, 1e-10


def cka_of_the_independent() -> tuple[float, float, float]:
    """CKA of independent features."""
    both = _random(512, 40)
    # the standard deviation of the unbiased one is of order 1 / n
    return linear_cka(both[:, :20], both[:, 20:]), 0.0, 0.02


def marchenko_pastur_edge() -> tuple[float, float, float]:
    """Largest singular value of noise over the Marchenko-Pastur edge."""
    a, b = 600, 300
    largest = float(torch.linalg.svdvals(_random(a, b))[0])
    # fluctuations are of order min(a, b)^(-2/3)
    return largest / edge(a, b, 1.0), 1.0, 0.03


def tracy_widom_law() -> tuple[float, float, float]:
    """Median of the Tracy-Widom law, through its quantile and back."""
    return float(tracy_widom.cdf(tracy_widom.ppf(0.5))), 0.5, 1e-8


def spectrum_of_a_product() -> tuple[float, float, float]:
    """Singular values of a Kronecker product against its dense matrix, largest difference."""
    operator = Kronecker(Dense(_random(12, 7)), Dense(_random(9, 10)))
    dense = np.linalg.svd(operator.dense().numpy(), compute_uv=False)
    return float(np.abs(operator.spectrum().repeated() - dense).max()), 0.0, 1e-10


def lanczos_of_a_mask() -> tuple[float, float, float]:
    """Largest singular value of a masked matrix by Lanczos against its dense matrix, relative difference."""
    rows, columns = torch.nonzero(_random(300, 200) > 1).T
    operator = Masked(rows, columns, _random(len(rows)), (300, 200))
    top = lanczos_top(operator, 1, Search(1e-8, vectors=False, start=None, seed=0))
    dense = float(torch.linalg.svdvals(operator.dense())[0])
    return abs(float(top.values[0]) / dense - 1), 0.0, 1e-6


def the_same_twice() -> tuple[float, float, float]:
    """Difference of the same matrix product computed twice."""
    matrix = _random(300, 300).float()
    return float((matrix @ matrix - matrix @ matrix).abs().max()), 0.0, 0.0


CHECKED: tuple[Check, ...] = (
    cka_of_itself,
    cka_of_the_independent,
    marchenko_pastur_edge,
    tracy_widom_law,
    spectrum_of_a_product,
    lanczos_of_a_mask,
    the_same_twice,
)
