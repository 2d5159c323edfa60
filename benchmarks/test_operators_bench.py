"""Structured operators against bare LAPACK and ARPACK: ratios of CPU time in one run, medians.

python -m pytest -m benchmark benchmarks/test_operators_bench.py
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, eigsh

from measuring import medians, peak
from mixanalysis.operators import Dense, Kronecker, Lift, Masked

pytestmark = pytest.mark.benchmark


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(768, 3072), (3072, 768), (384, 196), (196, 384), (768, 768)])
def test_dense_spectrum_against_bare_lapack(shape, tell):
    weight = normal(*shape)
    tall = weight if shape[0] >= shape[1] else weight.mT
    ours, svd, tall_svd, gram = medians(
        Dense(weight).spectrum,
        lambda: torch.linalg.svdvals(weight),
        lambda: torch.linalg.svdvals(tall),
        lambda: np.linalg.eigvalsh((tall.mT @ tall).numpy()),
        repeats=9,
    )
    cheapest = min(svd, tall_svd, gram)
    tell(
        f"dense {shape[0]} x {shape[1]}: {ours * 1e3:.2f} ms; {ours / svd:.2f} of svdvals, {ours / tall_svd:.2f} of "
        f"svdvals of the tall side, {ours / gram:.2f} of the Gram matrix and eigvalsh"
    )
    # a square matrix needs the decomposition for its small values
    assert ours < 1.3 * (cheapest if shape[0] != shape[1] else svd)


def test_structured_spectra_against_dense(tell):
    lift, kronecker = Lift(Dense(normal(32, 32)), 32, "left"), Kronecker(Dense(normal(32, 32)), Dense(normal(32, 32)))
    for operator in (lift, kronecker):
        dense = Dense(operator.dense())
        ours, bare = medians(operator.spectrum, dense.spectrum, repeats=3)
        tell(f"{type(operator).__name__} m = 1024: {ours * 1e3:.3f} ms, {bare / ours:.0f} times faster than dense")
        np.testing.assert_allclose(operator.spectrum().repeated(), dense.spectrum().values, rtol=0, atol=1e-9)
        assert bare > 100 * ours
    token, channel = Dense(normal(384, 196)), Dense(normal(3072, 768))
    for operator in (Lift(token, 768, "left"), Lift(channel, 196, "right")):
        (ours,) = medians(operator.spectrum, repeats=5)
        tell(
            f"{operator.shape[0]} x {operator.shape[1]} lift: {operator.spectrum().count} values in {ours * 1e3:.1f} ms"
        )


def test_masked_top_against_bare_arpack(tell):
    """Width 65536, Omega = 2^21: at most twice the time, and memory of twice the non-zeros and the Krylov basis."""
    size, omega, k = 65536, 2**21, 6
    generator = np.random.default_rng(0)
    cells = np.unique(generator.integers(0, size * size, omega))
    rows, columns = cells // size, cells % size
    values = generator.normal(size=len(cells)) * np.sqrt(size / omega)
    tensors = [torch.from_numpy(array) for array in (rows, columns, values)]
    matrix = csr_array((values, (rows, columns)), shape=(size, size))
    start = generator.normal(size=size)

    def bare():
        gram = LinearOperator(shape=(size, size), dtype=np.float64, matvec=lambda x: matrix.T @ (matrix @ x))
        return np.sqrt(eigsh(gram, k=k, tol=1e-5, ncv=40, v0=start)[0][::-1])

    def ours():
        # from the checkpoint's tensors, so that nothing is cached
        return Masked(*tensors, (size, size)).top(k)

    top = ours()
    assert top.method == "Lanczos"
    np.testing.assert_allclose(top.values, bare(), rtol=1e-5)
    seconds, arpack = medians(ours, bare, repeats=3)
    stored = sum(tensor.nbytes for tensor in tensors)
    memory, basis = peak(ours), peak(bare)
    tell(
        f"masked m = {size}, Omega = 2^21: top {k} in {seconds:.2f} s, {seconds / arpack:.2f} of bare eigsh, residual "
        f"{top.residuals.max():.0e}; {memory / 2**20:.0f} MiB beside the weights' {stored / 2**20:.0f} MiB "
        f"(eigsh alone, beside its matrix: {basis / 2**20:.0f} MiB)"
    )
    assert seconds < 2 * arpack
    # the weights themselves, and as much again
    assert memory < stored + basis
    operator = Masked(*tensors, (size, size))
    (density,) = medians(operator.spectral_density, repeats=1)
    error = operator.spectral_density().cdf(1.0).standard_error
    tell(f"masked m = {size}: density from 16 probes of 48 steps in {density:.1f} s, standard error {error:.0e}")


RP_PRODUCT = """
import re, time, torch
from pathlib import Path
from mixanalysis.operators import Dense, Lift, Permuted, product
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
tokens, channels = 196, 768
def layer(size, copies):
    weight = torch.randn(size, size, generator=generator, dtype=torch.float64) / size**0.5
    return Permuted(Lift(Dense(weight), copies, "left"), rows=torch.randperm(tokens * channels, generator=generator))
block = product(layer(channels, tokens), layer(tokens, channels))
start = time.process_time()
top = block.top(1)
seconds = time.process_time() - start
memory = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
tight = block.top(1, tol=1e-10, seed=1)
print(top.values[0], tight.values[0], tight.residuals[0], seconds, memory / 2**10)
"""


def test_random_permutation_product(tell):
    """The product of two RP-Mixer layers of B/16's size, m = 150,528, in a process of its own."""
    result = subprocess.run([sys.executable, "-c", RP_PRODUCT], capture_output=True, text=True, check=True)
    value, tight, residual, seconds, memory = map(float, result.stdout.split())
    tell(
        f"RP product 196 x 768: s_max {value:.5f} in {seconds:.1f} s and {memory:.0f} MiB, off by "
        f"{abs(value / tight - 1):.0e} from a run to residual {residual:.0e}; free edge {(27 / 4) ** 0.5:.3f}"
    )
    assert abs(value / tight - 1) < 1e-3
    assert memory < 1024
