"""Spectra of whole networks against WeightWatcher, bare LAPACK and bare ARPACK: ratios of CPU time, medians.

OMP_NUM_THREADS=1 python -m pytest -m benchmark benchmarks/test_spectra_bench.py

WeightWatcher isn't a dependency; where it can't be imported a line says so and the rest is measured.
"""

from __future__ import annotations

import importlib
import logging
import math
import statistics
import time
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn

import mixanalysis as mx
from measuring import medians, peak
from mixanalysis.checkpoints import save_checkpoint
from mixanalysis.families.mixer.network import Mixer, MixerConfig
from mixanalysis.network import MixingLayer, Patches
from mixanalysis.operators import Dense, Masked
from mixanalysis.spectra import fit, marchenko_pastur, nulls
from mixanalysis.spectra.fit import fit_values, spike_threshold
from mixanalysis.spectra.layer import analyse
from mixanalysis.spectra.options import SpectrumOptions
from mixanalysis.spectra.sweep import masked_noise
from mixanalysis.spectra.targets import Target

pytestmark = pytest.mark.benchmark

LEVEL = 0.01


@pytest.fixture(name="watch")
def _watch(tell):
    """WeightWatcher's table of some matrices with its MP fit, or None where it can't be imported."""
    try:
        # it warns, and asks for a GPU, when it is imported
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weightwatcher = importlib.import_module("weightwatcher")
    except ImportError as error:
        tell(f"WeightWatcher can't be imported ({error}): it isn't measured")
        return None
    logging.getLogger("weightwatcher").setLevel(logging.ERROR)

    def watch(*matrices):
        # made outside analyze, and so not counted
        model = nn.Sequential(*(nn.Linear(m.shape[1], m.shape[0], bias=False) for m in matrices))
        with torch.no_grad():
            for layer, matrix in zip(model, matrices, strict=True):
                layer.weight.copy_(torch.as_tensor(matrix))
        watcher = weightwatcher.WeightWatcher(model=model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = time.process_time()
            table = watcher.analyze(mp_fit=True, randomize=False, plot=False)
            return table, time.process_time() - start

    return watch


def noise(a, b, generator):
    """Entries of variance 1."""
    return generator.standard_normal((a, b))


def with_spikes(a, b, times, count, generator):
    """Noise of variance 1 and `count` spikes at a multiple of the strength at which they leave the bulk."""
    left, _ = np.linalg.qr(noise(a, count, generator))
    right, _ = np.linalg.qr(noise(b, count, generator))
    return noise(a, b, generator) + times * spike_threshold(a, b, 1.0) * left @ right.T


def watched_variance(table):
    """Entry variances: its sigma is that of a matrix scaled to entries of variance 1/N."""
    return (table["sigma_mp"] / table["W_scale"]) ** 2 / table["N"]


def against(ours, theirs, form="{:.1f}"):
    shown = "not measured" if theirs is None else form.format(theirs)
    return f"{form.format(ours)} (WeightWatcher {shown})"


def cheapest_exact(matrix):
    """Singular values of a rectangular matrix from the smaller Gram matrix; see `operators.values`."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.mT
    tall = tall.double()
    return np.sqrt(np.maximum(np.linalg.eigvalsh((tall.mT @ tall).numpy()), 0.0))


def test_mixer_b16(tmp_path, tell, watch):
    """Spectrum, fit, edge and outliers of 48 layers, from the file."""
    config = MixerConfig(Patches(224, 224, 3, 16), 10, 196, 768, 384, 3072, 12)
    module = Mixer(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "mlp" in name and weight.ndim == 2:
                weight.normal_(std=weight.shape[1] ** -0.5, generator=generator)
    save_checkpoint(tmp_path / "b16.safetensors", config, module.state_dict(), {"epochs": 0})

    def ours():
        return mx.spectrum(mx.load(tmp_path / "b16.safetensors"))

    result = ours()
    factors = [nulls.independent_factor(layer.operator) for layer in mx.load(tmp_path / "b16.safetensors").layers]
    matrices = [factor.dense() for factor in factors]
    assert len(matrices) == len(result.summary) == 48
    assert sorted({tuple(matrix.shape) for matrix in matrices}) == [(196, 384), (384, 196), (768, 3072), (3072, 768)]
    for matrix, s_max in zip(matrices, result.summary["s_max"], strict=True):
        assert s_max == pytest.approx(cheapest_exact(matrix)[-1], rel=1e-10)

    seconds, bare = medians(ours, lambda: [cheapest_exact(matrix) for matrix in matrices], repeats=3)
    tell(
        f"Mixer-B/16, 48 layers: {seconds:.2f} s, {seconds / bare:.2f} of bare Gram and eigvalsh "
        f"({bare:.2f} s; wanted 1.3)"
    )
    if watch is not None:
        _, watched = watch(*matrices)
        tell(
            f"Mixer-B/16, 48 layers: {watched / seconds:.1f} times faster than WeightWatcher "
            f"({watched:.1f} s; wanted 12)"
        )
        assert watched > 3 * seconds
    assert seconds < 4 * bare


@pytest.mark.parametrize("shape", [(768, 196), (3072, 768)])
def test_fit_a_layer(shape, tell):
    generator = np.random.default_rng(0)
    values = Dense(torch.from_numpy(noise(*shape, generator))).spectrum().values

    def many():
        for _ in range(20):
            fit_values(values, *shape)

    many()
    start = time.process_time()
    fit_values(values, shape[0] + 1, shape[1])
    fresh = time.process_time() - start
    (seconds,) = medians(many)
    tell(f"MP fit {shape[0]} x {shape[1]}: {seconds / 20 * 1e3:.2f} ms, {fresh * 1e3:.1f} ms at a new shape; wanted 1")
    assert fit_values(values, *shape).variance == pytest.approx(1.0, rel=0.02)
    assert seconds / 20 < 5e-3


def test_masked_noise(tell, watch):
    """2048 x 1024 at pm = 102, 20, 10: values beyond the threshold of the mask, and beyond a dense matrix's edge."""
    rows, columns, seeds = 2048, 1024, 10
    for degree in (102, 20, 10):
        beyond, dense, watched = [], [], []
        for seed in range(seeds):
            masked = masked_noise(rows, columns, degree / columns, 1 / columns, np.random.default_rng([seed, degree]))
            values = masked.spectrum().values
            null = nulls.factor_null(masked, values, "measured", None, LEVEL)
            beyond.append((values > null.threshold).sum())
            dense.append((values > null.edge).sum())
            if watch is not None:
                watched.append(int(watch(masked.dense())[0]["num_spikes"].iloc[0]))
        theirs = float(np.mean(watched)) if watched else None
        tell(
            f"masked noise 2048 x 1024, pm = {degree}: {against(np.mean(beyond), theirs)} false outliers a layer, "
            f"{np.mean(dense):.1f} beyond the Marchenko-Pastur edge"
        )
        assert np.mean(beyond) <= 1
        if degree == 10:
            assert np.mean(dense) > 10 * max(np.mean(beyond), 1)


def test_noise(tmp_path, tell, watch):
    """50 layers at a false discovery rate of 5%."""
    shapes = [(512, 256), (256, 512), (384, 196), (512, 512), (300, 64)] * 10
    layers, counts = [], []
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        weights = {f"layer{i}.weight": torch.randn(shape, generator=generator) for i, shape in enumerate(shapes)}
        save_file(weights, tmp_path / f"{seed}.safetensors")
        summary = mx.spectrum(mx.load(tmp_path / f"{seed}.safetensors", weights_only=True)).summary
        assert len(summary) == len(shapes)
        layers.append(int((summary["q_value"] < 0.05).sum()))
        counts.append(int(summary["outliers"].sum()))
        if seed == 0:
            first = list(weights.values())
    theirs = None if watch is None else int(watch(*first)[0]["num_spikes"].sum())
    tell(
        f"noise, 50 layers, 10 runs: {np.mean(layers):.1f} layers a run at FDR 5%; at level 1% a layer "
        f"{against(np.mean(counts), theirs)} outliers a run"
    )
    assert statistics.median(layers) == 0
    # half of one is expected
    assert np.mean(counts) <= 3


@pytest.mark.parametrize("times", [1.2, 6.0], ids=["power", "variance"])
def test_ten_spikes(times, tell, watch):
    """1024 x 1024 with 10 spikes just beyond the BBP threshold, and far beyond it; and how far the variance is off."""
    size, planted, seeds = 1024, 10, 5
    found, sigma, theirs, their_sigma = [], [], [], []
    for seed in range(seeds):
        matrix = with_spikes(size, size, times, planted, np.random.default_rng([seed, round(10 * times)]))
        fitted = fit(matrix, LEVEL)
        found.append(fitted.n_outliers)
        sigma.append(abs(math.sqrt(fitted.variance) - 1))
        if watch is not None:
            table, _ = watch(matrix)
            theirs.append(int(table["num_spikes"].iloc[0]))
            their_sigma.append(abs(math.sqrt(watched_variance(table).iloc[0]) - 1))
    watched = [float(np.mean(each)) if each else None for each in (theirs, their_sigma)]
    tell(
        f"10 spikes at {times} of the threshold, 1024 x 1024: {against(np.mean(found), watched[0])} found, sigma off "
        f"by {against(np.mean(sigma), watched[1], '{:.2%}')}"
    )
    assert np.mean(found) >= (6 if times < 2 else 10)
    assert np.mean(found) <= planted + 1
    assert np.mean(sigma) < 0.01


def test_masked_layer_of_65536(tell):
    """Omega = 2^21: the whole analysis of a layer from a checkpoint's tensors against eigsh alone."""
    size, omega = 65536, 2**21
    made = masked_noise(size, size, omega / size**2, 1 / size, np.random.default_rng(0))
    tensors = (made.rows, made.columns, made.values)
    rows, columns, values = (tensor.numpy() for tensor in tensors)
    matrix = csr_array((values, (rows, columns)), shape=(size, size))
    start = np.random.default_rng(1).standard_normal(size)

    def bare():
        gram = LinearOperator(shape=(size, size), dtype=np.float64, matvec=lambda x: matrix.T @ (matrix @ x))
        return np.sqrt(eigsh(gram, k=6, tol=1e-5, ncv=40, v0=start)[0][::-1])

    layer = MixingLayer(
        "layer",
        0,
        "channel",
        "in",
        (size, size),
        omega,
        1 / size,
        lambda: Masked(*tensors, (size, size)),
        lambda: None,
    )

    def ours():
        return analyse(Target("network", "layer", 0, "channel", (layer,)), SpectrumOptions(), {})

    row, frame, _, null = ours()
    assert row["method"] == "Lanczos"
    found = frame["singular_value"].to_numpy()
    np.testing.assert_allclose(found[:6], bare(), rtol=1e-5)
    assert null is not None
    assert null.expected == pytest.approx(found[0], rel=0.02)
    seconds, arpack = medians(ours, bare, repeats=3)
    stored = sum(tensor.nbytes for tensor in tensors)
    memory, basis = peak(ours), peak(bare)
    tell(
        f"masked m = {size}, Omega = 2^21: analysis in {seconds:.2f} s, {seconds / arpack:.2f} of bare eigsh "
        f"(wanted 2), {memory / 2**20:.0f} MiB beside the weights' {stored / 2**20:.0f} MiB "
        f"(eigsh alone, beside its matrix: {basis / 2**20:.0f} MiB); "
        f"s_max {found[0]:.4f}, expected {null.expected:.4f}, Marchenko-Pastur "
        f"{marchenko_pastur.edge(size, size, null.variance):.4f}"
    )
    assert seconds < 4 * arpack
    assert memory < 2 * (stored + basis)
