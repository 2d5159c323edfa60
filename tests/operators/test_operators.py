from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mixanalysis.operators import Dense, Lift, Masked, Operator, Permuted

TOLERANCE = 1e-12


def normal(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def masked(rows: int, columns: int, density: float, seed: int = 0) -> Masked:
    weight = normal(rows, columns, seed)
    return Masked.from_dense(weight, normal(rows, columns, seed + 1).abs() < density)


def order(size: int, seed: int = 0) -> torch.Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


OPERATORS: dict[str, Callable[[], tuple[Operator, torch.Tensor]]] = {
    "dense": lambda: (Dense(normal(5, 3)), normal(5, 3)),
    "dense-wide": lambda: (Dense(normal(3, 5)), normal(3, 5)),
    "masked": lambda: (masked(6, 4, 0.5), normal(6, 4) * (normal(6, 4, 1).abs() < 0.5)),
    "masked-empty": lambda: (masked(6, 4, 0.0), torch.zeros(6, 4, dtype=torch.float64)),
    "masked-sparse": lambda: (masked(9, 7, 0.15), normal(9, 7) * (normal(9, 7, 1).abs() < 0.15)),
    "lift-left": lambda: (
        Lift(Dense(normal(4, 3)), 5, "left"),
        torch.kron(torch.eye(5, dtype=torch.float64), normal(4, 3)),
    ),
    "lift-right": lambda: (
        Lift(Dense(normal(4, 3)), 5, "right"),
        torch.kron(normal(4, 3), torch.eye(5, dtype=torch.float64)),
    ),
    "lift-masked": lambda: (
        Lift(masked(4, 3, 0.4), 2, "right"),
        torch.kron(normal(4, 3) * (normal(4, 3, 1).abs() < 0.4), torch.eye(2, dtype=torch.float64)),
    ),
    "permuted": lambda: (
        Permuted(Dense(normal(5, 4)), order(5), order(4)),
        # (J2 A J1) x = (A x[columns])[rows], so that column columns[i] of the matrix is column i of A
        normal(5, 4)[order(5)][:, torch.argsort(order(4))],
    ),
    "permuted-rows": lambda: (Permuted(Dense(normal(5, 4)), rows=order(5)), normal(5, 4)[order(5)]),
}


@pytest.fixture(params=OPERATORS, name="pair")
def _pair(request: pytest.FixtureRequest) -> tuple[Operator, torch.Tensor]:
    return OPERATORS[request.param]()


def check(operator: Operator, matrix: torch.Tensor) -> None:
    """Everything that an operator answers, against its matrix."""
    rows, columns = matrix.shape
    assert operator.shape == (rows, columns)
    close(operator.dense(), matrix)
    x = normal(columns, 3, seed=7)
    close(operator.apply(x.mT), (matrix @ x).mT)
    close(operator.apply(x.mT.reshape(3, 1, columns)), (matrix @ x).mT.reshape(3, 1, rows))
    np.testing.assert_allclose(operator @ x.numpy(), (matrix @ x).numpy(), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(operator.matvec(x[:, 0].numpy()), (matrix @ x[:, 0]).numpy(), rtol=0, atol=TOLERANCE)
    y = normal(rows, 3, seed=8)
    np.testing.assert_allclose(operator.H @ y.numpy(), (matrix.mT @ y).numpy(), rtol=0, atol=TOLERANCE)
    close(operator.T.dense(), matrix.mT)
    close(operator.T.T.dense(), matrix)
    close(operator.row_norms(), matrix.norm(dim=1))
    close(operator.column_norms(), matrix.norm(dim=0))
    assert operator.frobenius() == pytest.approx(float(matrix.norm()), abs=TOLERANCE)
    assert operator.density == operator.nnz / matrix.numel()
    spectrum = operator.spectrum()
    assert spectrum.count == len(spectrum.repeated()) == min(rows, columns)
    assert (np.diff(spectrum.values) <= 0).all()
    expected = np.linalg.svd(matrix.numpy(), compute_uv=False)
    np.testing.assert_allclose(np.sort(spectrum.repeated())[::-1], expected, rtol=0, atol=TOLERANCE)


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE)


def test_operator_is_its_matrix(pair):
    check(*pair)


def test_dtype_is_kept_and_can_change(pair):
    operator, matrix = pair
    single = operator.to(torch.float32)
    assert single.dtype == np.float32
    assert single.apply(torch.ones(matrix.shape[1])).dtype == torch.float32
    assert operator.to(torch.float64) is operator
    torch.testing.assert_close(single.dense(), matrix.float())


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> tuple[Operator, torch.Tensor]:
    """A random tree of structures over a small leaf, and its matrix."""
    rows, columns, seed = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(0, 99))
    if draw(st.booleans()):
        operator: Operator = Dense(normal(rows, columns, seed))
        matrix = normal(rows, columns, seed)
    else:
        mask = normal(rows, columns, seed + 1).abs() < 0.7
        operator, matrix = Masked.from_dense(normal(rows, columns, seed), mask), normal(rows, columns, seed) * mask
    for _ in range(draw(st.integers(0, depth))):
        kind = draw(st.sampled_from(["left", "right", "permuted", "transposed"]))
        if kind == "permuted":
            rows_order, columns_order = order(operator.shape[0], seed), order(operator.shape[1], seed + 1)
            operator = Permuted(operator, rows_order, columns_order)
            matrix = matrix[rows_order][:, torch.argsort(columns_order)]
        elif kind == "transposed":
            operator, matrix = operator.T, matrix.mT
        else:
            copies = draw(st.integers(1, 3))
            identity = torch.eye(copies, dtype=torch.float64)
            operator = Lift(operator, copies, kind)
            matrix = torch.kron(identity, matrix) if kind == "left" else torch.kron(matrix, identity)
    return operator, matrix


@settings(max_examples=60, deadline=None)
@given(trees())
def test_trees_of_structures_are_their_matrices(pair):
    check(*pair)


def test_multiplicity_and_zeros_come_from_the_structure():
    lifted = Lift(Dense(normal(4, 3)), 50, "left").spectrum()
    assert len(lifted.values) == 3
    assert lifted.multiplicity.tolist() == [50, 50, 50]
    assert lifted.zeros == 0
    weight = torch.zeros(4, 4, dtype=torch.float64)
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0, 0] = mask[0, 1] = mask[2, 1] = True
    weight[mask] = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    spectrum = Lift(Masked.from_dense(weight, mask), 5, "right").spectrum()
    assert len(spectrum.values) == 2
    assert spectrum.zeros == 10
    assert spectrum.method == "exact"


def test_a_connection_of_value_zero_is_a_connection():
    mask = torch.ones(2, 2, dtype=torch.bool)
    operator = Masked.from_dense(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), mask)
    assert operator.nnz == 4
    assert operator.spectrum().zeros == 0


def test_a_million_wide_layer_is_exact():
    """196 tokens of 768 channels: 150,528 singular values from 196."""
    weight = normal(384, 196)
    operator = Lift(Dense(weight), 768, "left")
    spectrum = operator.spectrum()
    assert operator.shape == (384 * 768, 196 * 768)
    assert spectrum.count == 196 * 768
    assert spectrum.values[0] == pytest.approx(float(torch.linalg.matrix_norm(weight, 2)), rel=1e-12)
    assert operator.density == pytest.approx(1 / 768)


def test_bfloat16_weights_act():
    operator = Lift(Dense(normal(4, 3).bfloat16()), 2, "left")
    assert operator.apply(torch.ones(6, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert (operator @ np.ones(6)).dtype == np.float32
    exact = np.linalg.svd(normal(4, 3).bfloat16().double().numpy(), compute_uv=False)
    np.testing.assert_allclose(operator.spectrum().values, exact, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(torch.zeros(3)), r"needs a matrix, got a tensor of shape \(3,\)"),
        (lambda: Lift(Dense(normal(2, 2)), 0, "left"), r"at least one copy, got 0"),
        (lambda: Lift(Dense(normal(2, 2)), 2, "up"), r'"left" or "right", got \'up\''),
        (lambda: Permuted(Dense(normal(3, 2)), rows=torch.tensor([0, 0, 1])), r"rows must be a permutation of 0 .. 2"),
        (lambda: Permuted(Dense(normal(3, 2)), columns=order(3)), r"columns must be a permutation of 0 .. 1"),
        (lambda: Masked.from_dense(normal(2, 3), torch.ones(3, 2)), r"got \(3, 2\) for \(2, 3\)"),
        (
            lambda: Masked(torch.tensor([0]), torch.tensor([0, 1]), torch.ones(2), (2, 2)),
            r"vectors of one length, got shapes \(1,\), \(2,\) and \(2,\)",
        ),
        (
            lambda: Masked(torch.tensor([2]), torch.tensor([0]), torch.ones(1), (2, 2)),
            r"row indices must lie in \[0, 2\), got 2 to 2",
        ),
        (
            lambda: Masked(torch.tensor([0]), torch.tensor([-1]), torch.ones(1), (2, 2)),
            r"column indices must lie in \[0, 2\), got -1 to -1",
        ),
        (lambda: Lift(Dense(normal(4, 3)), 10_000, "left").dense(), r"would need 8.9 GiB as a dense matrix"),
    ],
)
def test_bad_operators_say_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()
