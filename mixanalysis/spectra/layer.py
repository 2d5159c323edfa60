"""One layer: its singular values, its null, and what stands out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixanalysis.errors import NothingToAnalyseError
from mixanalysis.operators import BlockDiagonal, Kronecker, Masked, Operator, Top, product
from mixanalysis.spectra import marchenko_pastur, nulls, outliers
from mixanalysis.spectra.comparison import against, shuffled
from mixanalysis.spectra.free_products import Factor
from mixanalysis.spectra.nulls import Null
from mixanalysis.spectra.options import SpectrumOptions
from mixanalysis.spectra.schemas import SINGULAR_VALUES
from mixanalysis.spectra.targets import Target
from mixanalysis.spectra.zeros import zeros_masked

PROBES, STEPS = 4, 32
"""Of the stochastic quadrature that stands for the other singular values there."""

TOP = 8
"""Largest singular values that are found where not all of them can be."""

Warm = dict[tuple[str, tuple[int, int]], NDArray[np.float64]]
"""Right singular vectors by layer and shape."""

Analysis = tuple[dict[str, Any], pd.DataFrame, list[dict[str, Any]], Null | None]
"""One layer's row of the summary, its singular values, its outliers, and its null."""


def analyse(target: Target, options: SpectrumOptions, warm: Warm | None = None) -> Analysis:
    """One layer's row of the summary, its singular values, its outliers, and its null.

    Args:
        target: what to analyse.
        options: how.
        warm: right singular vectors of earlier layers, for Lanczos iterations to start from; this one's are added.

    Returns:
        The rows of this layer, and its null.
    """
    operators = target.operators()
    if options.zeros_are_masked:
        operators = [zeros_masked(each) for each in operators]
    operator = product(*reversed(operators))
    factor = nulls.independent_factor(operator)
    a, b = factor.shape
    copies = operator.shape[0] // a
    # what is repeated in copies is computed once
    own, top = (factor.spectrum(), None) if factor.exact else (None, _top(target, factor, options.seed, warm))
    values = np.repeat(own.values, own.multiplicity) if own is not None else _given(top).values
    null = _null(target, operators, operator, factor, values, options)
    s_max = float(values[0]) if len(values) else 0.0
    row = _identity(target, operator, masked=options.zeros_are_masked) | {
        "factor_rows": a,
        "factor_columns": b,
        "copies": copies,
        "zeros": math.nan if own is None else own.zeros * copies,
        "s_max": s_max,
        "c_gamma": marchenko_pastur.c_gamma(a / b),
        "method": "Lanczos" if own is None else own.method,
        "residual": 0.0 if top is None else float(top.residuals.max()),
    }
    row |= against(null, factor, s_max, values, copies)
    row |= shuffled(factor, s_max, options)
    described: list[dict[str, Any]] = []
    if null is not None and math.isfinite(null.variance):
        name = {"network": target.network, "layer": target.layer, "copies": copies}
        matrix, known = (factor, top) if null.remainder is None else (null.remainder, None)
        described = [
            name | vars(each) for each in outliers.describe(matrix, int(row["outliers"]), null.variance, known)
        ]
        null = replace(null, remainder=None)
    distinct, multiplicity = _sampled(factor, values, options.seed) if own is None else (own.values, own.multiplicity)
    frame = pd.DataFrame({"singular_value": distinct, "multiplicity": multiplicity * copies})
    frame.insert(0, "network", target.network)
    frame.insert(1, "layer", target.layer)
    return row, frame[[column.name for column in SINGULAR_VALUES.columns]], described, null


def _top(target: Target, factor: Operator, seed: int, warm: Warm | None) -> Top:
    """The largest singular values by Lanczos, from the vectors of an earlier layer of that name."""
    start = None if warm is None else warm.get((target.layer, factor.shape))
    top = factor.top(TOP, seed=seed, start=start, vectors=True)
    if warm is not None and top.right is not None:
        warm[target.layer, factor.shape] = top.right
    return top


def _sampled(
    factor: Operator, known: NDArray[np.float64], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The largest values, then nodes of stochastic quadrature, descending, and how many values each stands for."""
    density = factor.spectral_density(PROBES, STEPS, seed)
    nodes, weights = density.nodes.ravel(), density.weights.ravel()
    order = np.argsort(-nodes, kind="stable")
    rest = order[nodes[order] < known[-1]]
    counts = weights[rest] / weights[rest].sum() * (density.count - density.zeros - len(known))
    return np.concatenate([known, nodes[rest]]), np.concatenate([np.ones(len(known)), counts])


def _given(top: Top | None) -> Top:
    if top is None:
        msg = "neither a spectrum nor its largest values"
        raise TypeError(msg)
    return top


def _null(
    target: Target,
    operators: Sequence[Operator],
    operator: Operator,
    factor: Operator,
    values: NDArray[np.float64],
    options: SpectrumOptions,
) -> Null | None:
    pairs = list(zip(target.layers, operators, strict=True))[::-1]
    parts = [nulls.independent_parts(each) for _, each in pairs]
    if len(parts) == 1 and sum(map(len, parts[0])) == 1:
        declared = None if target.initial else target.layers[0].declared_variance
        try:
            return nulls.factor_null(factor, values, options.variance, declared, options.level)
        except ValueError as error:
            raise NothingToAnalyseError(f"{target.network} {target.layer}: {error}") from None
    free = nulls.free_groups(parts, [layer.role for layer, _ in pairs])
    groups = [[_fitted(each, options) for each in group] for group in free]
    if any(each is None for group in groups for each in group):
        return None
    chain = [[each for each in group if each is not None] for group in groups]
    return nulls.product_null(operator if isinstance(operator, Kronecker) else factor, chain, options.level)


def _fitted(factor: Operator, options: SpectrumOptions) -> Factor | None:
    """One factor of a product, with the entry variance of its own null."""
    values = np.empty(0) if isinstance(factor, Masked | BlockDiagonal) else factor.spectrum().values
    variance = nulls.entry_variance(factor, values, options.level)
    rows, columns = factor.blocks.shape[1:] if isinstance(factor, BlockDiagonal) else factor.shape
    return None if variance is None else Factor(rows, columns, variance)


def _identity(target: Target, operator: Operator, *, masked: bool) -> dict[str, Any]:
    """What the row is about."""
    rows, columns = operator.shape
    single = target.layers[0] if len(target.layers) == 1 else None
    return {
        "network": target.network,
        "layer": target.layer,
        "block": target.block,
        "role": target.role,
        "rows": rows,
        "columns": columns,
        "width": single.width if single else columns,
        "expansion": single.expansion if single else rows / columns,
        "density": math.nan if single is None else operator.density if masked else single.density,
        "connections": math.nan if single is None else operator.nnz if masked else single.connections,
    }
