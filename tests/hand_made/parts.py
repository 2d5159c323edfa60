"""What checkpoints written by hand are made of, and formulas of their forward passes; nothing of mixanalysis."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Effective:
    """One effective layer: what it does to features of shape (rows, columns), by its formula.

    Attributes:
        apply: an affine map of such features to features.
        into: shape of the features that it takes.
        role: what it mixes.
        density: p.
        expansion: gamma.
    """

    apply: Map
    into: tuple[int, int]
    role: str
    density: float
    expansion: float


@dataclass(frozen=True)
class HandMade:
    """A checkpoint of another project, written by hand.

    Attributes:
        layout: the layout that it has to be recognised as.
        state: its tensors.
        image: (colours, height, width) of an image.
        logits: the original's forward pass.
        width: m.
        layers: its effective layers, in forward order, those of the first block at least.
        taps: names of all mixing blocks.
        assume: what its user has to say.
        skips: whether blocks have skips.
    """

    layout: str
    state: dict[str, Tensor]
    image: tuple[int, int, int]
    logits: Map
    width: int
    layers: tuple[Effective, ...]
    taps: tuple[str, ...]
    assume: dict[str, object] = field(default_factory=dict)
    skips: bool = True

    def images(self, count: int = 7) -> Tensor:
        """Random images."""
        return torch.randn(count, *self.image, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


class Draw:
    """Random float64 tensors, none of whose values is zero or one."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64) / math.sqrt(shape[-1])

    def norm(self, name: str, *shape: int, names: tuple[str, str] = ("weight", "bias")) -> dict[str, Tensor]:
        gain = 1 + 0.3 * torch.randn(*shape, generator=self.generator, dtype=torch.float64)
        return {f"{name}.{names[0]}": gain, f"{name}.{names[1]}": 0.5 * self.normal(*shape)}

    def linear(self, name: str, out: int, into: int, *, bias: bool = True) -> dict[str, Tensor]:
        weight = {f"{name}.weight": self.normal(out, into)}
        return weight | {f"{name}.bias": 0.5 * self.normal(out)} if bias else weight


def patches_by_convolution(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(B, k, H, W) with weight (C, k, P, P) to (B, S, C), patches in raster order."""
    size = weight.shape[-1]
    count, colours, height, width = images.shape
    pixels = images.reshape(count, colours, height // size, size, width // size, size)
    x = torch.einsum("bkiajc,dkac->bijd", pixels, weight) + bias
    return x.reshape(count, -1, x.shape[-1])


def normed(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm over as many last axes as the weight has."""
    axes = tuple(range(-weight.ndim, 0))
    centred = x - x.mean(dim=axes, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(dim=axes, keepdim=True) + eps) * weight + bias


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def on_tokens(weight: Tensor, bias: Tensor | float = 0.0) -> Map:
    """X of shape (..., S, C) to W X + b, b along tokens."""
    shift = bias[:, None] if isinstance(bias, Tensor) else bias
    return lambda x: torch.einsum("ts,...sc->...tc", weight, x) + shift


def on_channels(weight: Tensor, bias: Tensor | float = 0.0) -> Map:
    """X of shape (..., S, C) to X V^T + b, b along channels."""
    return lambda x: torch.einsum("dc,...sc->...sd", weight, x) + bias


def vec(x: Tensor) -> Tensor:
    """The columns of a matrix, stacked: entry (s, c) of S x C stands at c S + s."""
    return torch.cat([x[:, column] for column in range(x.shape[1])])


def matrix_of(apply: Map, into: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Matrix and shift of an affine map on vec(features), a unit at a time."""
    zero = torch.zeros(into, dtype=torch.float64)
    shift = vec(apply(zero))
    columns = []
    for column in range(into[1]):
        for row in range(into[0]):
            unit = zero.clone()
            unit[row, column] = 1
            columns.append(vec(apply(unit)) - shift)
    return torch.stack(columns, dim=1), shift
