"""Weights that torch stores by what they are computed from: weight norm, spectral norm, and masks as modules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mixanalysis.checkpoints.lazy_tensors import Entry
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


@dataclass(frozen=True, eq=False)
class Orthogonal(Computed):
    """An orthogonal weight, as `torch.nn.utils.parametrizations.orthogonal` computes it from an unconstrained matrix.

    The file doesn't say by which map, so that torch's default for the shape is taken: the matrix exponential for a
    square one, Householder reflections else. All maps give orthonormal rows or columns, and agree to second order.

    Attributes:
        base: the orthogonal matrix that it is multiplied by, of the longer side's size; None without one.
    """

    base: Stored | None

    def tensor(self) -> Tensor:
        """The orthogonal weight.

        Returns:
            Shape (..., rows, columns).
        """
        original = self.direction.read()
        narrow = original.shape[-2] < original.shape[-1]
        matrix = original.mT if narrow else original
        square = matrix.shape[-2] == matrix.shape[-1]
        turned = _exponential(matrix) if square and self.base is not None else _reflections(matrix)
        if self.base is not None:
            turned = self.base.read() @ turned
        return self.direction.finite(turned.mT if narrow else turned)

    @property
    def map(self) -> str:
        """The map that is taken."""
        square = self.shape[-2] == self.shape[-1]
        return "matrix exponential" if square and self.base is not None else "Householder reflections"


def _exponential(matrix: Tensor) -> Tensor:
    lower = matrix.tril()
    return torch.matrix_exp(lower - lower.mT)


def _reflections(matrix: Tensor) -> Tensor:
    """The product of the reflections below the diagonal, its columns times the signs on it."""
    lower = matrix.tril(diagonal=-1)
    factors = 2 / (1 + (lower * lower).sum(dim=-2))
    product = torch.linalg.householder_product(lower, factors)
    signed: Tensor = product * matrix.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)
    return signed


def _orthogonal(original: Stored, buffers: Mapping[str, Stored]) -> Orthogonal | None:
    """The orthogonal weight that these tensors make; None where they are of another parametrisation."""
    entry = original.entry
    real = isinstance(entry, Entry) and entry.dtype in (torch.float32, torch.float64)
    if not real or len(original.shape) < 2 or not set(buffers) <= {"0.base"}:
        return None
    side = max(original.shape[-2:])
    if buffers:
        fits = buffers["0.base"].shape == (*original.shape[:-2], side, side)
        return Orthogonal(original, buffers["0.base"]) if fits else None
    try:
        diagonal = original.read().diagonal(dim1=-2, dim2=-1)
    except CheckpointError:
        return None
    # without a base torch stores reflections, whose diagonal holds signs
    signs = diagonal.numel() > 0 and bool((diagonal.abs() == 1).all())
    return Orthogonal(original, None) if signs else None


def parametrised(parts: Mapping[str, Stored]) -> Weight:
    """The weight that a parametrised parameter's parts make.

    Args:
        parts: by their names below ``module.parametrizations.parameter``, such as "original" and "0.mask".

    Returns:
        The weight, computed from its parts when it is read.
    """
    own = {name: part for name, part in parts.items() if name.startswith("original")}
    buffers = {name: part for name, part in parts.items() if name not in own}
    first = next(iter((own or buffers).values()))
    others = ", ".join(part.name for part in buffers.values() if part.shape != first.shape)
    reason = "belongs to a parametrisation that isn't known" + (f" (it has {others})" if others else "")
    weight: Weight = Unknown(first, reason)
    orthogonal = _orthogonal(own["original"], buffers) if set(own) == {"original"} else None
    if set(own) == {"original0", "original1"} and not buffers and WeightNorm.fits(own["original0"], own["original1"]):
        weight = WeightNorm(own["original1"], own["original0"])
    elif set(own) == {"original"} and set(buffers) == {"0._u", "0._v"}:
        weight = SpectralNorm(first, buffers["0._u"], buffers["0._v"])
    elif orthogonal is not None:
        weight = orthogonal
    elif set(own) == {"original"} and not buffers:
        weight = Plain(first)
    elif set(own) == {"original"} and not others:
        weight = MaskedWeight(Plain(first), tuple(buffers.values()))
    return weight
