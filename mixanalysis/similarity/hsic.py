"""HSIC and CKA of plain arrays, from Gram matrices of centred features.

Song et al. (2012, eq. 5) for the unbiased HSIC_1; Kornblith et al. (2019) for linear CKA.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from mixanalysis.errors import UsageError

SMALLEST_BATCH = 4
"""HSIC_1 needs at least this many examples."""

Estimator = Literal["unbiased", "biased"]


def gram(features: Tensor) -> Tensor:
    """Linear Gram matrix of centred features, float64.

    Centring first is what keeps float32 exact where features share a large mean; HSIC doesn't see it. Features
    that are equal for all examples give exact zeros, not the rounding error of their mean.

    Args:
        features: shape (n, d), float32 or float64.

    Returns:
        Shape (n, n), float64.
    """
    n = features.shape[0]
    mean = features.mean(dim=0, dtype=torch.float64)
    centred = features - mean.to(features.dtype)
    product = (centred @ centred.mT).double()
    rounding = n * (n * torch.finfo(features.dtype).eps) ** 2 * float(mean.square().sum())
    if float(product.trace()) <= rounding and bool((features == features[0]).all()):
        return torch.zeros_like(product)
    return product


def u_centred(matrix: Tensor) -> Tensor:
    """U-centring (Szekely & Rizzo 2014): zero diagonal, off it K_ij - r_i - r_j, whose row sums vanish.

    <U(K), U(L)> / (n (n - 3)) is HSIC_1(K, L).

    Args:
        matrix: symmetric, shape (n, n), n >= 4.

    Raises:
        UsageError: n is below 4.
    """
    n = matrix.shape[-1]
    if n < SMALLEST_BATCH:
        raise UsageError(f"HSIC_1 needs at least {SMALLEST_BATCH} examples, got {n}")
    hollow = matrix - torch.diag(matrix.diagonal())
    sums = hollow.sum(dim=1)
    shift = sums / (n - 2) - sums.sum() / (2 * (n - 1) * (n - 2))
    hollow = hollow - shift[:, None] - shift[None, :]
    return hollow.fill_diagonal_(0)


def hsic1(gram_x: Tensor, gram_y: Tensor) -> float:
    """Unbiased HSIC_1 of two Gram matrices (Song et al. 2012, eq. 5); it can be negative.

    Args:
        gram_x: symmetric, shape (n, n), n >= 4.
        gram_y: the same shape.

    Raises:
        UsageError: the shapes differ or n is below 4.
    """
    if gram_x.shape != gram_y.shape or gram_x.ndim != 2 or gram_x.shape[0] != gram_x.shape[1]:
        shapes = f"{tuple(gram_x.shape)} and {tuple(gram_y.shape)}"
        raise UsageError(f"HSIC needs two square matrices of one shape, got {shapes}")
    n = gram_x.shape[0]
    return float((u_centred(gram_x.double()) * u_centred(gram_y.double())).sum()) / (n * (n - 3))


def linear_cka(x: Tensor, y: Tensor, estimator: Estimator = "unbiased") -> float:
    """Linear CKA of two sets of features of the same examples, in one batch.

    Args:
        x: shape (n, d1).
        y: shape (n, d2), the same examples in the same order.
        estimator: "unbiased" (HSIC_1, can be negative) or "biased" (Kornblith et al. 2019).

    Returns:
        The value, or NaN where a self-term isn't positive (constant features).

    Raises:
        UsageError: the numbers of examples differ, or are below 4 for the unbiased estimator, or the estimator
            is unknown.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[0] != y.shape[0]:
        raise UsageError(f"features must have shapes (n, d1) and (n, d2), got {tuple(x.shape)} and {tuple(y.shape)}")
    if estimator not in ("unbiased", "biased"):
        raise UsageError(f'estimator must be "unbiased" or "biased", got {estimator!r}')
    grams = [gram(features) for features in (x, y)]
    first, second = [u_centred(matrix) for matrix in grams] if estimator == "unbiased" else grams
    cross, self_x, self_y = (float((a * b).sum()) for a, b in ((first, second), (first, first), (second, second)))
    if self_x <= 0 or self_y <= 0:
        return math.nan
    return cross / (math.sqrt(self_x) * math.sqrt(self_y))
