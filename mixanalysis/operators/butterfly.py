"""Butterfly matrices: factors that mix entries a power of the block size apart."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mixanalysis.operators.base import Operator
from mixanalysis.operators.block_diagonal import BlockDiagonal, DirectSum
from mixanalysis.operators.cropped import cropped
from mixanalysis.operators.dense import Dense
from mixanalysis.operators.lift import Lift
from mixanalysis.operators.permuted import Permuted
from mixanalysis.operators.product import product


def butterfly_factor(blocks: Tensor, stride: int) -> Operator:
    """One butterfly factor, as fly's `butterfly_factor`: small blocks on entries that are `stride` apart.

    With b x b blocks, block d stride + s holds the cells between entries (d b + i) stride + s for i below b.

    Args:
        blocks: twiddle, shape (n / b, b, b).
        stride: divides n / b; b^f for the factor of index f.

    Returns:
        A permuted block-diagonal operator of shape n x n, with an exact spectrum at any size.

    Raises:
        ValueError: the blocks aren't square, or the stride doesn't divide their number.
    """
    if blocks.ndim != 3 or blocks.shape[1] != blocks.shape[2] or stride < 1 or blocks.shape[0] % stride:
        msg = (
            "a butterfly factor needs blocks of shape (n / b, b, b) and a stride that divides n / b, got "
            f"{tuple(blocks.shape)} and {stride}"
        )
        raise ValueError(msg)
    size = blocks.shape[1]
    entries = torch.arange(blocks.shape[0] * size, device=blocks.device).view(-1, size, stride).mT.reshape(-1)
    return Permuted(BlockDiagonal(blocks), rows=torch.argsort(entries), columns=entries)


class Butterfly(Operator):
    """Stacks of products of butterfly factors with 2 x 2 blocks, as torch_butterfly's `Butterfly` (Dao et al. 2019).

    A stack has `nblocks` times log2 n factors, whose strides go up in one block and down in the next. Inputs are padded
    with zeros to n, the outputs of the stacks stand one after another, and are cut. The singular values follow from the
    blocks by no rule, and are exact where the matrix is small.

    Args:
        twiddle: shape (nstacks, nblocks, log2 n, n / 2, 2, 2), real.
        shape: (rows, columns), at most (nstacks n, n), which is the default.
        increasing_stride: whether strides go up in the first block, the layer's default; not stored in a state dict.
        transposed: whether the operator is the transposed matrix, of shape (columns, rows).

    Raises:
        ValueError: the twiddle has another shape, or `shape` is too large.
    """

    def __init__(
        self,
        twiddle: Tensor,
        shape: tuple[int, int] | None = None,
        *,
        increasing_stride: bool = True,
        transposed: bool = False,
    ) -> None:
        if twiddle.ndim != 6 or twiddle.shape[3:] != (2 ** (twiddle.shape[2] - 1), 2, 2) or 0 in twiddle.shape:
            msg = (
                "a butterfly twiddle needs shape (nstacks, nblocks, log2 n, n / 2, 2, 2), got "
                f"{tuple(twiddle.shape)}; complex twiddles aren't supported"
            )
            raise ValueError(msg)
        stacks = [_stack(stack, increasing=increasing_stride) for stack in twiddle]
        full = stacks[0]
        if len(stacks) > 1:
            ones = torch.ones(len(stacks), 1, dtype=twiddle.dtype, device=twiddle.device)
            full = product(DirectSum(stacks), Lift(Dense(ones), full.shape[1], "right"))
        whole = cropped(full, full.shape if shape is None else shape)
        self.chain = whole.T if transposed else whole
        super().__init__(self.chain.shape, self.chain.torch_dtype, self.chain.device)
        self.twiddle, self.increasing_stride, self.transposed = twiddle, increasing_stride, transposed

    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""
        return self.chain.apply(x)

    @property
    def nnz(self) -> int:
        """All cells: the strides of one block lead from every entry to every other."""
        return self.shape[0] * self.shape[1]

    def map_weights(self, function: Callable[[Tensor], Tensor]) -> Butterfly:
        """The same structure with another twiddle."""
        return self._with(function(self.twiddle), transposed=self.transposed)

    def _transpose(self) -> Butterfly:
        return self._with(self.twiddle, transposed=not self.transposed)

    def _with(self, twiddle: Tensor, *, transposed: bool) -> Butterfly:
        rows, columns = reversed(self.shape) if self.transposed else self.shape
        return Butterfly(twiddle, (rows, columns), increasing_stride=self.increasing_stride, transposed=transposed)


def _stack(twiddle: Tensor, *, increasing: bool) -> Operator:
    """The factors of one stack, of shape (nblocks, log2 n, n / 2, 2, 2), in the order in which they act."""
    factors = []
    for block in twiddle:
        strides = [2**power for power in range(len(block))]
        ordered = strides if increasing else strides[::-1]
        factors += [butterfly_factor(blocks, stride) for blocks, stride in zip(block, ordered, strict=True)]
        increasing = not increasing
    return product(*reversed(factors))
