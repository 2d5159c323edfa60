"""Measures of similarity beside CKA, from the same Gram matrices of a batch.

Each takes what it needs from the layers once, and then compares all pairs; the values are averaged over batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from mixanalysis.errors import UsageError
from mixanalysis.similarity.estimators.batch_sums import Floats
from mixanalysis.similarity.estimators.kernels import Kernel, mirror_, squared_distances
from mixanalysis.similarity.estimators.layer_pairs import Blocks

NEIGHBOURS = 10
"""k of mutual k-NN."""

VARIANCE = 0.99
"""Share of the variance that SVCCA keeps (Raghu et al. 2017)."""


@dataclass(frozen=True, eq=False)
class BatchGrams:
    """Double-centred Gram matrices of several layers for one batch of n examples.

    Attributes:
        matrices: float64, shape (layers, n, n), symmetric.
        eps: relative rounding error of each layer's features, shape (layers,).
    """

    matrices: Tensor
    eps: Tensor

    @classmethod
    def of(cls, triangles: Sequence[Tensor]) -> BatchGrams:
        """Return double-centred Gram matrices from lower triangles, shape (n, n), zeros for layers without features."""
        eps = torch.tensor([torch.finfo(matrix.dtype).eps for matrix in triangles], device=triangles[0].device)
        whole = mirror_(torch.stack([matrix.double() for matrix in triangles]))
        means = whole.mean(dim=2)
        whole -= means[:, :, None] + means[:, None, :]
        whole += means.mean(dim=1)[:, None, None]
        return cls(whole, eps.double())

    @property
    def examples(self) -> int:
        """How many there are, n."""
        return self.matrices.shape[-1]

    @cached_property
    def traces(self) -> Tensor:
        """Shape (layers,); squared norms of the centred features."""
        return self.matrices.diagonal(dim1=1, dim2=2).sum(dim=1)

    @cached_property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues in descending order, rounding errors set to zero, shape (layers, n); eigenvectors in columns."""
        values, vectors = torch.linalg.eigh(self.matrices)
        values, vectors = values.flip(1), vectors.flip(2)
        return torch.where(values > self.examples * self.eps[:, None] * values[:, :1], values, 0.0), vectors

    @cached_property
    def distances(self) -> Tensor:
        """Squared distances of the examples, shape (layers, n, n)."""
        return squared_distances(self.matrices)


@dataclass(frozen=True)
class Measure:
    """A measure of similarity of two sets of features.

    Attributes:
        identifier: spells its conventions.
        represent: what it needs of each layer, the layers first.
        compare: from that of some layers and of others, shape (some, others); NaN where it is undefined.
        undefined: why a value may be undefined for a batch.
        chance: what it is on average under random pairings of n examples; NaN where that isn't known.
    """

    identifier: str
    represent: Callable[[BatchGrams], Tensor]
    compare: Callable[[Tensor, Tensor], Tensor]
    undefined: str
    chance: Callable[[int], float] = lambda _n: math.nan

    def identifier_of(self, kernel: Kernel) -> str:
        """Return the identifier, with the kernel that stands for inner products where it isn't the linear one."""
        return self.identifier if kernel.name == "linear" else f"{self.identifier}/kernel={kernel}"


def _halves(grams: BatchGrams) -> Tensor:
    """Return factors A with A A' = K / tr K, shape (layers, n, n)."""
    values, vectors = grams.spectrum
    shares = values / values.sum(dim=1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
    return vectors * shares.sqrt()[:, None, :]


def _nuclear_norms(a: Tensor, b: Tensor) -> Tensor:
    """Return sums of the singular values of A'B for all pairs."""
    return torch.stack([torch.linalg.svdvals(each.mT @ b).sum(dim=1) for each in a])


def _neighbours(grams: BatchGrams) -> Tensor:
    """Return 1 for each example's nearest ones, in rows; the first examples are taken where distances are equal."""
    distances = grams.distances.clone()
    distances.diagonal(dim1=1, dim2=2).fill_(math.inf)
    nearest = distances.sort(dim=2, stable=True).indices[:, :, :NEIGHBOURS]
    return torch.zeros_like(distances).scatter_(2, nearest, 1.0)


def _overlaps(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean share of neighbours in common; undefined for as few examples as neighbours."""
    n = a.shape[-1]
    shared = a.flatten(1) @ b.flatten(1).mT / (n * NEIGHBOURS)
    return shared if n > NEIGHBOURS else torch.full_like(shared, math.nan)


def _ranks(grams: BatchGrams) -> Tensor:
    """Return centred ranks of norm 1 of the distances of all pairs, shape (layers, pairs); equal ones share a rank."""
    n = grams.examples
    rows, columns = torch.triu_indices(n, n, offset=1, device=grams.matrices.device)
    ranks = torch.from_numpy(rankdata(grams.distances[:, rows, columns].cpu().numpy(), axis=1)).to(rows.device)
    ranks -= ranks.mean(dim=1, keepdim=True)
    directions: Tensor = ranks / torch.linalg.vector_norm(ranks, dim=1, keepdim=True)
    return directions


def _directions(grams: BatchGrams) -> Tensor:
    """Return Gram matrices of norm 1 as vectors."""
    flat = grams.matrices.flatten(1)
    directions: Tensor = flat / torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    return directions


def _correlations(a: Tensor, b: Tensor) -> Tensor:
    return a @ b.mT


def _angles(a: Tensor, b: Tensor) -> Tensor:
    return _correlations(a, b).clamp(-1, 1).arccos()


def _kept(grams: BatchGrams) -> Tensor:
    """Return eigenvectors that carry VARIANCE of the variance, zeros in the place of the others."""
    values, vectors = grams.spectrum
    before = values.cumsum(dim=1) - values
    return vectors * ((before < VARIANCE * values.sum(dim=1, keepdim=True)) & (values > 0))[:, None, :]


def _canonical(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean canonical correlation; undefined where some are 1 whatever the features, for want of examples."""
    kept_a, kept_b = (each.square().sum(dim=(1, 2)).round() for each in (a, b))
    means = _nuclear_norms(a, b) / torch.minimum(kept_a[:, None], kept_b[None, :])
    return means.where(kept_a[:, None] + kept_b[None, :] < a.shape[-1], math.nan)


_CONSTANT = "constant features in a batch"

MEASURES: dict[str, Measure] = {
    # |X'Y|_* / (|X|_F |Y|_F) for centred X, Y (Williams et al. 2021); its arccos is a metric
    "procrustes": Measure("procrustes/normalised/similarity=nuclear", _halves, _nuclear_norms, _CONSTANT),
    # Huh et al. (2024), with distances in the place of cosines
    "mutual-knn": Measure(
        f"mutual-knn/k={NEIGHBOURS}/metric=euclidean",
        _neighbours,
        _overlaps,
        f"a batch of at most {NEIGHBOURS} images, or {_CONSTANT}",
        lambda n: NEIGHBOURS / (n - 1) if n > NEIGHBOURS else math.nan,
    ),
    # Kriegeskorte et al. (2008)
    "rsa": Measure("rsa/distance=euclidean/correlation=spearman", _ranks, _correlations, _CONSTANT, lambda _n: 0.0),
    # a metric: 0 for features equal up to rotation and scale, pi/2 for uncorrelated ones (Williams et al. 2021)
    "angular": Measure("angular-cka/hsic=biased/unit=radian", _directions, _angles, _CONSTANT),
    # biased upwards: canonical correlations of unrelated features grow with the dimensions kept over n
    "svcca": Measure(
        f"svcca/variance={VARIANCE:g}/mean=canonical",
        _kept,
        _canonical,
        f"a batch has no more images than the dimensions kept of both layers, or {_CONSTANT}",
    ),
}


def check_measures(names: Sequence[str]) -> tuple[str, ...]:
    """The names, in the order of MEASURES and each once.

    Returns:
        Keys of MEASURES.

    Raises:
        UsageError: one is unknown.
    """
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        raise UsageError(f"unknown measure {unknown[0]!r}; known are {', '.join(MEASURES)}")
    return tuple(name for name in MEASURES if name in names)


def companions(triangles: Sequence[Tensor], names: Sequence[str], pairs: Blocks) -> Floats:
    """All measures of all pairs of layers for one batch.

    Args:
        triangles: lower triangles of the Gram matrices of all layers, shape (n, n); zeros without features.
        names: keys of MEASURES.
        pairs: which layers are compared.

    Returns:
        Float64, shape (measures, layers, layers); NaN where undefined, and 0 for pairs that weren't asked for.
    """
    grams = BatchGrams.of(triangles)
    constant = grams.traces <= 0
    values = np.zeros((len(names), len(triangles), len(triangles)))
    for place, name in enumerate(names):
        measure = MEASURES[name]
        represented = measure.represent(grams)
        for a, b in pairs:
            undefined = constant[a, None] | constant[None, b]
            values[place, a, b] = (
                measure.compare(represented[a], represented[b]).masked_fill(undefined, math.nan).cpu().numpy()
            )
    return values
