"""Weights that torch stores by what they are computed from: weight norm, spectral norm, and masks as modules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mixanalysis.checkpoints.weights import MaskedWeight, Plain, Stored, Unknown, Weight
from mixanalysis.errors import CheckpointError
from mixanalysis.network import Support

MARK = ".parametrizations."
"""What stands in the names of tensors that torch.nn.utils.parametrize keeps for a parameter."""


@dataclass(frozen=True, eq=False)
class Computed(Weight):
    """A weight without a mask that is computed from stored tensors.

    Attributes:
        direction: the tensor that has the weight's shape.
    """

    direction: Stored
    masked = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.direction.shape

    @property
    def dtype(self) -> torch.dtype:
        """Its dtype."""
        return self.direction.dtype

    def support(self) -> Support | None:
        """None: it has no mask."""
        return None

    def connections(self) -> int:
        """All of them."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class WeightNorm(Computed):
    """W = g v / ||v||, the norm over all axes but the one that g has.

    Attributes:
        magnitude: g, of size 1 along the axes of the norm.
    """

    magnitude: Stored

    def tensor(self) -> Tensor:
        """Its values."""
        direction, magnitude = self.direction.read(), self.magnitude.read()
        axes = tuple(axis for axis, size in enumerate(magnitude.shape) if size == 1) or None
        norm = torch.linalg.vector_norm(direction, dim=axes, keepdim=magnitude.ndim > 0)
        return self.direction.finite(magnitude * direction / norm)

    @staticmethod
    def fits(magnitude: Stored, direction: Stored) -> bool:
        """Whether the shapes are those of a magnitude and a direction."""
        if len(direction.shape) < 2 or not magnitude.shape:
            return len(direction.shape) > 1
        pairs = list(zip(magnitude.shape, direction.shape, strict=False))
        own_axes = sum(one != 1 for one, _ in pairs)
        return (
            len(magnitude.shape) == len(direction.shape)
            and own_axes < 2
            and all(one in (1, size) for one, size in pairs)
        )


@dataclass(frozen=True, eq=False)
class SpectralNorm(Computed):
    """W = V / (u^T V v), V as a matrix whose rows are the axis that u has; u and v are those of the last training step.

    Attributes:
        left: u.
        right: v.
    """

    left: Stored
    right: Stored

    def tensor(self) -> Tensor:
        """Its values."""
        weight, left, right = self.direction.read(), self.left.read(), self.right.read()
        for axis, size in enumerate(weight.shape):
            if (size,) == left.shape and right.numel() * size == weight.numel() and right.ndim == 1:
                matrix = weight.movedim(axis, 0).reshape(size, -1)
                return self.direction.finite(weight / (left @ (matrix @ right)))
        shapes = f"{tuple(left.shape)} and {tuple(right.shape)}"
        raise CheckpointError(
            f"{self.direction.path}: {self.direction.name} doesn't fit its vectors of shapes {shapes}"
        )


def parametrised(parts: Mapping[str, Stored]) -> Weight:
    """The weight that a parametrised parameter's parts make.

    Args:
        parts: by their names below ``module.parametrizations.parameter``, such as "original" and "0.mask".
    """
    own = {name: part for name, part in parts.items() if name.startswith("original")}
    buffers = {name: part for name, part in parts.items() if name not in own}
    first = next(iter((own or buffers).values()))
    others = ", ".join(part.name for part in buffers.values() if part.shape != first.shape)
    reason = "belongs to a parametrisation that isn't known" + (f" (it has {others})" if others else "")
    found: Weight = Unknown(first, reason)
    if set(own) == {"original0", "original1"} and not buffers and WeightNorm.fits(own["original0"], own["original1"]):
        found = WeightNorm(own["original1"], own["original0"])
    elif set(own) == {"original"} and set(buffers) == {"0._u", "0._v"}:
        found = SpectralNorm(first, buffers["0._u"], buffers["0._v"])
    elif set(own) == {"original"} and not buffers:
        found = Plain(first)
    elif set(own) == {"original"} and not others:
        found = MaskedWeight(Plain(first), tuple(buffers.values()))
    return found
