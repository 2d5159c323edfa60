"""HSIC and CKA of plain arrays, in one batch.

Song et al. (2012, eq. 5) for the unbiased HSIC_1; Kornblith et al. (2019) for CKA.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from mixanalysis.errors import UsageError
from mixanalysis.similarity.estimators.centring import Centred
from mixanalysis.similarity.estimators.kernels import SMALLEST_BATCH, Kernel

Bias = Literal["unbiased", "biased"]
Array = Tensor | NDArray[Any]


def hsic1(gram_x: Array, gram_y: Array) -> float:
    """Unbiased HSIC_1 of two Gram matrices (Song et al. 2012, eq. 5); it can be negative.

    Args:
        gram_x: symmetric, shape (n, n), n >= 4.
        gram_y: the same shape.

    Returns:
        The estimate.

    Raises:
        UsageError: the shapes differ or n is below 4.

    Examples:
        Four examples on a line, with themselves:

        >>> import numpy as np
        >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> round(hsic1(x @ x.T, x @ x.T), 4)
        2.1667
    """
    first, second = torch.as_tensor(gram_x).double(), torch.as_tensor(gram_y).double()
    if first.shape != second.shape or first.ndim != 2 or first.shape[0] != first.shape[1]:
        shapes = f"{tuple(first.shape)} and {tuple(second.shape)}"
        raise UsageError(f"HSIC needs two square matrices of one shape, got {shapes}")
    n = first.shape[0]
    return float((u_centred(first) * u_centred(second)).sum()) / (n * (n - 3))


def u_centred(matrix: Tensor) -> Tensor:
    """U-centring (Szekely & Rizzo 2014): zero diagonal, off it K_ij - r_i - r_j, whose row sums vanish.

    <U(K), U(L)> / (n (n - 3)) is HSIC_1(K, L).

    Args:
        matrix: symmetric, shape (n, n), n >= 4.

    Returns:
        Shape (n, n), symmetric.

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


def linear_cka(x: Array, y: Array, estimator: Bias = "unbiased") -> float:
    """Linear CKA of two sets of features of the same examples, in one batch.

    Fewer than four examples, two numbers of them, or an unknown estimator are a UsageError.

    Args:
        x: shape (n, d1).
        y: shape (n, d2), the same examples in the same order.
        estimator: "unbiased" (HSIC_1, can be negative) or "biased" (Kornblith et al. 2019).

    Returns:
        The value, or NaN where a self-term isn't positive (constant features), or features aren't finite.

    Examples:
        Rotating and rescaling features does not change CKA:

        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(20, 3))
        >>> rotation = np.linalg.qr(np.ones((3, 3)) + np.eye(3))[0]
        >>> round(linear_cka(x, 5 * x @ rotation), 6)
        1.0
    """
    return _cka(Kernel(), x, y, estimator)


def rbf_cka(x: Array, y: Array, bandwidth: float = 1.0, estimator: Bias = "unbiased") -> float:
    """Return CKA with the RBF kernel; `bandwidth` is sigma over the median distance. See `linear_cka`."""
    return _cka(Kernel("rbf", bandwidth), x, y, estimator)


def _cka(kernel: Kernel, x: Array, y: Array, estimator: Bias) -> float:
    both = [_floating(features) for features in (x, y)]
    if any(features.ndim != 2 for features in both) or len(both[0]) != len(both[1]):
        raise UsageError(f"features must have shapes (n, d1) and (n, d2), got {tuple(x.shape)} and {tuple(y.shape)}")
    if estimator not in ("unbiased", "biased"):
        raise UsageError(f'estimator must be "unbiased" or "biased", got {estimator!r}')
    grams = [matrix for features in both if (matrix := kernel.triangle(features)) is not None]
    if len(grams) < len(both):
        return math.nan
    centred = Centred.of(grams)
    if bool(centred.imprecise.any()):
        doubled = [kernel.triangle(features, double=True) for features in both]
        centred = Centred.of([matrix for matrix in doubled if matrix is not None])
    whole = slice(0, 2)
    terms = centred.products(whole, whole)
    if estimator == "biased":
        terms = biased(terms, centred.diagonals, centred.diagonals)
    cross, self_x, self_y = float(terms[0, 1]), float(terms[0, 0]), float(terms[1, 1])
    if self_x <= 0 or self_y <= 0:
        return math.nan
    return cross / (math.sqrt(self_x) * math.sqrt(self_y))


def biased(products: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """<HKH, HLH> from <U(K), U(L)>: HSIC_0 times (n - 1)^2.

    With the diagonals k and l of the double-centred matrices, <HKH, HLH> = <U(K), U(L)> + n / (n - 2) k.l
    - tr(HKH) tr(HLH) / ((n - 1) (n - 2)), since the off-diagonal row sums of HKH are -k.

    Args:
        products: float64, shape (a, b).
        rows: k for each row, shape (a, n).
        columns: l for each column, shape (b, n).

    Returns:
        Float64, shape (a, b).
    """
    n = rows.shape[-1]
    traces = rows.sum(dim=1)[:, None] * columns.sum(dim=1)[None, :]
    return products + (rows @ columns.mT) * (n / (n - 2)) - traces / ((n - 1) * (n - 2))


def _floating(features: Array) -> Tensor:
    tensor = torch.as_tensor(features)
    if tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.float() if tensor.is_floating_point() else tensor.double()
