"""Kronecker products with an identity: one small matrix shared by many blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mixanalysis.operators.base import Operator
from mixanalysis.operators.lanczos import Search
from mixanalysis.operators.spectrum import Density, FloatArray, Spectrum, Top

IntArray = NDArray[np.integer]
Identity = Literal["left", "right"]


class Lift(Operator):
    """I_n kron W ("left": the identity stands left) or W kron I_n ("right"), never formed.

    With the column vec of Hayase & Karakida (2024), vec(W X) = (I_C kron W) vec(X) and
    vec(X V^T) = (V kron I_S) vec(X): token mixing is a left lift with n = C, channel mixing a right one with n = S.

    Args:
        factor: the operator W.
        copies: n.
        identity: the side on which the identity stands.

    Raises:
        ValueError: `copies` is below one, or `identity` is neither "left" nor "right".

    Examples:
        Token mixing of a 2 x 3 feature matrix, without forming the 6 x 6 matrix:

        >>> import torch
        >>> from mixanalysis.operators import Dense
        >>> lift = Lift(Dense(torch.tensor([[0.0, 1.0], [1.0, 0.0]])), copies=3, identity="left")
        >>> lift.shape, lift.nnz
        ((6, 6), 12)
        >>> lift.apply(torch.arange(6.0)).tolist()
        [1.0, 0.0, 3.0, 2.0, 5.0, 4.0]
    """

    def __init__(self, factor: Operator, copies: int, identity: Identity) -> None:
        if copies < 1:
            msg = f"a lift needs at least one copy, got {copies}"
            raise ValueError(msg)
        if identity not in ("left", "right"):
            msg = f'identity must be "left" or "right", got {identity!r}'
            raise ValueError(msg)
        super().__init__((factor.shape[0] * copies, factor.shape[1] * copies), factor.torch_dtype, factor.device)
        self.factor, self.copies, self.identity = factor, copies, identity

    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""
        lead, (rows, columns) = x.shape[:-1], self.factor.shape
        if self.identity == "left":
            return self.factor.apply(x.reshape(*lead, self.copies, columns)).reshape(*lead, self.copies * rows)
        blocks = x.reshape(*lead, columns, self.copies).mT
        return self.factor.apply(blocks).mT.reshape(*lead, rows * self.copies)

    @property
    def exact(self) -> bool:
        """Whether the factor's is."""
        return self.factor.exact

    def spectrum(self) -> Spectrum:
        """The factor's singular values, each `copies` times."""
        return self.factor.spectrum().times(self.copies)

    def _top(self, k: int, search: Search) -> Top:
        distinct = -(-k // self.copies)
        top = self.factor._top(distinct, replace(search, start=None))
        copy = np.arange(k) % self.copies
        of = np.arange(k) // self.copies
        return Top(
            top.values[of],
            top.residuals[of],
            top.method,
            self._copied(top.left, of, copy),
            self._copied(top.right, of, copy),
        )

    def _copied(self, vectors: FloatArray | None, of: IntArray, copy: IntArray) -> FloatArray | None:
        """Column j holds vector of[j] in the place of copy copy[j]."""
        if vectors is None:
            return None
        size, k = len(vectors), len(of)
        blocks = np.zeros((self.copies, size, k))
        blocks[copy, :, np.arange(k)] = vectors[:, of].T
        return (blocks if self.identity == "left" else blocks.swapaxes(0, 1)).reshape(-1, k)

    def _spectral_density(self, probes: int, steps: int, seed: int) -> Density:
        return self.factor._spectral_density(probes, steps, seed).times(self.copies)

    @property
    def nnz(self) -> int:
        """`copies` times the connections of the factor."""
        return self.factor.nnz * self.copies

    def row_norms(self) -> Tensor:
        """Euclidean norm of every row, shape (rows,), float64."""
        norms = self.factor.row_norms()
        return norms.repeat(self.copies) if self.identity == "left" else norms.repeat_interleave(self.copies)

    def map_weights(self, function: Callable[[Tensor], Tensor]) -> Lift:
        """The same lift of the factor's new weights."""
        return Lift(self.factor.map_weights(function), self.copies, self.identity)

    def _transpose(self) -> Lift:
        return Lift(self.factor.T, self.copies, self.identity)
