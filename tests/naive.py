"""Slow, obvious definitions, written from the papers with numpy alone; nothing of mixanalysis is imported here."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy import stats


def matrix(x):
    """A float64 copy of an array, a tensor or a list of lists."""
    return np.asarray(x).astype(np.float64)


def gram(x):
    """Inner products of all pairs of rows, one by one."""
    return np.array([[sum(a * b for a, b in zip(row, other, strict=True)) for other in x] for row in x])


def hsic1(k, ell):
    """Song et al. (2012), eq. 5, term by term."""
    n = len(k)
    k, ell = matrix(k), matrix(ell)
    np.fill_diagonal(k, 0.0)
    np.fill_diagonal(ell, 0.0)
    one = np.ones(n)
    trace = np.trace(k @ ell)
    totals = (one @ k @ one) * (one @ ell @ one) / ((n - 1) * (n - 2))
    both = 2 / (n - 2) * (one @ k @ ell @ one)
    return (trace + totals - both) / (n * (n - 3))


def hsic1_over_tuples(k, ell):
    """The U-statistic that HSIC_1 is: a mean over all ordered 4-tuples of distinct examples."""
    terms = [
        k[i][j] * (ell[i][j] + ell[q][r] - 2 * ell[i][q]) for i, j, q, r in itertools.permutations(range(len(k)), 4)
    ]
    return math.fsum(terms) / len(terms)


def unbiased_cka(x, y):
    """CKA of one batch from HSIC_1."""
    k, ell = matrix(x) @ matrix(x).T, matrix(y) @ matrix(y).T
    return hsic1(k, ell) / (math.sqrt(hsic1(k, k)) * math.sqrt(hsic1(ell, ell)))


def biased_cka(x, y):
    """Kornblith et al. (2019): |Y'X|^2 / (|X'X| |Y'Y|) of centred features, cell by cell."""
    x, y = matrix(x), matrix(y)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)

    def squared(p, q):
        return math.fsum(float(a @ b) ** 2 for a in p.T for b in q.T)

    return squared(y, x) / (math.sqrt(squared(x, x)) * math.sqrt(squared(y, y)))


def hsic0(k, ell):
    """Gretton et al. (2005): tr(KHLH) / (n - 1)^2."""
    n = len(k)
    h = np.eye(n) - np.ones((n, n)) / n
    return np.trace(matrix(k) @ h @ matrix(ell) @ h) / (n - 1) ** 2


def rbf_gram(x, share):
    """exp(-d^2 / (2 sigma^2)) with sigma a share of the median distance of all pairs (the lower of two middle ones)."""
    x = matrix(x)
    distances = np.array([[math.dist(a, b) for b in x] for a in x])
    above = sorted(distances[i, j] for i in range(len(x)) for j in range(i + 1, len(x)))
    sigma = share * above[(len(above) - 1) // 2]
    return np.exp(-(distances**2) / (2 * sigma**2))


def minibatch_cka(batches_x, batches_y, bias="unbiased", gram=lambda x: matrix(x) @ matrix(x).T):
    """Nguyen, Raghu & Kornblith (2021), eqs. 2-3: three means of HSIC over batches, and one ratio.

    Batches of fewer than four examples have no HSIC_1 and are left out.
    """
    hsic = {"unbiased": hsic1, "biased": hsic0}[bias]
    cross, own_x, own_y = [], [], []
    for x, y in zip(batches_x, batches_y, strict=True):
        if len(x) < 4:
            continue
        k, ell = gram(x), gram(y)
        cross.append(hsic(k, ell))
        own_x.append(hsic(k, k))
        own_y.append(hsic(ell, ell))
    return np.mean(cross) / (math.sqrt(np.mean(own_x)) * math.sqrt(np.mean(own_y)))


def u_centred(k):
    """Szekely & Rizzo (2014): K_ij minus the means of row and column over n - 2, plus the total's share."""
    n = len(k)
    k = matrix(k)
    np.fill_diagonal(k, 0.0)
    result = k - k.sum(axis=0) / (n - 2) - k.sum(axis=1, keepdims=True) / (n - 2) + k.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(result, 0.0)
    return result


def deconfounded_cka(batches_x, batches_y, batches_z):
    """Cui et al. (2022) with HSIC_1: the Gram matrices of z, of all batches, are regressed out of those of x and y."""

    def column(batches):
        parts = [u_centred(matrix(b) @ matrix(b).T).ravel() / math.sqrt(len(b) * (len(b) - 3)) for b in batches]
        return np.concatenate(parts)

    x, y, z = column(batches_x), column(batches_y), column(batches_z)
    x, y = (v - z * np.linalg.lstsq(z[:, None], v, rcond=None)[0][0] for v in (x, y))
    return x @ y / (np.linalg.norm(x) * np.linalg.norm(y))


def centred(x):
    """Features with their means taken off."""
    x = matrix(x)
    return x - x.mean(axis=0)


def procrustes(x, y):
    """Williams et al. (2021): the nuclear norm of X'Y over the norms of X and Y."""
    x, y = centred(x), centred(y)
    return np.linalg.svd(x.T @ y, compute_uv=False).sum() / (np.linalg.norm(x) * np.linalg.norm(y))


def mutual_knn(x, y, k=10):
    """Huh et al. (2024): mean share of the k nearest other examples that are the same in both, the first of equal."""

    def nearest(z, i):
        others = sorted((round(math.dist(z[i], z[j]), 9), j) for j in range(len(z)) if j != i)
        return {j for _, j in others[:k]}

    x, y = matrix(x), matrix(y)
    return sum(len(nearest(x, i) & nearest(y, i)) for i in range(len(x))) / (k * len(x))


def rsa(x, y):
    """Kriegeskorte et al. (2008): Spearman correlation of the distances of all pairs of examples."""
    distances = [[round(math.dist(a, b), 9) for a, b in itertools.combinations(matrix(z), 2)] for z in (x, y)]
    return stats.spearmanr(*distances).statistic


def angular_cka(x, y):
    """The angle whose cosine is the biased CKA."""
    return math.acos(min(1.0, biased_cka(x, y)))


def svcca(x, y, share=0.99):
    """Raghu et al. (2017): mean canonical correlation of the directions that carry a share of the variance."""

    def kept(z):
        u, s, _ = np.linalg.svd(centred(z), full_matrices=False)
        count = next(k for k in range(1, len(s) + 1) if (s[:k] ** 2).sum() >= share * (s**2).sum())
        return u[:, :count]

    u, v = kept(x), kept(y)
    return np.linalg.svd(u.T @ v, compute_uv=False).mean()


def jackknife_interval(values, statistic):
    """Interval of a statistic of a list, each element left out once, at 95%."""
    g = len(values)
    left_out = [statistic([*values[:i], *values[i + 1 :]]) for i in range(g)]
    mean = sum(left_out) / g
    variance = (g - 1) / g * sum((each - mean) ** 2 for each in left_out)
    half = stats.t.ppf(0.975, g - 1) * math.sqrt(variance)
    return statistic(values) - half, statistic(values) + half


def mixer_nonzeros(tokens, channels, token_hidden, channel_hidden):
    """Non-zeros and cells of the four effective matrices of a base block, counted in the matrices (column vec)."""
    matrices = (
        np.kron(np.eye(channels), np.ones((token_hidden, tokens))),
        np.kron(np.eye(channels), np.ones((tokens, token_hidden))),
        np.kron(np.ones((channel_hidden, channels)), np.eye(tokens)),
        np.kron(np.ones((channels, channel_hidden)), np.eye(tokens)),
    )
    return [(int(np.count_nonzero(matrix)), matrix.size) for matrix in matrices]


def widest_mixer(omega, gamma_s, gamma_c, steps=400_001):
    """(S, C, m) of the largest m(C), by trying C on a fine grid."""
    channels = np.geomspace(1e-3, 1e6, steps)
    half = gamma_c * channels / (2 * gamma_s)
    tokens = np.sqrt(half**2 + 2 * omega / (gamma_s * channels)) - half
    best = int(np.argmax(tokens * channels))
    return tokens[best], channels[best], tokens[best] * channels[best]


def doubled(image):
    """An image of twice the size by bilinear interpolation between pixel centres, edges repeated."""
    rows, columns = image.shape
    result = np.empty((2 * rows, 2 * columns))
    for i, j in np.ndindex(result.shape):
        y, x = (i + 0.5) / 2 - 0.5, (j + 0.5) / 2 - 0.5
        y, x = min(max(y, 0.0), rows - 1.0), min(max(x, 0.0), columns - 1.0)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
        fy, fx = y - top, x - left
        result[i, j] = (
            (1 - fy) * (1 - fx) * image[top, left]
            + (1 - fy) * fx * image[top, right]
            + fy * (1 - fx) * image[bottom, left]
            + fy * fx * image[bottom, right]
        )
    return result
