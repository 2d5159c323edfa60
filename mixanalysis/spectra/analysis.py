"""Every layer's singular values against the null law of its structure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from mixanalysis.errors import NothingToAnalyseError
from mixanalysis.models import MixingLayer, Network
from mixanalysis.operators import Lift, Masked, Operator, Permuted
from mixanalysis.results import SINGULAR_VALUES, SPECTRUM, records
from mixanalysis.spectra import marchenko_pastur, tracy_widom
from mixanalysis.spectra.sparse import graph_edge

VarianceSource = Literal["measured", "declared"]

MP_NULL = "Marchenko-Pastur"
MASK_NULL = "masked: graph edge and hubs (heuristic)"


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
    effective layer holds equal copies; for a masked weight the masked matrix itself.

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
    null_edge = edge
    if isinstance(factor, Masked):
        squares = factor.values.double().square().numpy()
        rows, columns = factor.rows.numpy(), factor.columns.numpy()
        # the mask's own energies, at the variance of the null
        unit = np.sqrt(v * a * b / squares.sum())
        null_edge = unit * graph_edge(rows, columns, squares, factor.shape).predicted
    noise = tracy_widom.largest(a, b, v)
    # a mask moves the edge; the width of the fluctuations is kept
    z = tracy_widom.statistic(s_max, a, b, v) - (null_edge**2 - edge**2) / noise.sigma
    return null | {
        "edge": edge,
        "null_edge": null_edge,
        "s_max_scaled": s_max / np.sqrt(v * b),
        "z": z,
        "p_value": float(tracy_widom.sf(z)),
    }
