"""Every layer's singular values against the null law of its structure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, eigsh

from mixanalysis.errors import NothingToAnalyseError
from mixanalysis.models import MixingLayer, Network
from mixanalysis.operators import Lift, Masked, Operator, Permuted
from mixanalysis.results import SINGULAR_VALUES, SPECTRUM, records
from mixanalysis.spectra import marchenko_pastur, tracy_widom

VarianceSource = Literal["measured", "declared"]

MP_NULL = "Marchenko-Pastur"
MASK_NULL = "masked: the same weights with random signs"

_TW_MEAN, _TW_SD = -1.2065335746, 1.2679830577

SIGN_DRAWS = 32
"""Draws of random signs that centre and scale of a masked layer's null are measured on."""


@dataclass(frozen=True, eq=False)
class SpectrumResult:
    """Spectra of the layers of some networks.

    Attributes:
        summary: a row per layer (`results.SPECTRUM`).
        values: a row per distinct singular value (`results.SINGULAR_VALUES`).
    """

    summary: pd.DataFrame
    values: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """The summary."""
        return self.summary

    def to_json(self) -> dict[str, Any]:
        """JSON-ready data."""
        return {"spectrum": records(self.summary)}


def spectrum(
    *networks: Network,
    variance: VarianceSource = "measured",
    layers: Callable[[str], bool] = lambda _name: True,
    progress: Callable[[int, int], None] | None = None,
) -> SpectrumResult:
    """Exact singular values of the effective layers, against the edge of noise of the same structure.

    The null concerns the matrix with independent entries: for a shared weight the small factor, of which the
    effective layer holds equal copies; for a masked weight the masked matrix itself. A mask's s_max fluctuates with
    its heaviest rows and columns as no formula tells within a percent, so that its null is measured: connections and
    their sizes are kept, signs are drawn anew.

    Args:
        networks: one or more.
        variance: entry variance of the null: "measured" as the mean square over all cells, or "declared" by the
            initialisation.
        layers: keeps a layer by its name.
        progress: called after each layer with the layers done and in all.

    Raises:
        NothingToAnalyseError: no layer is kept, or an initialisation is asked for that isn't known.
        CheckpointError: a weight is damaged or not finite.
    """
    chosen = [(network, layer) for network in networks for layer in network.layers if layers(layer.name)]
    if not chosen:
        some = ", ".join(layer.name for network in networks for layer in network.layers[:2])
        raise NothingToAnalyseError(f"no layer left to analyse; layers are called {some}, ...")
    rows, values = [], []
    for done, (network, layer) in enumerate(chosen, start=1):
        row, layer_values = analyse(network.label, layer, variance)
        rows.append(row)
        values.append(layer_values)
        if progress is not None:
            progress(done, len(chosen))
    return SpectrumResult(SPECTRUM.frame(rows), pd.concat(values, ignore_index=True))


def analyse(network: str, layer: MixingLayer, source: VarianceSource) -> tuple[dict[str, Any], pd.DataFrame]:
    """One layer's row of the summary, and its singular values."""
    operator = layer.operator
    factor = independent_factor(operator)
    spectrum_ = operator.spectrum()
    values = spectrum_.values
    a, b = factor.shape
    v = _variance(layer, factor, source)
    s_max = float(values[0]) if len(values) else 0.0
    copies = operator.shape[0] // a
    row: dict[str, Any] = {
        "network": network,
        "layer": layer.name,
        "block": layer.block,
        "role": layer.role,
        "rows": layer.shape[0],
        "columns": layer.shape[1],
        "width": layer.width,
        "expansion": layer.expansion,
        "density": layer.density,
        "connections": layer.connections,
        "factor_rows": a,
        "factor_columns": b,
        "copies": copies,
        "zeros": spectrum_.zeros,
        "variance": v,
        "variance_source": source,
        "s_max": s_max,
        "c_gamma": marchenko_pastur.c_gamma(a / b),
        "method": spectrum_.method,
    }
    row |= _against_null(factor, s_max, v)
    per_factor = np.repeat(values, spectrum_.multiplicity // copies)
    row["beyond_edge"] = int((per_factor > row["null_edge"]).sum()) if v > 0 else 0
    frame = pd.DataFrame({"singular_value": values, "multiplicity": spectrum_.multiplicity})
    frame.insert(0, "network", network)
    frame.insert(1, "layer", layer.name)
    return row, SINGULAR_VALUES.frame(frame.to_dict(orient="records"))


def independent_factor(operator: Operator) -> Operator:
    """The matrix whose entries the null takes as independent: permutations and copies are stripped."""
    while isinstance(operator, Lift | Permuted):
        operator = operator.factor if isinstance(operator, Lift) else operator.inner
    return operator


def _variance(layer: MixingLayer, factor: Operator, source: VarianceSource) -> float:
    if source == "measured":
        return factor.frobenius() ** 2 / (factor.shape[0] * factor.shape[1])
    if layer.declared_variance is None:
        raise NothingToAnalyseError(f"{layer.name}: its initialisation isn't known; use --variance measured")
    return layer.declared_variance


def _against_null(factor: Operator, s_max: float, v: float) -> dict[str, Any]:
    a, b = factor.shape
    null = {"null": MASK_NULL if isinstance(factor, Masked) else MP_NULL}
    # one number has no edge; nor has a mask whose connections are all zero
    if v <= 0 or a == b == 1 or (isinstance(factor, Masked) and not factor.values.any()):
        nothing = ("edge", "null_edge", "s_max_scaled", "z", "p_value")
        return null | dict.fromkeys(nothing, np.nan)
    edge = marchenko_pastur.edge(a, b, v)
    if isinstance(factor, Masked):
        law = random_signs(factor, v)
        null_edge = np.sqrt(law.mu)
    else:
        law, null_edge = tracy_widom.largest(a, b, v), edge
    z = (s_max**2 - law.mu) / law.sigma
    return null | {
        "edge": edge,
        "null_edge": null_edge,
        "s_max_scaled": s_max / np.sqrt(v * b),
        "z": z,
        "p_value": float(tracy_widom.sf(z)),
    }


def random_signs(factor: Masked, v: float) -> tracy_widom.Largest:
    """Centre and scale of s_max^2 of a masked matrix whose connections keep their sizes, but not their signs.

    Independent entries with symmetric laws have such signs, whatever the mask and the scatter of its rows. The draws
    start from one seed, so that the answer is always the same.

    Args:
        factor: the matrix; its non-zero weights are rescaled to the variance of the null.
        v: entry variance of the null over all cells.
    """
    sizes = factor.values.double().numpy()
    sizes = sizes * np.sqrt(v * factor.shape[0] * factor.shape[1] / (sizes @ sizes))
    rows, columns = factor.rows.numpy(), factor.columns.numpy()
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(SIGN_DRAWS):
        signs = rng.choice((-1.0, 1.0), len(sizes))
        draws.append(_largest_square(csr_array((sizes * signs, (rows, columns)), factor.shape), rng))
    squares = np.array(draws)
    # signs that change nothing, as on a diagonal, leave rounding alone
    scale = max(float(squares.std(ddof=1)) / _TW_SD, 1e-6 * float(squares.mean()))
    return tracy_widom.Largest(float(squares.mean()) - _TW_MEAN * scale, scale)


def _largest_square(matrix: csr_array, rng: np.random.Generator) -> float:
    if min(matrix.shape) <= 2:
        return float(np.linalg.norm(matrix.toarray(), 2)) ** 2
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T.tocsr()
    size = tall.shape[1]
    square = LinearOperator((size, size), matvec=lambda x: tall.T @ (tall @ x), dtype=np.float64)
    start = rng.standard_normal(size)
    return float(eigsh(square, k=1, v0=start, tol=1e-6, return_eigenvectors=False)[0])
