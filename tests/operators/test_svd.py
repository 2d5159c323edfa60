"""Singular values of dense matrices by the cheaper of two routes, against LAPACK's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mixanalysis.operators import svd as values_module
from mixanalysis.operators.svd import singular_values
from operators.making import normal


def with_values(rows, columns, values, seed=0):
    left = torch.linalg.qr(normal(rows, len(values), seed=seed))[0]
    right = torch.linalg.qr(normal(columns, len(values), seed=seed + 1))[0]
    return left * torch.as_tensor(values) @ right.mT


SHAPES = [(1, 1), (1, 9), (9, 1), (40, 20), (20, 40), (30, 30), (100, 90), (196, 384), (0, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_noise(shape):
    matrix = normal(*shape)
    np.testing.assert_allclose(singular_values(matrix), torch.linalg.svdvals(matrix), rtol=0, atol=1e-12)


@pytest.mark.parametrize("smallest", [0.0, 1e-12, 1e-6, 1e-4, 3e-3, 5e-3, 1e-1])
def test_small_values_are_as_accurate_as_large_ones(smallest):
    """A Gram matrix has its eigenvalues to 1e-16 s_max^2, so that s is off by 1e-16 s_max^2 / s."""
    for seed in range(5):
        matrix = with_values(60, 30, [*np.linspace(1, 0.2, 29), smallest], seed)
        exact = torch.linalg.svdvals(matrix)
        np.testing.assert_allclose(singular_values(matrix), exact, rtol=0, atol=2e-13)
        np.testing.assert_allclose(singular_values(1e6 * matrix.mT), 1e6 * exact, rtol=0, atol=2e-7)


def test_batches_mix_both_routes(monkeypatch):
    decomposed = []

    def counting(tall):
        decomposed.append(tall.shape)
        return torch.linalg.svdvals(tall).numpy()

    monkeypatch.setattr(values_module, "_decomposed", counting)
    good, bad = normal(10, 20), with_values(10, 20, [1.0, *[0.5] * 8, 1e-9])
    stack = torch.stack([good, bad, good + 1, bad.roll(1, 0)]).reshape(2, 2, 10, 20)
    np.testing.assert_allclose(singular_values(stack), torch.linalg.svdvals(stack), rtol=0, atol=1e-12)
    assert decomposed == [(2, 20, 10)]
    # near-square matrices go to the decomposition at once
    singular_values(normal(9, 10))
    assert decomposed[1:] == [(10, 9)]


def test_zero_and_not_a_number():
    assert singular_values(torch.zeros(4, 9)).tolist() == [0] * 4
    with pytest.raises(torch.linalg.LinAlgError, match="non-finite"):
        singular_values(torch.full((4, 9), torch.nan))
    huge = 1e200 * normal(4, 9)
    np.testing.assert_allclose(singular_values(huge), torch.linalg.svdvals(huge), rtol=1e-12)


def test_half_precision_is_read_in_double():
    matrix = normal(8, 20).bfloat16()
    np.testing.assert_allclose(singular_values(matrix), torch.linalg.svdvals(matrix.double()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("exponent", [-300, -170, -160, -100, 100, 160, 300])
def test_entries_whose_squares_leave_the_range_of_float64(exponent):
    matrix = normal(40, 10)
    expected = torch.linalg.svdvals(matrix).numpy()
    np.testing.assert_allclose(singular_values(matrix * 10.0**exponent) / 10.0**exponent, expected, rtol=1e-13)
