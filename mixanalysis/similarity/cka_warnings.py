"""Warnings about a CKA: batches and layers that were left out or are undefined, influential images, and bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mixanalysis.similarity.estimators.batch_sums import TOP
from mixanalysis.similarity.estimators.estimates import HSICEstimates
from mixanalysis.similarity.estimators.estimator import Estimator
from mixanalysis.similarity.estimators.hsic_sums import HSICSums
from mixanalysis.similarity.estimators.kernels import SMALLEST_BATCH

OUTLIER_SHARE = 0.5
"""A layer is said to hang on a few examples if they carry more than this of its HSIC with itself."""

BIAS_WARNING = 0.05

CONSTANT = "constant features"


def cka_warnings(
    sums: HSICEstimates, cells: pd.DataFrame, layers: Sequence[Mapping[str, Any]], estimator: Estimator
) -> list[str]:
    """Say what was left out, is undefined, or hangs on a few images.

    Args:
        sums: HSIC of all pairs of layers.
        cells: a row per pair of layers.
        layers: a row per layer.
        estimator: of CKA.

    Returns:
        One line for each warning.
    """
    warnings = []
    if sums.left_out:
        last = "image was" if sums.left_out == 1 else f"{sums.left_out} images were"
        warnings.append(f"the last {last} left out: a batch needs {SMALLEST_BATCH}")
    if (cells["low"].isna() & cells["value"].notna()).any():
        warnings.append("there are no intervals: they need two batches at least; a smaller --batch-size makes more")
    for row in layers:
        name = f"{row['network']}: {row['layer']}"
        if row["status"] == CONSTANT:
            warnings.append(f"{name}: CKA is undefined: its HSIC with itself is zero, as that of constant features")
        elif row["status"] != "ok":
            warnings.append(f"{name}: CKA is undefined: {row['status']}; --exclude leaves the layer out")
        elif row["top_share"] > OUTLIER_SHARE and sums.examples >= 20 * TOP:
            warnings.append(
                f"{name}: {TOP} of {sums.examples} images carry {row['top_share']:.0%} of its HSIC with itself, so "
                "that its similarities are about them (Davari et al. 2022)"
            )
    warnings += _vanished(sums, layers)
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


def _vanished(sums: HSICEstimates, layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return layers of which whole batches are lost, though their images differ."""
    if not isinstance(sums, HSICSums):
        return []
    batches = int(sums.batches.sum())
    return [
        f"{row['network']}: {row['layer']}: {count} of {batches} batches {'adds' if count == 1 else 'add'} nothing to "
        "its unbiased HSIC with itself: there, one image alone differs from the others, or differs so much more than "
        "they do that only rounding errors are left"
        for row, count in zip(layers, sums.vanished, strict=False)
        if row["status"] == "ok" and count
    ]
