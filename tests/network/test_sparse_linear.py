from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch

from mixanalysis.network.sparse_linear import CSRLinear, csr_matrix


def sparse(rows=5, columns=7, *, seed=0):
    """A matrix with an empty row, an empty column and a connection of value zero, and its connections, shuffled."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, columns, generator=generator) < 0.5
    mask[1], mask[:, 2] = False, False
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64) * mask
    where = mask.nonzero()[torch.randperm(int(mask.sum()), generator=generator)]
    weight[tuple(where[0])] = 0
    return weight, (where[:, 0], where[:, 1], weight[where[:, 0], where[:, 1]])


def layer_of(matrix, bias, *, dtype=torch.float64):
    with torch.device("meta"):
        layer = CSRLinear(matrix.shape[1], matrix.shape[0])
    layer.load_state_dict({"weight": matrix.to(dtype), "bias": bias.to(dtype)}, assign=True)
    return layer


@pytest.fixture(name="case")
def _case():
    weight, (rows, columns, values) = sparse()
    return weight, csr_matrix(rows, columns, values, (5, 7)), torch.linspace(-1, 1, 5).double()


def test_connections_are_sorted_and_all_kept():
    weight, (rows, columns, values) = sparse()
    matrix = csr_matrix(rows, columns, values, (5, 7))
    assert torch.equal(matrix.to_dense(), weight)
    assert len(matrix.values()) == len(values) == torch.count_nonzero(weight) + 1
    assert matrix.crow_indices().dtype == matrix.col_indices().dtype == torch.int32
    starts = matrix.crow_indices().tolist()
    for start, stop in pairwise(starts):
        assert matrix.col_indices()[start:stop].tolist() == sorted(set(matrix.col_indices()[start:stop].tolist()))
    assert csr_matrix(rows, columns, values.bfloat16(), (5, 7)).dtype == torch.bfloat16


@pytest.mark.parametrize("mkl", [True, False])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6), (torch.bfloat16, 5e-2)], ids=str
)
def test_it_is_a_linear_layer(case, dtype, tolerance, mkl, monkeypatch):
    weight, matrix, bias = case
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    layer = layer_of(matrix, bias, dtype=dtype)
    x = torch.randn(4, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = layer(x.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), x @ weight.mT + bias, rtol=0, atol=tolerance)


def test_state_is_the_matrix_and_can_be_copied_and_moved(case):
    weight, matrix, bias = case
    layer = layer_of(matrix, bias)
    state = layer.state_dict()
    assert list(state) == ["weight", "bias"]
    assert torch.equal(state["weight"].to_dense(), weight)
    assert dict(layer.named_parameters()).keys() == {"weight", "bias"}
    again = CSRLinear(7, 5)
    again.load_state_dict(state)
    x = torch.randn(3, 7, dtype=torch.float64)
    copied = copy.deepcopy(layer).to("cpu", torch.float32)
    assert copied.columns.dtype == torch.int32
    torch.testing.assert_close(copied(x.float()).double(), layer(x), rtol=0, atol=1e-6)
    assert again.weight.dtype == torch.float32, "without assign=True the layer keeps its dtype"
    torch.testing.assert_close(again(x.float()).double(), layer(x), rtol=0, atol=1e-6)


def test_a_matrix_of_another_shape_is_refused(case):
    _, matrix, bias = case
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        CSRLinear(5, 7).load_state_dict({"weight": matrix, "bias": bias})
    with pytest.raises(RuntimeError, match="Missing key"):
        CSRLinear(7, 5).load_state_dict({"bias": bias})


def test_a_matrix_that_could_never_be_dense():
    size = 2**20
    places = torch.arange(size)
    layer = CSRLinear(size, size, bias=False)
    layer.load_state_dict({"weight": csr_matrix(places, places.flip(0), torch.ones(size), (size, size))}, assign=True)
    x = torch.arange(2.0 * size).view(2, size)
    assert torch.equal(layer(x), x.flip(1))
