"""A model-free null: the weights of an operator in random places of its structure.

Values are permuted within each stored weight, which for a masked one is its support: whatever depends on the values'
distribution or on the mask stays, and only their arrangement goes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixanalysis.operators import Operator


@dataclass(frozen=True, eq=False)
class ShuffleNull:
    """Largest singular values of shuffled operators.

    Attributes:
        s_max: float64, shape (shuffles,), in the order in which they were drawn.
        mean: their mean.
        p_value: (1 + shuffles that reach the operator's own s_max) / (1 + shuffles).
    """

    s_max: NDArray[np.float64]
    mean: float
    p_value: float


def shuffled(operator: Operator, generator: torch.Generator) -> Operator:
    """The operator with the values of each stored weight permuted among their places."""

    def permuted(weight: Tensor) -> Tensor:
        order = torch.randperm(weight.numel(), generator=generator)
        return weight.reshape(-1)[order].view(weight.shape)

    return operator.map_weights(permuted)


def shuffle_null(operator: Operator, s_max: float, shuffles: int, seed: int = 0) -> ShuffleNull:
    """Compare the largest singular value of an operator with those of its shuffles.

    Args:
        operator: a layer's operator or its independent factor, which has the same largest value.
        s_max: its own largest singular value.
        shuffles: number of shuffles, at least 1; the p-value is never below 1/(shuffles + 1).
        seed: of the shuffles.

    Returns:
        The shuffles' largest values and the p-value.

    Raises:
        ValueError: `shuffles` is below one.
    """
    if shuffles < 1:
        msg = f"a shuffle null needs at least one shuffle, got {shuffles}"
        raise ValueError(msg)
    generator = torch.Generator().manual_seed(seed)
    found = np.array([float(shuffled(operator, generator).top(1).values[0]) for _ in range(shuffles)])
    # the same weights in the same places count as reaching it
    reached = int((found >= s_max * (1 - 1e-12)).sum())
    return ShuffleNull(found, float(found.mean()), (1 + reached) / (1 + shuffles))
