"""Stochastic Lanczos quadrature: the distribution of an operator's singular values from random vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mixanalysis.operators.spectrum import FloatArray

if TYPE_CHECKING:
    from mixanalysis.operators.base import Operator

_BASIS_CELLS = 2**25
"""Cells of the Krylov bases that are held at once (256 MiB)."""

_BREAKDOWN = 1e-10
"""A next Lanczos vector of this size, relative to the operator's, is rounding: the space is complete."""


def lanczos_quadrature(operator: Operator, probes: int, steps: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Gauss rules of the spectral measures of random vectors (Golub & Meurant 1994; Ubaru, Chen & Saad 2017).

    Lanczos on the smaller Gram matrix, fully reorthogonalised. A random unit vector's measure has the
    distribution of all eigenvalues as its mean.

    Returns:
        Nodes as singular values, ascending, and weights that sum to one, both of shape (probes, steps).
    """
    operator = operator.to(torch.float64)
    if operator.shape[0] < operator.shape[1]:
        operator = operator.T
    n = operator.shape[1]
    steps = min(steps, n)
    some = max(1, _BASIS_CELLS // (steps * n))
    generator = np.random.default_rng(seed)
    rules = []
    for start in range(0, probes, some):
        vectors = generator.standard_normal((min(some, probes - start), n))
        rules.append(_gauss_rules(operator, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), steps))
    return np.concatenate([nodes for nodes, _ in rules]), np.concatenate([weights for _, weights in rules])


def _gauss_rules(operator: Operator, v: FloatArray, steps: int) -> tuple[FloatArray, FloatArray]:
    transposed = operator.T
    probes, n = v.shape
    basis = np.zeros((probes, steps, n))
    tridiagonal = np.zeros((probes, steps, steps))
    scale = np.zeros(probes)
    for step in range(steps):
        basis[:, step] = v
        w = (transposed @ (operator @ v.T)).T
        tridiagonal[:, step, step] = (v * w).sum(axis=1)
        scale = np.maximum(scale, np.linalg.norm(w, axis=1))
        if step + 1 == steps:
            break
        known = basis[:, : step + 1]
        # twice is enough (Kahan)
        for _ in range(2):
            w = w - ((known @ w[:, :, None]).mT @ known)[:, 0]
        length = np.linalg.norm(w, axis=1)
        length[length <= _BREAKDOWN * scale] = 0.0
        # a complete space goes on with zeros, which get no weight
        v = w / np.where(length > 0, length, np.inf)[:, None]
        tridiagonal[:, step, step + 1] = tridiagonal[:, step + 1, step] = length
    squares, rotations = np.linalg.eigh(tridiagonal)
    return np.sqrt(np.maximum(squares, 0.0)), rotations[:, 0] ** 2
