"""Independent blocks on the diagonal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from mixanalysis.operators.base import Operator, common_dtype
from mixanalysis.operators.spectrum import Spectrum
from mixanalysis.operators.svd import singular_values


class BlockDiagonal(Operator):
    """Blocks of one shape on the diagonal, with weights of their own: block i maps entries i b .. (i + 1) b - 1.

    Args:
        blocks: shape (blocks, rows of each, columns of each), as fly's `BlockdiagLinear` keeps its weight.

    Raises:
        ValueError: the tensor isn't three-dimensional.
    """

    def __init__(self, blocks: Tensor) -> None:
        if not isinstance(blocks, Tensor) or blocks.ndim != 3:
            got = f"a tensor of shape {tuple(blocks.shape)}" if isinstance(blocks, Tensor) else type(blocks).__name__
            msg = f"equal blocks need one tensor of shape (blocks, rows, columns), got {got}; DirectSum takes operators"
            raise ValueError(msg)
        count, rows, columns = blocks.shape
        super().__init__((count * rows, count * columns), blocks.dtype, blocks.device)
        self.blocks = blocks

    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""
        count, rows, columns = self.blocks.shape
        # one batched product: (blocks, samples, columns) with (blocks, columns, rows)
        samples = x.reshape(-1, count, columns).transpose(0, 1)
        return (samples @ self.blocks.mT).transpose(0, 1).reshape(*x.shape[:-1], count * rows)

    @property
    def exact(self) -> bool:
        """Always: the blocks are there."""
        return True

    def spectrum(self) -> Spectrum:
        """The singular values of all blocks."""
        return Spectrum.of(singular_values(self.blocks).reshape(-1), min(self.shape))

    @property
    def nnz(self) -> int:
        """Cells of the blocks."""
        return self.blocks.numel()

    def row_norms(self) -> Tensor:
        """Euclidean norm of every row, shape (rows,), float64."""
        norms: Tensor = torch.linalg.vector_norm(self.blocks.double(), dim=2)
        return norms.reshape(-1)

    def map_weights(self, function: Callable[[Tensor], Tensor]) -> BlockDiagonal:
        """The same structure with other blocks."""
        return BlockDiagonal(function(self.blocks))

    def _transpose(self) -> BlockDiagonal:
        return BlockDiagonal(self.blocks.mT)


class DirectSum(Operator):
    """Operators of any shape and structure as the blocks on a diagonal.

    Args:
        blocks: one or more operators, from the upper left to the lower right.

    Raises:
        ValueError: there is no block, or they differ in dtype.
    """

    def __init__(self, blocks: Sequence[Operator]) -> None:
        if not blocks:
            msg = "a direct sum needs at least one block, got none"
            raise ValueError(msg)
        rows, columns = (sum(block.shape[axis] for block in blocks) for axis in (0, 1))
        super().__init__((rows, columns), common_dtype(blocks), blocks[0].device)
        self.blocks = tuple(blocks)

    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""
        parts = x.split([block.shape[1] for block in self.blocks], dim=-1)
        return torch.cat([block.apply(part) for block, part in zip(self.blocks, parts, strict=True)], dim=-1)

    @property
    def exact(self) -> bool:
        """Whether all blocks' are."""
        return all(block.exact for block in self.blocks)

    def spectrum(self) -> Spectrum:
        """The singular values of all blocks; blocks both wide and tall leave zeros besides."""
        spectra = [block.spectrum() for block in self.blocks]
        values = np.concatenate([spectrum.values for spectrum in spectra])
        return Spectrum.of(values, min(self.shape), np.concatenate([spectrum.multiplicity for spectrum in spectra]))

    @property
    def nnz(self) -> int:
        """Connections of all blocks."""
        return sum(block.nnz for block in self.blocks)

    def row_norms(self) -> Tensor:
        """Euclidean norm of every row, shape (rows,), float64."""
        return torch.cat([block.row_norms() for block in self.blocks])

    def map_weights(self, function: Callable[[Tensor], Tensor]) -> DirectSum:
        """The same structure with the blocks' new weights."""
        return DirectSum([block.map_weights(function) for block in self.blocks])

    def _transpose(self) -> DirectSum:
        return DirectSum([block.T for block in self.blocks])
