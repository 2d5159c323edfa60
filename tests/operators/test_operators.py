from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mixanalysis.operators import (
    BlockDiagonal,
    Butterfly,
    Cropped,
    Dense,
    DirectSum,
    Kronecker,
    Lift,
    Masked,
    Monarch,
    Permuted,
    Product,
    Scaled,
    butterfly_factor,
    product,
)
from mixanalysis.operators import base as base_module
from operators import naive_blocks
from operators.making import OPERATORS, masked, normal, order, trees

TOLERANCE = 1e-12


@pytest.fixture(params=OPERATORS, name="pair")
def _pair(request):
    return OPERATORS[request.param]()


def check(operator, matrix):
    """Everything that an operator answers, against its matrix."""
    rows, columns = matrix.shape
    expected = np.linalg.svd(matrix.numpy(), compute_uv=False)
    tolerance = TOLERANCE * max(1.0, float(expected[0]))
    assert operator.shape == (rows, columns)
    close(operator.dense(), matrix, tolerance)
    x, y = normal(columns, 3, seed=7), normal(rows, 3, seed=8)
    close(operator.apply(x.mT), (matrix @ x).mT, tolerance)
    close(operator.apply(x.mT.reshape(3, 1, columns)), (matrix @ x).mT.reshape(3, 1, rows), tolerance)
    near(operator @ x.numpy(), matrix @ x, tolerance)
    near(operator.matvec(x[:, 0].numpy()), matrix @ x[:, 0], tolerance)
    near(operator.H @ y.numpy(), matrix.mT @ y, tolerance)
    close(operator.T.dense(), matrix.mT, tolerance)
    close(operator.T.T.dense(), matrix, tolerance)
    close(operator.row_norms(), matrix.norm(dim=1), tolerance)
    close(operator.column_norms(), matrix.norm(dim=0), tolerance)
    assert operator.frobenius() == pytest.approx(float(matrix.norm()), abs=tolerance)
    # a connection may be zero, but there is nothing where there is none
    assert operator.nnz >= int((matrix.abs() > tolerance).sum())
    assert operator.density == operator.nnz / matrix.numel()
    assert operator.T.nnz == operator.nnz
    assert operator.exact
    spectrum = operator.spectrum()
    assert spectrum.count == len(spectrum.repeated()) == min(rows, columns)
    assert spectrum.method == "exact"
    assert (np.diff(spectrum.values) <= 0).all()
    near(np.sort(spectrum.repeated())[::-1], expected, tolerance)
    check_top(operator, matrix, expected, tolerance)
    density = operator.spectral_density()
    assert (density.method, density.count) == ("exact", min(rows, columns))
    assert density.cdf(expected[0] * 0.5).value == pytest.approx((expected <= expected[0] * 0.5).mean())
    assert density.moment(2).value * density.count == pytest.approx(float(matrix.norm()) ** 2, abs=100 * tolerance)


def check_top(operator, matrix, expected, tolerance):
    rows, columns = matrix.shape
    for k in (1, 3, min(rows, columns) + 2):
        kept = min(k, rows, columns)
        near(operator.top(k).values, expected[:kept], tolerance)
        top = operator.top(k, vectors=True)
        near(top.values, expected[:kept], tolerance)
        assert top.method == operator.top(k).method == "exact"
        assert not top.residuals.any()
        near(matrix.numpy() @ top.right, top.left * top.values, tolerance)
        near(matrix.numpy().T @ top.left, top.right * top.values, tolerance)
        near(top.left.T @ top.left, np.eye(kept), TOLERANCE)
        near(top.right.T @ top.right, np.eye(kept), TOLERANCE)


def close(actual, expected, tolerance=TOLERANCE):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def near(actual, expected, tolerance):
    np.testing.assert_allclose(actual, np.asarray(expected), rtol=0, atol=tolerance)


def test_operator_is_its_matrix(pair):
    check(*pair)


def test_dtype_is_kept_and_can_change(pair):
    operator, matrix = pair
    single = operator.to(torch.float32)
    assert single.dtype == np.float32
    assert single.apply(torch.ones(matrix.shape[1])).dtype == torch.float32
    assert (single @ np.ones(matrix.shape[1])).dtype == np.float32
    assert operator.to(torch.float64) is operator
    torch.testing.assert_close(single.dense(), matrix.float())
    # the values are those of the rounded weights, in full precision
    exact = single.to(torch.float64).spectrum().repeated()
    np.testing.assert_allclose(single.spectrum().repeated(), exact, rtol=0, atol=1e-12 * max(1, exact[0]))


@pytest.mark.parametrize("name", OPERATORS)
def test_everything_stays_on_the_weights_device(name):
    """With another default device, a tensor made without naming the weights' device is on the wrong one."""
    operator, matrix = OPERATORS[name]()
    x = normal(3, matrix.shape[1])
    with torch.device("meta"):
        rebuilt = operator.map_weights(torch.clone)
        tensors = [
            rebuilt.apply(x),
            rebuilt.T.apply(rebuilt.apply(x)),
            rebuilt.dense(),
            rebuilt.row_norms(),
            rebuilt.column_norms(),
            rebuilt.to(torch.float32).dense(),
        ]
        simple = product(rebuilt, rebuilt.T)
        assert rebuilt.nnz == operator.nnz
    tensors.append(simple.dense())
    assert {tensor.device for tensor in tensors} == {operator.device} == {torch.device("cpu")}
    close(tensors[0], operator.apply(x))


@pytest.mark.parametrize("name", OPERATORS)
def test_weights_can_be_mapped(name):
    """Doubling every stored tensor multiplies a chain of n tensors by 2^n, and keeps the structure."""
    operator, matrix = OPERATORS[name]()
    count = 0

    def double(weight):
        nonlocal count
        count += 1
        return 2 * weight

    doubled = operator.map_weights(double)
    assert type(doubled) is type(operator)
    if name.startswith("butterfly"):
        # one tensor holds the weights of all factors
        factors = operator.twiddle.shape[1] * operator.twiddle.shape[2]
    else:
        factors = 1 if name == "direct-sum" else count
    close(doubled.dense(), 2**factors * matrix, 1e-9)
    assert doubled.nnz == operator.nnz


@settings(max_examples=80, deadline=None)
@given(trees())
def test_trees_of_structures_are_their_matrices(pair):
    check(*pair)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_monarch_is_its_definition(data):
    blocks, inner, out, p = (data.draw(st.integers(1, 5)) for _ in range(4))
    middle = blocks * inner
    k = data.draw(st.sampled_from([d for d in range(1, middle + 1) if middle % d == 0]))
    first, second = normal(k, middle // k, p), normal(blocks, out, inner, seed=1)
    shape = data.draw(st.integers(1, blocks * out)), data.draw(st.integers(1, k * p))
    operator, matrix = Monarch(first, second, shape), naive_blocks.monarch(first, second, shape)
    check(operator, matrix)
    # connections, counted on the dense matrix of ones
    ones = naive_blocks.monarch(torch.ones_like(first), torch.ones_like(second), shape)
    assert operator.nnz == operator.T.nnz == int((ones > 0).sum())


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)), st.booleans(), st.integers(0, 9), st.data())
def test_butterfly_is_its_definition(sizes, increasing, seed, data):
    stacks, _, log_n = sizes
    twiddle = normal(*sizes, 2 ** (log_n - 1), 2, 2, seed=seed)
    shape = data.draw(st.integers(1, stacks * 2**log_n)), data.draw(st.integers(1, 2**log_n))
    operator = Butterfly(twiddle, shape, increasing_stride=increasing)
    close(operator.dense(), naive_blocks.butterfly(twiddle, shape, increasing=increasing), 1e-9)
    ones = naive_blocks.butterfly(torch.ones_like(twiddle), shape, increasing=increasing)
    assert operator.nnz == int((ones > 0).sum()) == shape[0] * shape[1]


def test_monarch_with_equal_blocks_is_a_kronecker_product():
    """HK Cor. 3.4: shared blocks make it Jc^T (I kron V^T) Jc (I kron W) = V^T kron W."""
    w, v = normal(4, 4), normal(3, 3, seed=1)
    monarch = Monarch(w.expand(3, 4, 4), v.expand(4, 3, 3))
    close(monarch.dense(), torch.kron(v, w))


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
    # 3 x 4 kron 5 x 2 has shape 15 x 8 and rank 6
    kronecker = Kronecker(Dense(normal(3, 4)), Dense(normal(5, 2))).spectrum()
    assert (len(kronecker.values), kronecker.zeros) == (6, 2)
    # 2 x 4 and 4 x 2 below one another: 6 x 6 with four values
    assert DirectSum([Dense(normal(2, 4)), Dense(normal(4, 2))]).spectrum().zeros == 2
    assert BlockDiagonal(normal(7, 2, 4)).spectrum().zeros == 0


def test_a_connection_of_value_zero_is_a_connection():
    mask = torch.ones(2, 2, dtype=torch.bool)
    operator = Masked.from_dense(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), mask)
    assert operator.nnz == 4
    assert operator.spectrum().zeros == 0
    assert Product([operator, operator]).nnz == 4
    # one row leads nowhere
    broken = Masked(torch.tensor([0]), torch.tensor([1]), torch.zeros(1), (2, 2))
    assert Product([Dense(torch.ones(3, 2)), broken]).nnz == 3


def test_masks_fall_into_connected_parts():
    """The wide sparse matrix of a lift has the spectrum of its factor, in the order that the mask is stored in."""
    factor = normal(7, 4)
    wide = Permuted(Lift(Dense(factor), 40, "left"), order(280), order(160, 1)).dense()
    connections = Permuted(Lift(Dense(torch.ones_like(factor)), 40, "left"), order(280), order(160, 1)).dense() > 0
    operator = Masked.from_dense(wide, connections)
    assert operator._largest_core() == (4, 28)
    spectrum = operator.spectrum()
    assert (spectrum.zeros, spectrum.count) == (0, 160)
    near(spectrum.repeated(), np.repeat(torch.linalg.svdvals(factor).numpy(), 40), 1e-12)
    # parts of several shapes: 2 x 1, 1 x 3 and a single cell, with an empty row and column
    rows, columns = torch.tensor([0, 4, 2, 2, 2, 1]), torch.tensor([0, 0, 1, 3, 5, 2])
    values = torch.tensor([3.0, 4.0, 1.0, 2.0, 2.0, 7.0], dtype=torch.float64)
    spectrum = Masked(rows, columns, values, (5, 7)).spectrum()
    near(spectrum.values, [7.0, 5.0, 3.0], 1e-14)
    assert spectrum.zeros == 2


def test_a_large_mask_is_not_made_dense(monkeypatch):
    operator = masked(60, 50, 0.3)
    monkeypatch.setattr("mixanalysis.operators.masked.EXACT_LIMIT", 20)
    assert not masked(60, 50, 0.3).exact
    assert operator.spectrum().count == 50
    monkeypatch.setattr("mixanalysis.operators.masked.CORE_LIMIT", 20)
    with pytest.raises(ValueError, match=r"all singular values of a Masked of shape 60 x 50 .* use top\(k\)"):
        operator.spectrum()


def test_scaled_cells_are_exact_where_the_matrix_itself_is(monkeypatch):
    monkeypatch.setattr(base_module, "EXACT_LIMIT", 10)
    operator = Scaled(Dense(normal(30, 20)), columns=normal(20))
    near(operator.spectrum().values, torch.linalg.svdvals(normal(30, 20) * normal(20)), 1e-12)
    with pytest.raises(ValueError, match=r"all singular values of a Scaled of shape 40 x 40 .* spectral_density\(\)"):
        Scaled(Lift(Dense(normal(20, 20)), 2, "left"), rows=normal(40)).spectrum()


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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_masks_act_in_half_precision(dtype):
    half = masked(6, 4, 0.5).to(dtype)
    x = normal(3, 4).to(dtype)
    result = half.apply(x)
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), x.double() @ half.dense().double().mT, rtol=0.02, atol=0.02)
    torch.testing.assert_close(
        torch.from_numpy(half @ x.mT.float().numpy()).mT.double(), result.double(), atol=0.02, rtol=0.02
    )


def test_masks_are_differentiable():
    operator = masked(6, 4, 0.5)
    values = operator.values.clone().requires_grad_()
    tracked = Masked(operator.rows, operator.columns, values, operator.shape)
    (tracked.apply(normal(3, 4)) ** 2).sum().backward()
    dense = operator.dense().requires_grad_()
    ((normal(3, 4) @ dense.mT) ** 2).sum().backward()
    close(values.grad, dense.grad[operator.rows, operator.columns])
    # and the analyses read such weights
    assert tracked.spectrum().count == 4
    assert tracked.frobenius() == pytest.approx(operator.frobenius())
    near(tracked @ np.eye(4), operator.dense(), 1e-15)


def test_blocks_of_rows_make_the_matrix(monkeypatch):
    monkeypatch.setattr(base_module, "_BLOCK_CELLS", 25)
    operator, matrix = OPERATORS["product"]()
    blocks = list(operator.row_blocks("rows"))
    assert [len(block) for block in blocks] == [4]
    operator, matrix = OPERATORS["monarch"]()
    assert [len(block) for block in operator.row_blocks("rows")] == [2] * 6
    close(torch.cat(list(operator.row_blocks("rows"))), matrix)


def long_product(between):
    lifts = [Lift(Dense(normal(2, 2)), len(between) // 2, side) for side in ("left", "right")]
    return Product([Permuted(lifts[0], columns=between), lifts[1]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(torch.zeros(3)), r"needs a matrix, got a tensor of shape \(3,\)"),
        (lambda: Dense(torch.zeros(3, 2, dtype=torch.complex64)), r"needs real weights, got complex64; analyse real"),
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
        (lambda: Kronecker(Dense(normal(2, 2)), Dense(normal(2, 2).float())), r"one dtype, got float64 and float32; c"),
        (lambda: BlockDiagonal(normal(2, 2)), r"\(blocks, rows, columns\), got a tensor of shape \(2, 2\); DirectSum"),
        (lambda: BlockDiagonal([Dense(normal(2, 2))]), r"\(blocks, rows, columns\), got list; DirectSum takes op"),
        (lambda: DirectSum([]), r"at least one block, got none"),
        (
            lambda: Scaled(Dense(normal(3, 2)), rows=normal(2)),
            r"row scales must be torch.float64 of shape \(3,\) like their operator, got torch.float64 of shape \(2,\)",
        ),
        (lambda: Scaled(Dense(normal(3, 2)), columns=normal(2).float()), r"column scales .* got torch.float32"),
        (lambda: Cropped(Dense(normal(3, 2)), (3, 3)), r"a part of an operator of shape 3 x 2 can't have shape 3 x 3"),
        (lambda: Product([]), r"a product needs at least one factor, got none"),
        (product, r"a product needs at least one factor, got none"),
        (
            lambda: product(Dense(normal(3, 2)), Dense(normal(2, 4)), Dense(normal(3, 4))),
            r"factor 1 of the product takes 4 inputs, but factor 2 gives 3; the last factor acts first",
        ),
        (
            lambda: Monarch(normal(2, 3, 4), normal(3, 3, 3)),
            r"\(k, q, p\) and \(l, s, r\) with k q = l r, got \(2, 3, 4\) and \(3, 3, 3\)",
        ),
        (lambda: Monarch(normal(2, 3, 4), normal(3, 2, 2), (7, 8)), r"shape 6 x 8 can't have shape 7 x 8"),
        (lambda: butterfly_factor(normal(4, 2, 3), 2), r"\(n / b, b, b\) .* got \(4, 2, 3\) and 2"),
        (lambda: butterfly_factor(normal(4, 2, 2), 3), r"a stride that divides n / b, got \(4, 2, 2\) and 3"),
        (lambda: Butterfly(normal(1, 1, 3, 2, 2, 2)), r"needs shape \(nstacks, .* got \(1, 1, 3, 2, 2, 2\); complex"),
        (lambda: Dense(normal(3, 2)).top(0), r"number of singular values must be at least one, got 0"),
        (lambda: Dense(normal(3, 2)).top(1, start=np.ones(3)), r"start vectors must have length 2 .* got 3"),
        (lambda: Dense(normal(3, 2)).spectral_density(1, 5), r"at least 2 probes .* and 1 step, got 1 and 5"),
        (lambda: Dense(normal(3, 2)).spectral_density().moment(0), r"power of a moment must be positive, got 0"),
        (
            lambda: long_product(order(20_000)).nnz,
            r"number of connections of a Product of shape 20000 x 20000 have no closed form",
        ),
        (
            lambda: long_product(order(20_000)).row_norms(),
            r"the row or column norms of a Product .* too large .* ask its factors",
        ),
        (
            lambda: long_product(order(6000)).spectrum(),
            r"all singular values of a Product of shape 6000 x 6000 would need its dense matrix; use top\(k\) for",
        ),
    ],
)
def test_bad_operators_say_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()
