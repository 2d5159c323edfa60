"""The tables of CKA, from the sums over batches."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mixanalysis.datasets import Dataset
from mixanalysis.features import Batch
from mixanalysis.similarity.cka_warnings import CONSTANT, cka_warnings
from mixanalysis.similarity.estimators.batch_sums import Floats
from mixanalysis.similarity.estimators.estimates import HSICEstimates, Pass
from mixanalysis.similarity.estimators.estimator import Estimator
from mixanalysis.similarity.estimators.hsic import Bias
from mixanalysis.similarity.estimators.hsic_sums import HSICSums
from mixanalysis.similarity.estimators.measures import MEASURES
from mixanalysis.similarity.estimators.ratios import jackknife_interval, ratio
from mixanalysis.similarity.schemas import CKA_CELLS, CKA_DIAGONAL, CKA_LAYERS, SIMILARITY
from mixanalysis.similarity.sources.source import Layer, Source


def tables(
    sources: Sequence[Source],
    estimates: Pass,
    estimator: Estimator,
    data: Dataset | Sequence[Batch],
    batch_size: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Cells, diagonals, layers and warnings.

    Returns:
        Three tables with the columns of `schemas`, and one line for each warning.
    """
    sums, covariate = estimates.sums, -1 if estimator.covariate else None
    other: Bias = "biased" if estimator.bias == "unbiased" else "unbiased"
    undefined = _undefined(sums)
    values, left_out, others = (
        ratio(_without(hsic, undefined), covariate)
        for hsic in (sums.hsic(estimator.bias), sums.left_out_hsic(estimator.bias), sums.hsic(other))
    )
    low, high = jackknife_interval(values, left_out)
    z = np.full_like(values, np.nan) if estimator.covariate else sums.z()
    p_values = np.where(np.isnan(values), np.nan, sums.p_values())
    batches, size = int(sums.batches.sum()), _full_batch(sums, estimator, data, batch_size)
    common = {
        "estimator": estimator.name,
        "data": f"{data.name} ({data.split})" if isinstance(data, Dataset) else "batches",
        "n": sums.examples,
    }
    cells: list[dict[str, Any]] = []
    diagonal: list[dict[str, Any]] = []
    for i, j in _pairs(len(sources)):
        a, b = sources[i], sources[j]
        block = (sums.spans[i], sums.spans[j])
        shared = common | {
            "network_a": a.label,
            "network_b": b.label,
            "features": _joint(a.description, b.description),
        }
        columns = {"value": values, "low": low, "high": high, "z": z, "p_value": p_values, other: others}
        cells += _cells(
            (estimates.layers[i], estimates.layers[j]),
            {name: array[block] for name, array in columns.items()} | {estimator.bias: values[block]},
            (_statuses(estimates, i, estimator.bias), _statuses(estimates, j, estimator.bias)),
            shared | {"batches": batches, "batch_size": size},
            estimator,
        )
        diagonal.append(
            shared
            | {"relation": relation(a, b), "density_a": _number(a.density), "density_b": _number(b.density)}
            | _diagonal(values[block], left_out[:, *block])
        )
    layers = _layers(sources, estimates, estimator.bias)
    frames = CKA_CELLS.frame(cells), CKA_DIAGONAL.frame(diagonal), CKA_LAYERS.frame(layers)
    return *frames, tuple(cka_warnings(sums, frames[0], layers, estimator))


def companions(
    sources: Sequence[Source],
    estimates: Pass,
    estimator: Estimator,
    data: Dataset | Sequence[Batch],
    batch_size: int,
) -> pd.DataFrame:
    """Return companion measures of every pair of layers."""
    sums = estimates.sums
    if not isinstance(sums, HSICSums) or not sums.measures:
        return SIMILARITY.frame(())
    means, left_out = sums.companion_means()
    low, high = jackknife_interval(means, left_out)
    size = _full_batch(sums, estimator, data, batch_size)
    rows: list[dict[str, Any]] = []
    for i, j in _pairs(len(sources)):
        statuses = (_statuses(estimates, i, estimator.bias), _statuses(estimates, j, estimator.bias))
        for place, measure in enumerate(MEASURES[name] for name in sums.measures):
            block = (place, sums.spans[i], sums.spans[j])
            rows += [
                {
                    "network_a": sources[i].label,
                    "network_b": sources[j].label,
                    "measure": measure.identifier_of(estimator.kernel),
                    "chance": measure.chance(size),
                    "n": sums.examples,
                    "batch_size": size,
                    **_places(x, a, y, b),
                    "value": means[block][x, y],
                    "low": low[block][x, y],
                    "high": high[block][x, y],
                    "status": _status(statuses, x, y, means[block][x, y], measure.undefined),
                }
                for (x, a), (y, b) in itertools.product(enumerate(estimates.layers[i]), enumerate(estimates.layers[j]))
            ]
    return SIMILARITY.frame(rows)


def _pairs(networks: int) -> list[tuple[int, int]]:
    return list(itertools.combinations(range(networks), 2)) or [(0, 0)]


def _full_batch(sums: HSICEstimates, estimator: Estimator, data: Dataset | Sequence[Batch], batch_size: int) -> int:
    """Return examples of a full batch."""
    if isinstance(data, Dataset) and not estimator.full:
        return min(batch_size, len(data))
    return round(sums.examples / int(sums.batches.sum()))


def _places(x: int, a: Layer, y: int, b: Layer) -> dict[str, Any]:
    return {
        "layer_a": a.name,
        "layer_b": b.name,
        "role_a": a.role,
        "role_b": b.role,
        "index_a": x,
        "index_b": y,
    }


def _status(statuses: tuple[Sequence[str], Sequence[str]], x: int, y: int, value: float, undefined: str) -> str:
    """Return why a value is undefined: for its layers, or else as given; "ok" where it isn't."""
    if np.isfinite(value):
        return "ok"
    status = statuses[0][x] if statuses[0][x] != "ok" else statuses[1][y]
    return status if status != "ok" else undefined


def _undefined(sums: HSICEstimates) -> list[int]:
    return sorted(sums.reasons)


def _without(hsic: Floats, undefined: Sequence[int]) -> Floats:
    """Return HSIC without self-terms of layers that have no features for some batch."""
    hsic = hsic.copy()
    hsic[..., undefined, undefined] = 0
    return hsic


def _statuses(estimates: Pass, network: int, bias: Bias) -> list[str]:
    """Return why each layer of a network has no similarity; "ok" where it has."""
    span = estimates.sums.spans[network]
    own = np.diagonal(estimates.sums.hsic(bias))
    return [
        estimates.sums.reasons[position][1]
        if position in estimates.sums.reasons
        else "ok"
        if own[position] > 0
        else CONSTANT
        for position in range(span.start, span.stop)
    ]


def _cells(
    layers: tuple[Sequence[Layer], Sequence[Layer]],
    arrays: Mapping[str, Floats],
    statuses: tuple[Sequence[str], Sequence[str]],
    shared: Mapping[str, Any],
    estimator: Estimator,
) -> list[dict[str, Any]]:
    cells = []
    for (x, a), (y, b) in itertools.product(enumerate(layers[0]), enumerate(layers[1])):
        cells.append(
            {
                **shared,
                **_places(x, a, y, b),
                **{name: array[x, y] for name, array in arrays.items()},
                "independent": estimator.independent(shared["batch_size"], a.size, b.size),
                "status": _status(statuses, x, y, arrays["value"][x, y], "no self-similarity"),
            }
        )
    return cells


def _diagonal(values: Floats, left_out: Floats) -> dict[str, Any]:
    rows, columns = values.shape
    if rows != columns:
        nothing = dict.fromkeys(("mean", "low", "high"), np.nan)
        return nothing | {"blocks": 0, "status": f"{rows} against {columns} blocks: there is no diagonal"}
    mean = np.array(np.diagonal(values).mean())
    low, high = jackknife_interval(mean, np.diagonal(left_out, axis1=1, axis2=2).mean(axis=1))
    status = "a block's CKA is undefined" if np.isnan(mean) else "ok"
    return {"blocks": rows, "mean": float(mean), "low": float(low), "high": float(high), "status": status}


def _layers(sources: Sequence[Source], estimates: Pass, bias: Bias) -> list[dict[str, Any]]:
    shares = estimates.sums.top_share()
    return [
        {
            "network": source.label,
            "layer": layer.name,
            "role": layer.role,
            "index": position - span.start,
            "size": layer.size,
            "features": source.description,
            "aliases": " ".join(layer.aliases),
            "top_share": shares[position],
            "status": status,
        }
        for network, (source, span) in enumerate(zip(sources, estimates.sums.spans, strict=False))
        for position, layer, status in zip(
            range(span.start, span.stop), estimates.layers[network], _statuses(estimates, network, bias), strict=True
        )
    ]


def _joint(a: str, b: str) -> str:
    return a if a == b else f"{a} | {b}"


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def relation(a: Source, b: Source) -> str:
    """Return what a pair is: "itself", a control, or "" for two networks to be compared."""
    if a is b:
        return "itself"
    controls = {a.control, b.control} - {""}
    if controls:
        return "floor" if "floor" in controls else "ceiling"
    if False in (a.trained, b.trained):
        return "untrained"
    same = a.config is not None and a.config == b.config
    return "other seed" if same and None not in (a.seed, b.seed) and a.seed != b.seed else ""
