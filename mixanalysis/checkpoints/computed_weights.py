"""Weights that the network computes from several stored tensors: quantised ones with scales, and low-rank updates."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mixanalysis.checkpoints.lazy_tensors import Entry
from mixanalysis.checkpoints.parametrisations import Computed
from mixanalysis.checkpoints.weights import Stored, Weight
from mixanalysis.errors import CheckpointError
from mixanalysis.network import Support

SCALES = ("_scale_inv", "_scale")
"""Endings of the names of scales, beside the quantised weight that they multiply."""

BLOCK = 128
"""Side of the square blocks that fp8 checkpoints use, the last of a row or column cut off."""

_FACTOR = re.compile(r"(.*)\.lora_A((?:\.[^.]+)*?)(\.weight)?")


@dataclass(frozen=True, eq=False)
class ScaledWeight(Computed):
    """A quantised weight times its scales: one for all, one per row, or one per block.

    Attributes:
        scale: a number, or shape (rows, 1) or (row blocks, column blocks).
    """

    scale: Stored

    @property
    def dtype(self) -> torch.dtype:
        """float32, in which the product is formed."""
        return torch.float32

    def tensor(self) -> Tensor:
        """The product.

        Returns:
            Of the weight's shape, float32.
        """
        scale = self.scale.read().float()
        if scale.ndim == 2:
            for axis, block in enumerate(blocks(self.shape, self.scale.shape) or (1, 1)):
                scale = scale.repeat_interleave(block, axis).narrow(axis, 0, self.shape[axis])
        return self.direction.finite(self.direction.read().float() * scale)


def scaled(stored: Mapping[str, Stored], name: str) -> ScaledWeight | None:
    """The weight of that name times its scales, where it is of eight bits and there are some.

    Args:
        stored: the tensors of a state dict by name.
        name: name of a tensor.

    Returns:
        None for a tensor without scales, or with scales of a shape that isn't known.
    """
    scale = next((stored[name + ending] for ending in SCALES if name + ending in stored), None)
    entry = stored[name].entry
    if scale is None or not isinstance(entry, Entry) or not entry.quantised or len(entry.shape) != 2:
        return None
    known = math.prod(scale.shape) == 1 or blocks(stored[name].shape, scale.shape) is not None
    return ScaledWeight(stored[name], scale) if known else None


def blocks(shape: tuple[int, ...], scales: tuple[int, ...]) -> tuple[int, int] | None:
    """Rows and columns of a matrix that one of its scales is for.

    Args:
        shape: of the matrix.
        scales: shape of the table of scales.

    Returns:
        The block's sides, or None where no blocks of one size make up the matrix.

    Examples:
        >>> blocks((256, 128), (8, 4)), blocks((576, 256), (5, 2)), blocks((96, 64), (96, 1))
        ((32, 32), (128, 128), (1, 64))
    """
    if len(shape) != 2 or len(scales) != 2 or 0 in shape or 0 in scales:
        return None
    if all(-(-size // BLOCK) == count for size, count in zip(shape, scales, strict=True)):
        return BLOCK, BLOCK
    if any(size % count for size, count in zip(shape, scales, strict=True)):
        return None
    return shape[0] // scales[0], shape[1] // scales[1]


@dataclass(frozen=True, eq=False)
class LowRankUpdate(Weight):
    """The update B A of a LoRA adapter, without its factor alpha / r, which isn't stored with it.

    Attributes:
        down: A, shape (rank, columns).
        up: B, shape (rows, rank).
    """

    down: Stored
    up: Stored
    masked = False

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns)."""
        return self.up.shape[0], self.down.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """That of its factors."""
        return self.up.dtype

    def factors(self) -> tuple[Tensor, Tensor]:
        """B and A.

        Returns:
            Shapes (rows, rank) and (rank, columns).

        Raises:
            CheckpointError: they differ in dtype, or can't be read.
        """
        if self.up.dtype != self.down.dtype:
            raise CheckpointError(f"{self.up.path}: {self.up.name} and {self.down.name} differ in dtype")
        return self.up.read(), self.down.read()

    def tensor(self) -> Tensor:
        """The product B A.

        Returns:
            Shape (rows, columns).
        """
        up, down = self.factors()
        return (up.float() @ down.float()).to(up.dtype) if up.dtype.itemsize < 4 else up @ down

    def support(self) -> Support | None:
        """None: it has no mask."""
        return None

    def connections(self) -> int:
        """All of the product."""
        return math.prod(self.shape)


def low_rank(stored: Mapping[str, Stored], name: str) -> tuple[str, str, LowRankUpdate] | None:
    """The LoRA update whose factor A has that name.

    Args:
        stored: the tensors of a state dict by name.
        name: name of a tensor.

    Returns:
        A name for the update, the name of B, and the update; None for other tensors.
    """
    match = _FACTOR.fullmatch(name)
    if match is None:
        return None
    owner, adapter, ending = match[1], match[2], match[3] or ""
    partner = f"{owner}.lora_B{adapter}{ending}"
    down, up = stored[name], stored.get(partner)
    if up is None or len(down.shape) != 2 or len(up.shape) != 2 or up.shape[1] != down.shape[0]:
        return None
    variant = "" if adapter in ("", ".default") else adapter
    return f"{owner}.lora{variant}.weight", partner, LowRankUpdate(down, up)
