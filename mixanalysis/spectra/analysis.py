"""Every layer's singular values against the null law of its structure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixanalysis import representation
from mixanalysis.errors import NothingToAnalyseError, UsageError
from mixanalysis.network import Network
from mixanalysis.operators import BlockDiagonal, Masked, Operator, Top, product
from mixanalysis.results import records
from mixanalysis.spectra import marchenko_pastur, nulls, outliers, targets
from mixanalysis.spectra.free_products import Factor
from mixanalysis.spectra.masked_edge import sparse_edge
from mixanalysis.spectra.nulls import Null, VarianceSource
from mixanalysis.spectra.schemas import SINGULAR_VALUES, SPECTRUM, SPECTRUM_OUTLIERS
from mixanalysis.spectra.shuffle import shuffle_null
from mixanalysis.spectra.targets import Target

LEVEL = 0.01
"""Probability with which noise may exceed the threshold of a layer's largest singular value."""

PROBES, STEPS = 4, 32
"""Of the stochastic quadrature that stands for the other singular values there."""

TOP = 8
"""Largest singular values that are found where not all of them can be."""


@dataclass(frozen=True)
class SpectrumOptions:
    """How layers are analysed; see `spectrum`."""

    variance: VarianceSource = "fitted"
    level: float = LEVEL
    shuffles: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.level < 1:
            raise UsageError(f"--level must be between 0 and 1, got {self.level}")
        if self.shuffles < 0:
            raise UsageError(f"--shuffles must be at least 0, got {self.shuffles}")


@dataclass(frozen=True, eq=False)
class SpectrumResult:
    """Spectra of the layers of some networks.

    Attributes:
        summary: a row per layer (`SPECTRUM`).
        values: a row per distinct singular value (`SINGULAR_VALUES`).
        outliers: a row per described outlier (`SPECTRUM_OUTLIERS`).
        nulls: for each (network, layer) that has one, the null that it was compared with.
    """

    summary: pd.DataFrame
    values: pd.DataFrame
    outliers: pd.DataFrame
    nulls: dict[tuple[str, str], Null]

    def __repr__(self) -> str:
        found = f"{len(self.summary)} layers, {len(self.outliers)} outliers"
        return f"<SpectrumResult: {found}; see .summary, .outliers, .values>"

    def _repr_html_(self) -> str:
        names = ["network", "layer", "width", "density", "null", "null_edge", "s_max", "p_value", "outliers"]
        return representation.table("Spectra: largest singular values against noise", self.summary[names])

    def to_frame(self) -> pd.DataFrame:
        """The summary."""
        return self.summary

    def to_json(self) -> dict[str, Any]:
        """JSON-ready data."""
        return {"spectrum": records(self.summary), "spectrum_outliers": records(self.outliers)}


def spectrum(
    *networks: Network,
    variance: VarianceSource = "fitted",
    level: float = LEVEL,
    shuffles: int = 0,
    seed: int = 0,
    layers: Callable[[str], bool] = lambda _name: True,
    products: bool = False,
    initial: Network | None = None,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> SpectrumResult:
    """Singular values of the effective layers, against the edge of noise of the same structure.

    The null concerns the matrix with independent entries: for a shared weight the small factor, of which the
    effective layer holds equal copies; for a masked weight the masked matrix itself. All singular values are exact
    wherever the structure or the size allows; otherwise the largest come from Lanczos iterations.

    Args:
        networks: one or more.
        variance: entry variance of the null: "fitted" to the bulk, "measured" as the mean square over all cells, or
            "declared" by the initialisation. A masked layer is measured where others are fitted.
        level: probability with which noise may exceed the threshold of a layer.
        shuffles: draws of the model-free null, whose values are permuted within each weight; none by default.
        seed: of the shuffles and of Lanczos iterations.
        layers: keeps a layer by its name.
        products: analyse the product of the layers of each base block (of each block of an MLP) instead.
        initial: subtract this network's weights first (W - W0).
        jobs: layers analysed at once; more than one needs joblib. Threads are preferred, and any of joblib's backends
            can be set around the call. One after the other, a layer that needs Lanczos iterations starts them from the
            vectors of the layer of that name before it, such as that of an earlier checkpoint of a run.
        progress: called after each layer with the layers done and in all.

    Raises:
        NothingToAnalyseError: no layer is kept, a pattern keeps none, or a variance is to be declared that isn't known.
        CheckpointError: a weight is damaged or not finite.
        UsageError: something is no network, W0 has another structure, or joblib is missing.
    """
    for network in networks:
        if not isinstance(network, Network):
            kind = type(network).__name__
            raise UsageError(f"expected networks as load() gives them, got a {kind}; save and load a module")
    options = SpectrumOptions(variance, level, shuffles, seed)
    wanted = targets.chosen(networks, layers, products=products, initial=initial)
    found = []
    for done, analysis in enumerate(_run(wanted, options, jobs), start=1):
        found.append(analysis)
        if progress is not None:
            progress(done, len(wanted))
    rows = _with_discovery_rate([row for row, _, _, _ in found])
    values = [frame for _, frame, _, _ in found]
    return SpectrumResult(
        SPECTRUM.frame(rows),
        pd.concat(values, ignore_index=True),
        SPECTRUM_OUTLIERS.frame(outlier for _, _, some, _ in found for outlier in some),
        {(row["network"], row["layer"]): null for row, _, _, null in found if null is not None},
    )


Warm = dict[tuple[str, tuple[int, int]], NDArray[np.float64]]
"""Right singular vectors by layer and shape."""

Analysis = tuple[dict[str, Any], pd.DataFrame, list[dict[str, Any]], Null | None]


def _run(wanted: Sequence[Target], options: SpectrumOptions, jobs: int) -> Iterator[Analysis]:
    if jobs == 1:
        warm: Warm = {}
        yield from (analyse(target, options, warm) for target in wanted)
        return
    try:
        from joblib import Parallel, delayed
    except ImportError:
        raise UsageError("--jobs needs joblib: install mixanalysis with its extra `sweep`") from None
    tasks = (delayed(analyse)(target, options) for target in wanted)
    # LAPACK and scipy's sparse products release the interpreter's lock
    yield from Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(tasks)


def analyse(target: Target, options: SpectrumOptions, warm: Warm | None = None) -> Analysis:
    """One layer's row of the summary, its singular values, its outliers, and its null.

    Args:
        target: what to analyse.
        options: how.
        warm: right singular vectors of earlier layers, for Lanczos iterations to start from; this one's are added.
    """
    operators = target.operators()
    operator = product(*reversed(operators))
    factor = nulls.independent_factor(operator)
    a, b = factor.shape
    copies = operator.shape[0] // a
    # what is repeated in copies is computed once
    own, top = (factor.spectrum(), None) if factor.exact else (None, _top(target, factor, options.seed, warm))
    values = np.repeat(own.values, own.multiplicity) if own is not None else _given(top).values
    null = _null(target, operators, operator, factor, values, options)
    s_max = float(values[0]) if len(values) else 0.0
    row = _identity(target, operator) | {
        "factor_rows": a,
        "factor_columns": b,
        "copies": copies,
        "zeros": math.nan if own is None else own.zeros * copies,
        "s_max": s_max,
        "c_gamma": marchenko_pastur.c_gamma(a / b),
        "method": "Lanczos" if own is None else own.method,
        "residual": 0.0 if top is None else float(top.residuals.max()),
    }
    row |= _against(null, factor, s_max, values, copies)
    row |= _shuffled(factor, s_max, options)
    described: list[dict[str, Any]] = []
    if null is not None and math.isfinite(null.variance):
        name = {"network": target.network, "layer": target.layer, "copies": copies}
        found = outliers.describe(factor, int(row["outliers"]), null.variance, top)
        described = [name | vars(each) for each in found]
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
    return nulls.product_null(operator, chain)


def _fitted(factor: Operator, options: SpectrumOptions) -> Factor | None:
    """One factor of a product, with the entry variance of its own null."""
    values = np.empty(0) if isinstance(factor, Masked | BlockDiagonal) else factor.spectrum().values
    variance = nulls.entry_variance(factor, values, options.level)
    rows, columns = factor.blocks.shape[1:] if isinstance(factor, BlockDiagonal) else factor.shape
    return None if variance is None else Factor(rows, columns, variance)


def _identity(target: Target, operator: Operator) -> dict[str, Any]:
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
        "density": single.density if single else math.nan,
        "connections": single.connections if single else math.nan,
    }


def _against(
    null: Null | None, factor: Operator, s_max: float, values: NDArray[np.float64], copies: int
) -> dict[str, Any]:
    """The columns that compare a layer with its null."""
    row: dict[str, Any] = dict.fromkeys(
        ("variance", "edge", "bulk_edge", "null_edge", "threshold", "s_max_scaled", "ks", "z", "p_value"), math.nan
    )
    row |= {"null": nulls.no_null(factor), "variance_source": "", "q_value": math.nan, "outliers": 0}
    row |= {"beyond_bulk": 0} | _mask_columns(None, factor)
    if null is None:
        return row
    found = null.outliers if null.outliers is not None else int((values > null.threshold).sum())
    scaled = s_max / math.sqrt(null.variance * factor.shape[1]) if math.isfinite(null.variance) else math.nan
    return row | {
        "null": null.name,
        "variance": null.variance,
        "variance_source": null.variance_source,
        "edge": null.edge,
        "bulk_edge": null.bulk_edge,
        "null_edge": null.expected,
        "threshold": null.threshold,
        "s_max_scaled": scaled,
        "ks": null.ks,
        "z": null.z(s_max),
        "p_value": null.p_value(s_max),
        "outliers": found,
        "beyond_bulk": int((values > null.bulk_edge).sum()),
        **_mask_columns(null, factor),
    }


def _mask_columns(null: Null | None, factor: Operator) -> dict[str, float]:
    """How close a mask's heaviest row and column are to leaving the bulk, and the first-order edge."""
    names = ("mean_degree", "row_load", "column_load", "first_order_edge")
    if null is None or null.graph is None or not isinstance(factor, Masked):
        return dict.fromkeys(names, math.nan)
    a, b = factor.shape
    gamma, p = a / b, factor.density
    # in units of the mean row energy, a row leaves the bulk beyond 1 + sqrt(gamma), a column beyond gamma + sqrt(gamma)
    unit = factor.frobenius() ** 2 / a
    return {
        "mean_degree": p * b,
        "row_load": null.graph.row.norm**2 / unit / (1 + math.sqrt(gamma)),
        "column_load": null.graph.column.norm**2 / unit / (gamma + math.sqrt(gamma)),
        "first_order_edge": math.sqrt(null.variance * b) * sparse_edge(gamma, b, p, _kurtosis(factor)),
    }


def _kurtosis(factor: Masked) -> float:
    """Fourth moment over squared second moment of the connections' values."""
    squares = factor.values.double().square()
    return float(squares.square().mean() / squares.mean() ** 2)


def _shuffled(factor: Operator, s_max: float, options: SpectrumOptions) -> dict[str, float]:
    if options.shuffles == 0 or s_max == 0:
        return {"shuffles": 0, "shuffle_mean": math.nan, "shuffle_p_value": math.nan}
    found = shuffle_null(factor, s_max, options.shuffles, options.seed)
    return {"shuffles": options.shuffles, "shuffle_mean": found.mean, "shuffle_p_value": found.p_value}


def _with_discovery_rate(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with Benjamini & Hochberg's (1995) adjusted p-values over all layers."""
    known = sorted((row["p_value"], index) for index, row in enumerate(rows) if not math.isnan(row["p_value"]))
    smallest = 1.0
    for rank in range(len(known), 0, -1):
        p, index = known[rank - 1]
        smallest = min(smallest, p * len(known) / rank)
        rows[index]["q_value"] = smallest
    return rows
