"""Rules by which neighbours in a product become one operator, and the laws that the products obey."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mixanalysis.operators import Dense, Kronecker, Lift, Masked, Monarch, Permuted, Product, product
from operators.making import masked, normal, order, trees


def same(operator, *factors):
    expected = (
        torch.linalg.multi_dot([factor.dense() for factor in factors]) if len(factors) > 1 else factors[0].dense()
    )
    torch.testing.assert_close(operator.dense(), expected, rtol=0, atol=1e-11)
    return operator


def lift(rows, columns, copies, side, seed=0):
    return Lift(Dense(normal(rows, columns, seed=seed)), copies, side)


def test_linear_mixer_block_is_a_kronecker_product():
    """V^T kron W for an S-Mixer block; the pairs of a Mixer's hidden layers as well, in either order."""
    tokens, channels = 4, 3
    token, channel = lift(tokens, tokens, channels, "left"), lift(channels, channels, tokens, "right", seed=1)
    block = same(product(channel, token), channel, token)
    assert isinstance(block, Kronecker)
    assert block.left.weight is channel.factor.weight
    assert block.right.weight is token.factor.weight
    assert isinstance(same(product(token, channel), token, channel), Kronecker)
    # rectangular ones, where sizes tell which copies belong to which
    token = lift(7, tokens, channels, "left")
    channel = lift(5, channels, 7, "right", seed=1)
    assert isinstance(same(product(channel, token), channel, token), Kronecker)
    # two blocks without activations between them stay V2 V1 kron W2 W1
    second = [lift(6, 5, 4, "right", seed=2), lift(4, 7, 5, "left", seed=3)]
    whole = same(product(*second, channel, token), *second, channel, token)
    assert isinstance(whole, Kronecker)
    assert isinstance(whole.left, Dense)
    assert whole.shape == (24, 12)


def test_lifts_of_one_side_stay_a_lift():
    for side in ("left", "right"):
        whole = same(product(lift(3, 5, 4, side), lift(5, 2, 4, side, 1)), lift(3, 5, 4, side), lift(5, 2, 4, side, 1))
        assert isinstance(whole, Lift)
        assert isinstance(whole.factor, Dense)
        assert (whole.copies, whole.identity) == (4, side)
    # sizes that don't belong together are left alone
    other = same(
        product(lift(3, 6, 4, "left"), lift(8, 2, 3, "left", 1)), lift(3, 6, 4, "left"), lift(8, 2, 3, "left", 1)
    )
    assert isinstance(other, Product)
    mixed = same(
        product(lift(2, 3, 4, "right"), lift(2, 3, 6, "left", 1)), lift(2, 3, 4, "right"), lift(2, 3, 6, "left", 1)
    )
    assert isinstance(mixed, Product)


def test_kronecker_products_multiply_factor_by_factor():
    first = Kronecker(Dense(normal(2, 3)), masked(4, 2, 0.5))
    second = Kronecker(Dense(normal(3, 2, seed=1)), Dense(normal(2, 5, seed=2)))
    whole = same(product(first, second), first, second)
    assert isinstance(whole, Kronecker)
    assert isinstance(whole.left, Dense)
    assert isinstance(whole.right, Product)
    lifted = same(product(first, lift(2, 3, 3, "left", 4)), first, lift(2, 3, 3, "left", 4))
    assert isinstance(lifted, Kronecker)
    assert lifted.left is first.left


def test_dense_matrices_are_multiplied_unless_that_costs_memory():
    pair = Dense(normal(4, 5)), Dense(normal(5, 3, seed=1))
    assert isinstance(same(product(*pair), *pair), Dense)
    low_rank = Dense(normal(20, 2)), Dense(normal(2, 20, seed=1))
    assert isinstance(same(product(*low_rank), *low_rank), Product)
    half = product(Dense(normal(4, 5).bfloat16()), Dense(normal(5, 3).bfloat16()))
    assert half.torch_dtype == torch.bfloat16


def test_permutations_that_meet_are_composed_and_cancel():
    a, b = Dense(normal(4, 5)), Dense(normal(5, 3, seed=1))
    p, q = order(5), order(5, 1)
    # (P x)[i] = x[p[i]] is undone by the inverse
    whole = product(Permuted(a, columns=p), Permuted(b, rows=torch.argsort(p)))
    assert isinstance(same(whole, a, b), Dense)
    apart = product(Permuted(a, order(4), p), Permuted(b, q, order(3)))
    same(apart, Permuted(a, order(4), p), Permuted(b, q, order(3)))
    first, second = apart.factors
    assert isinstance(first.inner, Dense)
    assert first.columns is None
    assert torch.equal(second.rows, q[p])
    # identities go, nested ones are composed, and a single operator keeps its own
    nested = Permuted(Permuted(a, order(4), p), order(4, 2), q)
    alone = same(product(Product([nested])), nested)
    assert isinstance(alone, Permuted)
    assert alone.inner is a
    assert product(Product([Permuted(a, torch.arange(4), torch.arange(5))])) is a


def test_one_operator_is_itself():
    for operator in (Dense(normal(2, 3)), lift(2, 3, 2, "left"), Permuted(Dense(normal(2, 3)), rows=order(2))):
        assert product(operator) is operator
    assert product(Product([Dense(normal(2, 3))])).weight.equal(normal(2, 3))


def test_random_permutation_block_is_a_product_of_permuted_lifts():
    def layer(size, copies, seed):
        inner = lift(size, size, copies, "left", seed)
        return Permuted(inner, order(size * copies, seed), order(size * copies, seed + 1))

    channel, token = layer(3, 4, 10), layer(4, 3, 20)
    block = same(product(channel, token), channel, token)
    assert isinstance(block, Product)
    assert [type(factor) for factor in block.factors] == [Permuted, Permuted]
    assert all(isinstance(factor.inner, Lift) for factor in block.factors)


def test_outer_permutations_leave_the_spectrum_exact_at_any_size():
    channel = Permuted(lift(60, 60, 50, "right"), rows=order(3000))
    token = Permuted(lift(50, 50, 60, "left", seed=1), columns=order(3000, 1))
    block = Product([channel, token])
    assert block.exact
    expected = np.multiply.outer(
        torch.linalg.svdvals(normal(60, 60)).numpy(), torch.linalg.svdvals(normal(50, 50, seed=1)).numpy()
    )
    np.testing.assert_allclose(block.spectrum().repeated(), np.sort(expected.ravel())[::-1], rtol=0, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(st.lists(trees(depth=2), min_size=1, max_size=3))
def test_rules_never_change_the_product(pairs):
    operators, matrix = [pairs[0][0]], pairs[0][1]
    for operator, other in pairs[1:]:
        # fit sizes with a dense matrix
        between = normal(matrix.shape[1], operator.shape[0])
        operators += [Dense(between), operator]
        matrix = matrix @ between @ other
    whole = product(*operators)
    torch.testing.assert_close(whole.dense(), matrix, rtol=0, atol=1e-12 * max(1.0, float(matrix.norm())))
    assert whole.nnz <= matrix.numel()


def gaussian(size, seed):
    return normal(size, size, seed=seed) / size**0.5


def test_edge_of_the_linear_block_is_four():
    """Classical product of two quarter circles: singular values up to 2 x 2, normalised fourth moment 2 x 2."""
    size = 300
    block = product(Lift(Dense(gaussian(size, 0)), size, "right"), Lift(Dense(gaussian(size, 1)), size, "left"))
    density = block.spectral_density()
    assert (density.method, density.count) == ("exact", size**2)
    assert block.top(1).values[0] == pytest.approx(4, rel=0.03)
    assert density.moment(4).value / density.moment(2).value ** 2 == pytest.approx(4, rel=0.03)


def test_edge_of_the_random_permutation_block_is_the_free_one():
    """Fuss-Catalan: sqrt(27/4) = 2.598 and normalised fourth moment 3."""
    size = 100
    lifts = [Lift(Dense(gaussian(size, seed)), size, "left") for seed in (0, 1)]
    block = product(lifts[0], Permuted(lifts[1], rows=order(size**2)))
    assert not block.exact
    top = block.top(1)
    assert top.method == "Lanczos"
    assert top.values[0] == pytest.approx((27 / 4) ** 0.5, rel=0.03)
    density = block.spectral_density(probes=4, steps=30)
    assert density.method == "stochastic"
    assert density.moment(4).value / density.moment(2).value ** 2 == pytest.approx(3, rel=0.05)


def test_monarch_with_independent_blocks_has_the_free_edge():
    size = 48
    blocks = [normal(size, size, size, seed=seed) / size**0.5 for seed in (0, 1)]
    monarch = Monarch(*blocks)
    assert not monarch.exact
    assert monarch.top(1).values[0] == pytest.approx((27 / 4) ** 0.5, rel=0.03)
    assert monarch.nnz == size**4


def test_products_of_masks_act_sparsely():
    """Applied in turn, also as a mask of float32 inside a chain."""
    first, second = masked(30, 40, 0.2), masked(40, 20, 0.2, seed=3)
    whole = product(first, second)
    assert isinstance(whole, Product)
    same(whole, first, second)
    assert all(isinstance(factor, Masked) for factor in whole.factors)
