"""The largest singular values by Lanczos, against decompositions of the dense matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mixanalysis.operators import BlockDiagonal, Dense, Kronecker, Lift, Masked, Permuted, Product, Scaled
from mixanalysis.operators.lanczos import Search, lanczos_top
from operators.making import masked, normal, order

TIGHT = 1e-13


def find(operator, k, *, tol=TIGHT, start=None, seed=0):
    """By Lanczos, whatever the structure knows."""
    return lanczos_top(operator, k, Search(tol, True, start, seed))


def copies_of(factor, copies):
    """A lift as a mask that doesn't tell."""
    whole = Permuted(Lift(Dense(factor), copies, "left"), order(len(factor) * copies)).dense()
    return Masked.from_dense(whole, whole != 0)


def low_rank(rows, columns, rank):
    return Product([Dense(normal(rows, rank)), Dense(normal(rank, columns, seed=1))])


LARGE = {
    "dense": lambda: Dense(normal(90, 70)),
    "dense-wide": lambda: Dense(normal(70, 90)),
    "masked": lambda: masked(90, 80, 0.1),
    "product": lambda: Product(
        [Dense(normal(80, 90)), Permuted(Lift(Dense(normal(30, 25)), 3, "left"), rows=order(90))]
    ),
    "scaled": lambda: Scaled(BlockDiagonal(normal(8, 12, 10)), normal(96), normal(80, seed=1)),
    "low-rank": lambda: low_rank(120, 90, 4),
    "zero": lambda: masked(120, 90, 0.0),
    "copies": lambda: copies_of(normal(8, 8), 30),
}


@pytest.mark.parametrize("k", [1, 6, 15])
@pytest.mark.parametrize("name", LARGE)
def test_lanczos_is_the_dense_decomposition(name, k):
    operator = LARGE[name]()
    matrix = operator.dense().numpy()
    expected = np.linalg.svd(matrix, compute_uv=False)
    top = find(operator, k)
    scale = expected[0] or 1.0
    assert top.method == "Lanczos"
    np.testing.assert_allclose(top.values, expected[:k], rtol=0, atol=1e-12 * scale)
    for vectors in (top.left, top.right):
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(k), rtol=0, atol=1e-10)
    right = np.linalg.norm(matrix @ top.right - top.left * top.values, axis=0)
    left = np.linalg.norm(matrix.T @ top.left - top.right * top.values, axis=0)
    # the residuals that it tells of are the residuals
    np.testing.assert_allclose(top.residuals, np.maximum(left, right) / scale, rtol=0, atol=1e-13)
    assert top.residuals.max() < 1e-10


@pytest.mark.parametrize("name", LARGE)
def test_more_values_than_a_krylov_space_is_for_are_exact(name):
    operator = LARGE[name]()
    size = min(operator.shape)
    expected = np.linalg.svd(operator.dense().numpy(), compute_uv=False)
    top = find(operator, size)
    assert top.method == "exact"
    np.testing.assert_allclose(top.values, expected, rtol=0, atol=1e-12 * max(expected[0], 1))


def test_tolerance_bounds_the_residuals():
    operator = masked(300, 250, 0.05)
    loose, tight = find(operator, 4, tol=1e-3), find(operator, 4, tol=1e-10)
    assert tight.residuals.max() < 1e-9 < loose.residuals.max() < 1e-3
    np.testing.assert_allclose(loose.values, tight.values, rtol=1e-4)


def test_no_copy_of_a_multiple_value_is_missed():
    """One Krylov space finds 19 to 38 of these 48 copies; what follows them would be called the next largest."""
    factor = normal(12, 12)
    operator = copies_of(factor, 48)
    expected = np.repeat(torch.linalg.svdvals(factor).numpy(), 48)
    for tol in (1e-5, TIGHT):
        for seed in range(3):
            np.testing.assert_allclose(find(operator, 60, tol=tol, seed=seed).values, expected[:60], rtol=tol)
    # and where only some of the copies are asked for, nothing else is told
    np.testing.assert_allclose(find(operator, 5).values, expected[:5], rtol=1e-12)


def test_structure_knows_its_copies(monkeypatch):
    """With a factor that is too large to be made dense, only the factor goes through Lanczos."""
    monkeypatch.setattr("mixanalysis.operators.masked.EXACT_LIMIT", 10)
    factor = masked(90, 80, 0.1)
    values = np.linalg.svd(factor.dense().numpy(), compute_uv=False)
    other = normal(6, 5)
    products = np.sort(np.multiply.outer(np.linalg.svd(other.numpy(), compute_uv=False), values).ravel())[::-1]
    cases = {
        "left": (Lift(factor, 4, "left"), np.repeat(values, 4)),
        "right": (Lift(factor, 4, "right"), np.repeat(values, 4)),
        "permuted": (Permuted(Lift(factor, 4, "right"), order(360), order(320)), np.repeat(values, 4)),
        "kronecker": (Kronecker(Dense(other), factor), products),
        "kronecker-right": (Kronecker(factor, Dense(other)), products),
    }
    for operator, expected in cases.values():
        assert not operator.exact
        top = operator.top(10, tol=TIGHT, vectors=True)
        assert top.method == operator.top(10).method == "Lanczos"
        np.testing.assert_allclose(top.values, expected[:10], rtol=1e-12)
        matrix = operator.dense().numpy()
        np.testing.assert_allclose(matrix @ top.right, top.left * top.values, rtol=0, atol=1e-10)
        np.testing.assert_allclose(matrix.T @ top.left, top.right * top.values, rtol=0, atol=1e-10)
        np.testing.assert_allclose(top.left.T @ top.left, np.eye(10), rtol=0, atol=1e-10)
        loose = operator.top(10, tol=1e-3, vectors=True)
        errors = np.linalg.norm(matrix.T @ loose.left - loose.right * loose.values, axis=0) / loose.values[0]
        # of the factors' residuals a bound is known
        assert (errors <= loose.residuals + 1e-12).all()


def test_a_factor_too_large_has_no_spectrum(monkeypatch):
    monkeypatch.setattr("mixanalysis.operators.masked.CORE_LIMIT", 10)
    for operator in (Lift(masked(90, 80, 0.1), 2, "left"), Kronecker(masked(90, 80, 0.1), Dense(normal(2, 2)))):
        with pytest.raises(ValueError, match="all singular values of a Masked of shape 90 x 80"):
            operator.spectrum()


def test_single_precision_is_computed_in_double():
    operator = masked(200, 150, 0.1).to(torch.float32)
    expected = np.linalg.svd(operator.to(torch.float64).dense().numpy(), compute_uv=False)
    np.testing.assert_allclose(find(operator, 5).values, expected[:5], rtol=1e-12)


def sparse(rows, columns, connections, *, drift=0.0):
    generator = np.random.default_rng(0)
    cells = torch.from_numpy(generator.choice(rows * columns, connections, replace=False))
    values = torch.from_numpy(generator.normal(size=(2, connections)))
    return Masked(cells // columns, cells % columns, values[0] + drift * values[1], (rows, columns))


@pytest.mark.parametrize("shape", [(1500, 1400), (1400, 1500)])
def test_a_start_saves_products(shape, monkeypatch):
    """From the singular vectors of an earlier checkpoint, against a random vector."""
    before, after = (sparse(*shape, 60_000, drift=drift) for drift in (0.0, 0.001))
    known = find(before, 6, tol=1e-5).right
    expected = after.top(6).values
    count = 0
    matmat = Masked._matmat

    def counted(self, x):
        nonlocal count
        count += 1
        return matmat(self, x)

    monkeypatch.setattr(Masked, "_matmat", counted)
    cold = find(after, 6, tol=1e-5)
    products, count = count, 0
    warm = find(after, 6, tol=1e-5, start=known)
    assert count < 0.9 * products
    # nor does a start without any part in the largest singular vectors hide them, nor one that is a singular vector
    blind = np.linalg.qr(np.hstack([warm.right, np.ones((shape[1], 1))]))[0][:, -1]
    others = [find(after, 6, tol=1e-5, start=start) for start in (blind, warm.right[:, 0], warm.right, 0 * blind)]
    for top in (cold, warm, *others):
        np.testing.assert_allclose(top.values, expected, rtol=1e-9)


def test_start_passes_through_permutations(monkeypatch):
    monkeypatch.setattr("mixanalysis.operators.masked.EXACT_LIMIT", 10)
    inner = masked(90, 80, 0.1)
    operator = Permuted(inner, order(90), order(80, 1))
    seen = []
    find_inner = Masked._top

    def spy(self, k, search):
        seen.append(search.start)
        return find_inner(self, k, search)

    monkeypatch.setattr(Masked, "_top", spy)
    start = operator.top(1, vectors=True).right
    operator.top(1, start=start)
    # the inner operator starts from its own singular vector
    image = inner.dense().numpy() @ seen[1]
    assert np.linalg.norm(image) == pytest.approx(float(inner.top(1).values[0]), rel=1e-6)


def test_same_seed_same_answer():
    operator = masked(300, 250, 0.05)
    first, again = find(operator, 4, tol=1e-3), find(operator, 4, tol=1e-3)
    assert first.values.tolist() == again.values.tolist()
    assert first.left.tolist() == again.left.tolist()


def test_vectors_come_on_request():
    for operator in (
        masked(90, 80, 0.1),
        Lift(masked(9, 8, 0.5), 3, "left"),
        Kronecker(Dense(normal(3, 2)), Dense(normal(2, 2))),
    ):
        top = operator.top(2)
        assert top.left is None
        assert top.right is None
