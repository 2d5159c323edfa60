"""Which tensors of an unknown network are weights, and the matrices that each of them holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.errors import CheckpointError

_FUSED = re.compile(r"(^|[._])(qkv|in_proj|c_attn)([._]|$)")
_THIRDS = ("q", "k", "v")

_POSITIONS = re.compile(
    r"(^|[._])(pos_embed|position|cls_token|running_(mean|var)|relative_position)"
    r"|(^|[._])(pos_enc|pe[0-9]*|inv_freq|(cos|sin)(_cached?|_table)?)$"
)
_MASKS = re.compile(r"(^|[._])(tril|triu|masks?|masked_bias)$")
_NAMED = {
    _POSITIONS: "a position, class token or statistic by its name",
    _MASKS: "a mask of positions by its name",
}
_SCALES = re.compile(r"(^|[._])(w(eight)?_)?(scales?|scale_inv|scales_and_zeros|zeros|zero_points?|qzeros|absmax)$")
_SCORES = re.compile(r"(^|[._])((popup|mask|weight)_?)?scores$")


@dataclass(frozen=True)
class Matrix:
    """A matrix within a tensor.

    Attributes:
        suffix: what is added to the tensor's name for it.
        shape: rows and columns.
        rows: rows of the tensor's 2-D view that it takes; all by default.
        columns: columns that it takes; all by default.
        block: index of a 3-D weight's block.
        transposed: whether the tensor holds its transpose.
    """

    suffix: str
    shape: tuple[int, int]
    rows: slice | None = None
    columns: slice | None = None
    block: int | None = None
    transposed: bool = False

    @property
    def whole(self) -> bool:
        """Whether it is all of a 2-D tensor, as it is stored."""
        return self.rows is None and self.columns is None and self.block is None

    def of(self, tensor: Tensor) -> Tensor:
        """Cut it out of the tensor.

        Args:
            tensor: the weight, or its mask.

        Returns:
            Shape `shape`.
        """
        if self.block is not None:
            return tensor[self.block]
        flat = tensor.reshape(tensor.shape[0], -1)
        part = flat[self.rows or slice(None), self.columns or slice(None)]
        return part.T if self.transposed else part


def matrices(checkpoint: Checkpoint, name: str) -> list[Matrix] | str:
    """The matrices that a tensor holds.

    Args:
        checkpoint: any checkpoint.
        name: name of a tensor.

    Returns:
        Its matrices, or the reason why it holds none.
    """
    shape = checkpoint.shape(name)
    axes, kernel = len(shape), shape[2:]
    if reason := _no_weight(checkpoint, name):
        return reason
    if axes == 2 or (axes > 2 and set(kernel) == {1}):
        return list(_flat(name, (shape[0], shape[1]))) if min(shape[:2]) > 1 else "a single row or column"
    if axes == 3 and min(shape[1:]) > 1:
        return [Matrix(f"[{block}]", (shape[1], shape[2]), block=block) for block in range(shape[0])]
    named = {0: "a number", 1: "a vector"} | dict.fromkeys((3, 4, 5), "a convolution of kernel ")
    return f"{named.get(axes, f'{axes} axes')}{' x '.join(map(str, kernel)) if axes in (3, 4, 5) else ''}"


def _flat(name: str, shape: tuple[int, int]) -> Iterator[Matrix]:
    rows, columns = shape
    size = min(shape)
    if not _FUSED.search(name) or max(shape) != 3 * size:
        yield Matrix("", shape)
        return
    for third, letter in enumerate(_THIRDS):
        part = slice(third * size, (third + 1) * size)
        if rows > columns:
            yield Matrix(f".{letter}", (size, size), rows=part)
        else:  # GPT-2's Conv1D keeps inputs along the rows
            yield Matrix(f".{letter}", (size, size), columns=part, transposed=True)


def _no_weight(checkpoint: Checkpoint, name: str) -> str:
    """Why a tensor is no weight, whatever its shape; or nothing."""
    return _no_dtype_of_weights(checkpoint, name) or next(
        (reason for pattern, reason in _NAMED.items() if pattern.search(name)), _no_part(checkpoint, name)
    )


def _no_dtype_of_weights(checkpoint: Checkpoint, name: str) -> str:
    if kind := checkpoint.unreadable(name):
        return kind if kind.startswith("no values") else f"{kind}, which isn't read"
    try:
        dtype = checkpoint.dtype(name)
    except CheckpointError:
        return "a dtype that isn't read"
    if dtype.is_floating_point:
        return ""
    packed = len(checkpoint.shape(name)) == 2 and dtype in (torch.int8, torch.uint8, torch.int32)
    what = "not a weight, or a quantised one without its scales" if packed else "not a weight"
    return f"{str(dtype).removeprefix('torch.')}, {what}"


def _no_part(checkpoint: Checkpoint, name: str) -> str:
    """Why a tensor is no weight beside the weight of its module; or nothing."""
    siblings = _siblings(checkpoint, name)
    if _SCALES.search(name) and any(checkpoint.quantised(other) for other in siblings):
        return "scales of a quantised weight"
    if _SCORES.search(name) and any(checkpoint.shape(other) == checkpoint.shape(name) for other in siblings):
        return "scores that choose a mask (edge-popup); the share that they keep isn't stored, so no mask is applied"
    return ""


def _siblings(checkpoint: Checkpoint, name: str) -> list[str]:
    """The other tensors of a tensor's module, of the names that weights have."""
    parent, dot, _ = name.rpartition(".")
    leaves = ("weight", "qweight", "weight_packed", "w_q", "W_q")
    return [f"{parent}{dot}{leaf}" for leaf in leaves if f"{parent}{dot}{leaf}" in checkpoint]
