"""Monarch and butterfly matrices cell by cell, from their definitions; nothing here is shared with the package."""

from __future__ import annotations

import torch


def monarch(first, second, shape):
    """[Pi(l s, s) bd(second) Pi(l r, l) bd(first)][:rows, :columns]."""
    (k, q, _), (blocks, s, _) = first.shape, second.shape
    whole = pi(blocks * s, s) @ torch.block_diag(*second) @ pi(k * q, blocks) @ torch.block_diag(*first)
    return whole[: shape[0], : shape[1]]


def pi(n, d):
    """'b (r d) -> b (d r)': new[i n/d + j] = old[j d + i]."""
    matrix = torch.zeros(n, n, dtype=torch.float64)
    for i in range(d):
        for j in range(n // d):
            matrix[i * (n // d) + j, j * d + i] = 1
    return matrix


def factor(twiddle, stride):
    """W[d b st + i st + s, d b st + j st + s] = twiddle[d st + s, i, j]."""
    count, b, _ = twiddle.shape
    matrix = torch.zeros(count * b, count * b, dtype=torch.float64)
    for index in range(count):
        d, s = divmod(index, stride)
        for i in range(b):
            for j in range(b):
                matrix[d * b * stride + i * stride + s, d * b * stride + j * stride + s] = twiddle[index, i, j]
    return matrix


def butterfly(twiddle, shape, *, increasing):
    """The layer's own loop: strides up in one block and down in the next; outputs of the stacks one after another."""
    outputs = []
    for stack in twiddle:
        matrix = torch.eye(2 * twiddle.shape[3], dtype=torch.float64)
        up = increasing
        for block in stack:
            for index, blocks in enumerate(block):
                matrix = factor(blocks, 2 ** (index if up else len(block) - 1 - index)) @ matrix
            up = not up
        outputs.append(matrix)
    return torch.cat(outputs)[: shape[0], : shape[1]]
