"""Every structure's connections, one by one, against its matrix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from mixanalysis.operators import Dense, Kronecker, Lift, Masked, Operator, Permuted, Product, base, coordinates
from operators.making import OPERATORS, Pair, masked, normal, order, trees


def check(operator: Operator, matrix: torch.Tensor) -> None:
    rows, columns, values = coordinates(operator)
    assert rows.dtype == columns.dtype == torch.int64
    assert values.dtype == operator.torch_dtype
    cells = rows * operator.shape[1] + columns
    assert len(cells) == len(values) == operator.nnz
    assert len(cells.unique()) == len(cells), "a cell occurs twice"
    dense = torch.zeros_like(matrix)
    dense[rows, columns] = values
    torch.testing.assert_close(dense, matrix, rtol=0, atol=1e-12 * max(1, float(matrix.abs().max())))


@pytest.mark.parametrize("name", OPERATORS)
def test_connections_make_the_matrix(name):
    operator, matrix = OPERATORS[name]()
    check(operator, matrix)
    check(operator.T, matrix.mT.contiguous())


@pytest.mark.parametrize("name", OPERATORS)
def test_connections_of_value_zero_stay(name):
    """With all weights zero there are as many connections as before."""
    operator, _ = OPERATORS[name]()
    rows, columns, values = coordinates(operator.map_weights(torch.zeros_like))
    assert not values.any()
    cells = {(int(row), int(column)) for row, column in zip(rows, columns, strict=True)}
    before = coordinates(operator)
    assert cells == {(int(row), int(column)) for row, column in zip(before.rows, before.columns, strict=True)}


@settings(max_examples=40, deadline=None)
@given(trees())
def test_connections_of_trees_make_their_matrices(pair: Pair):
    operator, matrix = pair
    check(operator, matrix)


def test_a_sum_that_happens_to_be_zero_is_a_connection():
    operator = Product([Dense(torch.ones(1, 2)), Dense(torch.tensor([[1.0], [-1.0]]))])
    assert [each.tolist() for each in coordinates(operator)] == [[0], [0], [0.0]]


def test_no_dense_matrix_is_made(monkeypatch):
    monkeypatch.setattr(base, "DENSE_LIMIT", 0)
    wide = Permuted(Lift(Dense(normal(3, 2)), 10_000, "right"), order(30_000), order(20_000))
    chain = Product([masked(4, 6, 0.5), Lift(Kronecker(Dense(normal(3, 1)), Dense(normal(1, 2))), 2, "left")])
    assert len(coordinates(wide).values) == 60_000
    rows, columns, _ = coordinates(chain)
    assert 0 < len(rows) == len((rows * chain.shape[1] + columns).unique())


def test_reduced_precision_is_kept():
    single = Lift(Masked.from_dense(normal(3, 2).bfloat16(), torch.ones(3, 2)), 2, "left")
    assert coordinates(single).values.dtype == torch.bfloat16
    chain = Product([Dense(normal(3, 2).bfloat16()), Dense(normal(2, 4).bfloat16())])
    assert coordinates(chain).values.dtype == torch.bfloat16


def test_an_operator_without_a_rule_is_named():
    class Odd(Operator):
        apply = map_weights = _transpose = None

    with pytest.raises(TypeError, match="coordinates: no rule for Odd"):
        coordinates(Odd((2, 2), torch.float64, torch.device("cpu")))
