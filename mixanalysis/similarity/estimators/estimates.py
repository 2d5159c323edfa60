"""What an estimator hands to the tables: HSIC of all pairs of layers, and the layers themselves."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixanalysis.similarity.estimators.batch_sums import Floats
from mixanalysis.similarity.estimators.hsic import Bias
from mixanalysis.similarity.sources.source import Layer


class HSICEstimates(Protocol):
    """HSIC of every pair of layers of different networks, with each group of batches or examples left out."""

    @property
    def spans(self) -> tuple[slice, ...]:
        """Positions of each network's layers."""

    @property
    def reasons(self) -> dict[int, tuple[int, str]]:
        """For layers by their positions, the batch and why their similarity is undefined."""

    @property
    def batches(self) -> NDArray[np.int64]:
        """Number of batches in each group."""

    @property
    def examples(self) -> int:
        """Number of examples used."""

    @property
    def left_out(self) -> int:
        """Number of examples in batches that were too short."""

    def hsic(self, bias: Bias = "unbiased") -> Floats:
        """HSIC over all batches or examples, shape (layers, layers)."""

    def left_out_hsic(self, bias: Bias = "unbiased") -> Floats:
        """HSIC without each group, shape (groups, layers, layers)."""

    def z(self) -> Floats:
        """HSIC_1 in standard deviations of its distribution under random pairings, shape (layers, layers)."""

    def p_values(self) -> Floats:
        """Permutation p-values of HSIC_1; NaN where no pairings were drawn."""

    def top_share(self) -> Floats:
        """Share of each layer's HSIC with itself that the largest TOP examples carry, shape (layers,)."""


class Pass(Protocol):
    """One pass over the data."""

    @property
    def layers(self) -> tuple[tuple[Layer, ...], ...]:
        """Layers of each network."""

    @property
    def sums(self) -> HSICEstimates:
        """HSIC of all pairs of them."""
