"""Estimators against exact arithmetic for layers of every degenerate kind: the exact value, or a status."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

import mixanalysis as mx
from mixanalysis.similarity import FeatureExtractor

COUNT, BATCH = 24, 8
ESTIMATORS = ("minibatch", "minibatch-biased", "full", "full-biased")


def random(seed, size=5):
    return np.random.default_rng(seed).normal(size=(COUNT, size))


SIGNAL = random(0)


def changed(rows, seed=1):
    """Constant but for some examples."""
    features = np.tile(random(seed)[:1], (COUNT, 1))
    features[rows] += SIGNAL[rows]
    return features


LAYERS = {
    "sound": SIGNAL,
    "related": SIGNAL @ random(2)[:5] + random(3),
    "constant": changed([]),
    "zeros": np.zeros((COUNT, 4)),
    "no features": np.zeros((COUNT, 0)),
    "one example differs": changed([5]),
    "two examples differ": changed([5, 6]),
    "one differs in each batch": changed([0, 9, 18]),
    "huge offset": SIGNAL + 2.0**16,
    "far example": SIGNAL * np.where(np.arange(COUNT) == 3, 1e5, 1)[:, None],
    "tiny scale": SIGNAL * 2.0**-90,
    "huge scale": SIGNAL * 2.0**60,
    "duplicated examples": np.repeat(SIGNAL[: COUNT // 2], 2, axis=0),
    "mostly one example": np.where(np.arange(COUNT)[:, None] % 8 < 6, SIGNAL[0], SIGNAL),
    "one feature": SIGNAL[:, :1],
    "signs": np.sign(SIGNAL[:, :2]),
}


def exact_gram(features):
    rows = [[Fraction(float(value)) for value in row] for row in features]
    return [[sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0)) for y in rows] for x in rows]


def rbf_gram(features):
    """In long doubles, from exact squared distances; None where their median, the lower of two middle ones, is zero."""
    gram = exact_gram(features)
    n = len(gram)
    distances = [[gram[i][i] + gram[j][j] - 2 * gram[i][j] for j in range(n)] for i in range(n)]
    above = sorted(distances[i][j] for i, j in itertools.combinations(range(n), 2))
    middle = above[(len(above) - 1) // 2]
    if middle == 0:
        return None
    return [[Fraction(math.exp(-float(cell / middle) / 2)) for cell in row] for row in distances]


def inner(a, b):
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def hollow(matrix):
    return [[cell if i != j else Fraction(0) for j, cell in enumerate(row)] for i, row in enumerate(matrix)]


def exact_hsic(k, ell, bias):
    n = len(k)
    if bias == "unbiased":
        k, ell = (
            [[cell if i != j else Fraction(0) for j, cell in enumerate(row)] for i, row in enumerate(m)]
            for m in (k, ell)
        )
    rows_k, rows_l = [sum(row) for row in k], [sum(row) for row in ell]
    trace = sum(inner(a, b) for a, b in zip(k, ell, strict=True))
    if bias == "biased":
        terms = trace - Fraction(2, n) * inner(rows_k, rows_l) + Fraction(sum(rows_k) * sum(rows_l)) / n**2
        return terms / (n - 1) ** 2
    terms = trace + sum(rows_k) * sum(rows_l) / Fraction((n - 1) * (n - 2)) - Fraction(2, n - 2) * inner(rows_k, rows_l)
    return terms / (n * (n - 3))


class Exact:
    """CKA of all pairs of layers, from rational sums."""

    def __init__(self, layers, estimator, kernel):
        self.bias = "biased" if "biased" in estimator else "unbiased"
        size = COUNT if "full" in estimator else BATCH
        gram = exact_gram if kernel == "linear" else rbf_gram
        self.grams = {
            name: [gram(features[first : first + size]) for first in range(0, COUNT, size)]
            for name, features in layers.items()
        }

    def hsic(self, a, b):
        return sum(exact_hsic(k, ell, self.bias) for k, ell in zip(self.grams[a], self.grams[b], strict=True))

    def defined(self, name):
        """Whether there is a similarity: the RBF kernel has a scale in every batch that isn't constant."""
        return None not in self.grams[name] and self.hsic(name, name) > 0

    def cka(self, a, b):
        shared, x, y = self.hsic(a, b), self.hsic(a, a), self.hsic(b, b)
        return math.copysign(math.sqrt(shared * shared / (x * y)), shared)


class Tables(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.tables = list(layers.values())
        self.taps = nn.ModuleList(nn.Identity() for _ in layers)

    def forward(self, numbers):
        for tap, table in zip(self.taps, self.tables, strict=True):
            tap(table[numbers[:, 0]])


def features_of(dtype):
    layers = {name: torch.from_numpy(np.asarray(features)).to(dtype) for name, features in LAYERS.items()}
    return layers, {name: features.double().numpy() for name, features in layers.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_exact_value_or_a_status(estimator, kernel, dtype):
    layers, plain = features_of(dtype)
    network = FeatureExtractor("a", Tables(layers), {name: f"taps.{i}" for i, name in enumerate(layers)})
    data = [torch.arange(first, first + BATCH)[:, None] for first in range(0, COUNT, BATCH)]
    result = mx.cka(network, data=data, estimator=estimator, kernel=kernel)
    exact = Exact(plain, estimator, kernel)
    status = result.layers.set_index("layer")["status"]
    tolerance = 1e-4 if dtype == torch.float32 else 1e-8
    for a, b in itertools.product(("sound", "related"), layers):
        value = result.matrix.loc[a, b]
        if exact.defined(b):
            assert status[b] == "ok", b
            assert value == pytest.approx(exact.cka(a, b), abs=tolerance), (a, b)
        else:
            assert math.isnan(value), (a, b)
            assert status[b] != "ok", b
    own = np.diag(result.matrix)
    np.testing.assert_allclose(own[~np.isnan(own)], 1, atol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("scale", [1e-160, 1e-90, 1e90, 1e160, 1e300])
def test_beyond_float64_there_is_the_value_or_a_status(estimator, scale):
    features = {"sound": torch.from_numpy(SIGNAL), "scaled": torch.from_numpy(LAYERS["related"] * scale)}
    network = FeatureExtractor("a", Tables(features), {name: f"taps.{i}" for i, name in enumerate(features)})
    data = [torch.arange(first, first + BATCH)[:, None] for first in range(0, COUNT, BATCH)]
    result = mx.cka(network, data=data, estimator=estimator)
    status = result.layers.set_index("layer")["status"]["scaled"]
    value = result.matrix.loc["sound", "scaled"]
    if status == "ok":
        plain = {"sound": SIGNAL, "scaled": LAYERS["related"]}
        assert value == pytest.approx(Exact(plain, estimator, "linear").cka("sound", "scaled"), abs=1e-8)
    else:
        assert math.isnan(value)
        assert status.endswith("for float64")
