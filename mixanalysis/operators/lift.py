"""Kronecker products with an identity: one small matrix shared by many blocks."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mixanalysis.operators.base import Operator, Spectrum

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
    """

    def __init__(self, factor: Operator, copies: int, identity: Identity) -> None:
        if copies < 1:
            msg = f"a lift needs at least one copy, got {copies}"
            raise ValueError(msg)
        if identity not in ("left", "right"):
            msg = f'identity must be "left" or "right", got {identity!r}'
            raise ValueError(msg)
        super().__init__((factor.shape[0] * copies, factor.shape[1] * copies), factor.torch_dtype)
        self.factor, self.copies, self.identity = factor, copies, identity

    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""
        lead = x.shape[:-1]
        if self.identity == "left":
            return self.factor.apply(x.reshape(*lead, self.copies, -1)).reshape(*lead, -1)
        blocks = x.reshape(*lead, -1, self.copies).mT
        return self.factor.apply(blocks).mT.reshape(*lead, -1)

    def spectrum(self) -> Spectrum:
        """The factor's singular values, each `copies` times."""
        return self.factor.spectrum().times(self.copies)

    @property
    def nnz(self) -> int:
        """`copies` times the connections of the factor."""
        return self.factor.nnz * self.copies

    def row_norms(self) -> Tensor:
        """Euclidean norm of every row, shape (rows,), float64."""
        norms = self.factor.row_norms()
        return norms.repeat(self.copies) if self.identity == "left" else norms.repeat_interleave(self.copies)

    def _transpose(self) -> Lift:
        return Lift(self.factor.T, self.copies, self.identity)

    def _astype(self, dtype: torch.dtype) -> Lift:
        return Lift(self.factor.to(dtype), self.copies, self.identity)
