"""HSIC and CKA of plain arrays, from Gram matrices of centred features.

Song et al. (2012, eq. 5) for the unbiased HSIC_1; Kornblith et al. (2019) for linear CKA.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from mixanalysis.errors import UsageError

SMALLEST_BATCH = 4
"""HSIC_1 needs at least this many examples."""

Estimator = Literal["unbiased", "biased"]
Array = Tensor | NDArray[Any]


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


def u_centred_gram(features: Tensor) -> Tensor:
    """U-centred Gram matrix of features; exact zeros where only rounding errors are left of it.

    That happens where K_ij = a_i + a_j off the diagonal: for constant features, and where all differences are
    between one example and the rest, or equally large.

    Args:
        features: shape (n, d), n >= 4, float32 or float64.

    Returns:
        Shape (n, n), float64.
    """
    matrix = gram(features)
    centred = u_centred(matrix)
    rounding = 8 * torch.finfo(features.dtype).eps * float(matrix.diagonal().max())
    return torch.zeros_like(centred) if float(centred.abs().max()) <= rounding else centred


def hsic1(gram_x: Array, gram_y: Array) -> float:
    """Unbiased HSIC_1 of two Gram matrices (Song et al. 2012, eq. 5); it can be negative.

    Args:
        gram_x: symmetric, shape (n, n), n >= 4.
        gram_y: the same shape.

    Raises:
        UsageError: the shapes differ or n is below 4.
    """
    first, second = torch.as_tensor(gram_x).double(), torch.as_tensor(gram_y).double()
    if first.shape != second.shape or first.ndim != 2 or first.shape[0] != first.shape[1]:
        shapes = f"{tuple(first.shape)} and {tuple(second.shape)}"
        raise UsageError(f"HSIC needs two square matrices of one shape, got {shapes}")
    n = first.shape[0]
    return float((u_centred(first) * u_centred(second)).sum()) / (n * (n - 3))


def linear_cka(x: Array, y: Array, estimator: Estimator = "unbiased") -> float:
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
    both = [_floating(features) for features in (x, y)]
    if any(features.ndim != 2 for features in both) or len(both[0]) != len(both[1]):
        raise UsageError(f"features must have shapes (n, d1) and (n, d2), got {tuple(x.shape)} and {tuple(y.shape)}")
    if estimator not in ("unbiased", "biased"):
        raise UsageError(f'estimator must be "unbiased" or "biased", got {estimator!r}')
    first, second = [u_centred_gram(features) if estimator == "unbiased" else gram(features) for features in both]
    cross, self_x, self_y = (float((a * b).sum()) for a, b in ((first, second), (first, first), (second, second)))
    if self_x <= 0 or self_y <= 0:
        return math.nan
    return cross / (math.sqrt(self_x) * math.sqrt(self_y))


def _floating(features: Array) -> Tensor:
    tensor = torch.as_tensor(features)
    if tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.float() if tensor.is_floating_point() else tensor.double()
