"""The tables of CKA, from the sums over batches."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mixanalysis.datasets import Dataset
from mixanalysis.features import Batch
from mixanalysis.results import CKA_CELLS, CKA_DIAGONAL, CKA_LAYERS
from mixanalysis.similarity.accumulator import TOP, Estimates, Floats, Found, jackknife_interval, ratio
from mixanalysis.similarity.estimators import Estimator
from mixanalysis.similarity.grams import SMALLEST_BATCH
from mixanalysis.similarity.hsic import Bias
from mixanalysis.similarity.subjects import Layer, Subject

OUTLIER_SHARE = 0.5
"""A layer is said to hang on a few examples if they carry more than this of its HSIC with itself."""

BIAS_WARNING = 0.05

CONSTANT = "constant features"


def tables(
    subjects: Sequence[Subject],
    found: Found,
    estimator: Estimator,
    data: Dataset | Sequence[Batch],
    batch_size: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Cells, diagonals, layers and warnings.

    Raises:
        UsageError: no batch was long enough.
    """
    sums, covariate = found.sums, -1 if estimator.covariate else None
    other: Bias = "biased" if estimator.bias == "unbiased" else "unbiased"
    undefined = _undefined(sums)
    values, left_out, others = (
        ratio(_without(hsic, undefined), covariate)
        for hsic in (sums.hsic(estimator.bias), sums.left_out_hsic(estimator.bias), sums.hsic(other))
    )
    low, high = jackknife_interval(values, left_out)
    z = np.full_like(values, np.nan) if estimator.covariate else sums.z()
    batches = int(sums.batches.sum())
    size = round(sums.examples / batches)
    if isinstance(data, Dataset) and not estimator.full:
        size = min(batch_size, len(data))
    common = {
        "estimator": estimator.name,
        "data": f"{data.name} ({data.split})" if isinstance(data, Dataset) else "batches",
        "n": sums.examples,
    }
    cells: list[dict[str, Any]] = []
    diagonal: list[dict[str, Any]] = []
    for i, j in list(itertools.combinations(range(len(subjects)), 2)) or [(0, 0)]:
        a, b = subjects[i], subjects[j]
        block = (sums.spans[i], sums.spans[j])
        shared = common | {
            "network_a": a.label,
            "network_b": b.label,
            "features": _joint(a.description, b.description),
        }
        columns = {"value": values, "low": low, "high": high, "z": z, other: others}
        cells += _cells(
            (found.layers[i], found.layers[j]),
            {name: array[block] for name, array in columns.items()} | {estimator.bias: values[block]},
            (_statuses(found, i), _statuses(found, j)),
            shared | {"batches": batches, "batch_size": size},
            estimator,
        )
        diagonal.append(
            shared
            | {"relation": relation(a, b), "density_a": _number(a.density), "density_b": _number(b.density)}
            | _diagonal(values[block], left_out[:, *block])
        )
    layers = _layers(subjects, found)
    frames = CKA_CELLS.frame(cells), CKA_DIAGONAL.frame(diagonal), CKA_LAYERS.frame(layers)
    return *frames, tuple(_warnings(sums, frames[0], layers, estimator))


def _undefined(sums: Estimates) -> list[int]:
    return sorted(sums.reasons)


def _without(hsic: Floats, undefined: Sequence[int]) -> Floats:
    """The same with no self-term for layers that have no features for some batch."""
    hsic = hsic.copy()
    hsic[..., undefined, undefined] = 0
    return hsic


def _statuses(found: Found, network: int) -> list[str]:
    """Why each layer of a network has no similarity; "ok" where it has."""
    span = found.sums.spans[network]
    own = np.diagonal(found.sums.hsic())
    return [
        found.sums.reasons[position][1] if position in found.sums.reasons else "ok" if own[position] > 0 else CONSTANT
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
        status = statuses[0][x] if statuses[0][x] != "ok" else statuses[1][y]
        cells.append(
            {
                **shared,
                "layer_a": a.name,
                "layer_b": b.name,
                "role_a": a.role,
                "role_b": b.role,
                "index_a": x,
                "index_b": y,
                **{name: array[x, y] for name, array in arrays.items()},
                "independent": estimator.independent(shared["batch_size"], a.size, b.size),
                "status": status if status != "ok" or np.isfinite(arrays["value"][x, y]) else "no self-similarity",
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


def _layers(subjects: Sequence[Subject], found: Found) -> list[dict[str, Any]]:
    shares = found.sums.top_share()
    return [
        {
            "network": subject.label,
            "layer": layer.name,
            "role": layer.role,
            "index": position - span.start,
            "size": layer.size,
            "features": subject.description,
            "aliases": " ".join(layer.aliases),
            "top_share": shares[position],
            "status": status,
        }
        for network, (subject, span) in enumerate(zip(subjects, found.sums.spans, strict=False))
        for position, layer, status in zip(
            range(span.start, span.stop), found.layers[network], _statuses(found, network), strict=True
        )
    ]


def _warnings(
    sums: Estimates, cells: pd.DataFrame, layers: Sequence[Mapping[str, Any]], estimator: Estimator
) -> list[str]:
    warnings = []
    if sums.left_out:
        warnings.append(f"the last {sums.left_out} images were left out: a batch needs {SMALLEST_BATCH}")
    for row in layers:
        name = f"{row['network']}: {row['layer']}"
        if row["status"] == CONSTANT:
            warnings.append(f"{name}: CKA is undefined: its HSIC with itself is zero, as that of constant features")
        elif row["status"] != "ok":
            warnings.append(f"{name}: CKA is undefined: {row['status']}")
        elif row["top_share"] > OUTLIER_SHARE and sums.examples >= 20 * TOP:
            warnings.append(
                f"{name}: {TOP} of {sums.examples} images carry {row['top_share']:.0%} of its HSIC with itself, so "
                "that its similarities are about them (Davari et al. 2022)"
            )
    gap = (cells["biased"] - cells["unbiased"]).abs()
    if estimator.bias == "biased" and gap.max() > BIAS_WARNING:
        worst = cells.loc[gap.idxmax()]
        pair = f"{worst['network_a']} {worst['layer_a']} – {worst['network_b']} {worst['layer_b']}"
        warnings.append(
            f"{pair}: the biased estimate is "
            f"{worst['biased']:.3f}, the unbiased one {worst['unbiased']:.3f}; with batches this small for features of "
            "this size the bias is most of the value"
        )
    return warnings


def _joint(a: str, b: str) -> str:
    return a if a == b else f"{a} | {b}"


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def relation(a: Subject, b: Subject) -> str:
    """What a pair is: "itself", a control, or "" for two networks to be compared."""
    if a is b:
        return "itself"
    controls = {a.control, b.control} - {""}
    if controls:
        return "floor" if "floor" in controls else "ceiling"
    if False in (a.trained, b.trained):
        return "untrained"
    same = a.config is not None and a.config == b.config
    return "other seed" if same and None not in (a.seed, b.seed) and a.seed != b.seed else ""
