"""Singular values of dense matrices, by the cheapest route that stays exact."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_SQUARE = 0.8
"""Ratio of the sides above which the smallest singular values of noise are too small for a Gram matrix."""

_SMALLEST = 4e-3
"""Ratio of the smallest to the largest singular value below which a Gram matrix isn't trusted."""

_TINY, _HUGE = 1e-120, 1e120
"""Largest entries between which Gram matrices keep their digits."""


def singular_values(matrix: Tensor) -> NDArray[np.float64]:
    """Singular values of matrices of shape (..., a, b): shape (..., min(a, b)), descending, in float64.

    Square roots of the eigenvalues of the smaller Gram matrix are off by up to 4e-16 s_max^2 / s (the worst of
    160 matrices with prescribed spectra, sides 8 to 1024). They are taken where that stays below 1e-13 s_max, which
    holds down to s_min = 4e-3 s_max; elsewhere a singular value decomposition answers. Noise with sides of ratio r
    has s_min / s_max = (1 - sqrt r) / (1 + sqrt r), and about 1 / (2 a) when square: near-square matrices go
    to the decomposition at once.

    Returns:
        Shape (..., min(a, b)), descending, float64.
    """
    rows, columns = matrix.shape[-2:]
    # no accelerator of Apple's knows float64
    device = torch.device("cpu") if matrix.device.type == "mps" else matrix.device
    # LAPACK is up to twice as fast on tall matrices
    tall = (matrix if rows >= columns else matrix.mT).detach().to(device, torch.float64)
    shape = (*matrix.shape[:-2], min(rows, columns))
    if min(rows, columns) > _SQUARE * max(rows, columns) or 0 in tall.shape:
        return _decomposed(tall)
    tall = tall.reshape(-1, *tall.shape[-2:])
    # squares neither underflow nor overflow; a power of two changes no digit
    scale = _power_of_two(tall)
    gram = (tall * (1 / scale)).mT @ (tall * (1 / scale)) if scale != 1 else tall.mT @ tall
    if not gram.isfinite().all():
        # not a number: LAPACK's own error
        return _decomposed(tall).reshape(shape)
    squares = np.linalg.eigvalsh(gram.cpu().numpy())[:, ::-1]
    values: NDArray[np.float64] = scale * np.sqrt(np.maximum(squares, 0.0))
    poor = values[:, -1] < _SMALLEST * values[:, 0]
    if poor.any():
        values[poor] = _decomposed(tall[torch.from_numpy(poor).to(device)])
    return values.reshape(shape)


def _power_of_two(matrix: Tensor) -> float:
    """A scale for entries whose squares would leave float64's range; 1 for others."""
    largest = float(matrix.abs().max())
    if not math.isfinite(largest) or largest == 0 or _TINY < largest < _HUGE:
        return 1.0
    return 2.0 ** max(math.frexp(largest)[1], -1000)


def _decomposed(tall: Tensor) -> NDArray[np.float64]:
    values: NDArray[np.float64] = torch.linalg.svdvals(tall).cpu().numpy()
    return values
