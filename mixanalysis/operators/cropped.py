"""The upper left part of an operator: inputs padded with zeros, outputs cut off."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from mixanalysis.operators.base import Operator


class Cropped(Operator):
    """A[:rows, :columns], as padded layers whose sizes aren't multiples of their blocks have it.

    Args:
        inner: the operator A.
        shape: (rows, columns) that are kept.

    Raises:
        ValueError: the shape is empty or larger than the operator's.
    """

    def __init__(self, inner: Operator, shape: tuple[int, int]) -> None:
        if not all(0 < kept <= size for kept, size in zip(shape, inner.shape, strict=True)):
            size = " x ".join(map(str, inner.shape))
            msg = f"a part of an operator of shape {size} can't have shape {shape[0]} x {shape[1]}"
            raise ValueError(msg)
        super().__init__(shape, inner.torch_dtype, inner.device)
        self.inner = inner

    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""
        padded = F.pad(x, (0, self.inner.shape[1] - self.shape[1]))
        return self.inner.apply(padded)[..., : self.shape[0]]

    def map_weights(self, function: Callable[[Tensor], Tensor]) -> Cropped:
        """The same part of the inner operator's new weights."""
        return Cropped(self.inner.map_weights(function), self.shape)

    def _transpose(self) -> Cropped:
        return Cropped(self.inner.T, (self.shape[1], self.shape[0]))


def cropped(operator: Operator, shape: tuple[int, int]) -> Operator:
    """The upper left part of an operator; itself where that is all of it."""
    return operator if operator.shape == tuple(shape) else Cropped(operator, shape)
