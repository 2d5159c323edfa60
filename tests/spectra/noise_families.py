"""Noise of many kinds: what weights look like without any signal."""

from __future__ import annotations

import numpy as np


def _correlated(size, rho):
    places = np.arange(size)
    return np.linalg.cholesky(rho ** np.abs(np.subtract.outer(places, places)))


def _repeated(matrix, count):
    matrix[count : 2 * count] = matrix[:count]
    return matrix


FAMILIES = {
    "Gaussian": lambda g, a, b: g.normal(size=(a, b)),
    "uniform": lambda g, a, b: g.uniform(-1, 1, (a, b)),
    "two points": lambda g, a, b: g.choice([-1.0, 1.0], (a, b)),
    "rows of lognormal scale 0.3": lambda g, a, b: np.exp(0.3 * g.normal(size=(a, 1))) * g.normal(size=(a, b)),
    "rows of lognormal scale 0.1": lambda g, a, b: np.exp(0.1 * g.normal(size=(a, 1))) * g.normal(size=(a, b)),
    "columns of lognormal scale 0.3": lambda g, a, b: np.exp(0.3 * g.normal(size=b)) * g.normal(size=(a, b)),
    "neighbouring columns correlated by 0.1": lambda g, a, b: g.normal(size=(a, b)) @ _correlated(b, 0.1).T,
    "neighbouring columns correlated by 0.3": lambda g, a, b: g.normal(size=(a, b)) @ _correlated(b, 0.3).T,
    "a mean of 0.1 standard deviations": lambda g, a, b: g.normal(size=(a, b)) + 0.1,
    "Student t, 3 degrees of freedom": lambda g, a, b: g.standard_t(3, (a, b)),
    "Student t, 5 degrees of freedom": lambda g, a, b: g.standard_t(5, (a, b)),
    "two equal rows": lambda g, a, b: _repeated(g.normal(size=(a, b)), 1),
    "half of the rows repeated": lambda g, a, b: _repeated(g.normal(size=(a, b)), a // 2),
}
"""Matrices of shape (a, b) from a generator."""
