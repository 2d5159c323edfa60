"""Masked layers while they are trained: where the mask is sparse enough, its connections alone are stored and moved."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mixanalysis.network.blocks import MaskedLinear
from mixanalysis.network.sparse_linear import hear_the_announcement

SPARSE_BELOW = 0.2
"""Largest density that is trained sparsely: a step of 2048 x 1024 weights then takes half of the dense one's time, and
still 0.7 to 0.8 of it at a density of 0.3 (one core, batches of 64 and 128)."""


class SparseLinear(nn.Module):
    """A `MaskedLinear` whose parameter is the vector of its connections, in CSR order.

    The same map and the same gradients of the connections as of the masked layer, up to rounding; products with the
    matrix, its transpose and the outer product of its gradient cost as much as there are connections.

    Args:
        masked: the layer whose weights and mask are taken over.
    """

    rows: Tensor
    columns: Tensor
    starts: Tensor
    order: Tensor
    transposed_starts: Tensor
    transposed_columns: Tensor

    def __init__(self, masked: MaskedLinear) -> None:
        super().__init__()
        hear_the_announcement()
        self.scale, self.shape = masked.scale, (masked.weight.shape[0], masked.weight.shape[1])
        rows, columns = masked.mask.nonzero(as_tuple=True)
        order = torch.argsort(columns, stable=True)
        self.values = nn.Parameter(masked.weight.detach()[rows, columns])
        self.bias = masked.bias
        buffers = {
            "rows": rows,
            "columns": columns,
            "starts": _starts(rows, self.shape[0]),
            # the transposed matrix: its entries are the values in another order
            "order": order,
            "transposed_starts": _starts(columns[order], self.shape[1]),
            "transposed_columns": rows[order],
        }
        for name, index in buffers.items():
            self.register_buffer(name, index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the masked matrix to x of shape (B, columns)."""
        y: Tensor = _Product.apply(  # type: ignore[no-untyped-call]
            x * self.scale if self.scale != 1 else x, self.values, self
        )
        return y if self.bias is None else y + self.bias

    def matrix(self, values: Tensor) -> Tensor:
        """The matrix with these values, CSR."""
        return torch.sparse_csr_tensor(self.starts, self.columns, values, self.shape, check_invariants=False)

    def transposed(self, values: Tensor) -> Tensor:
        """Its transpose, CSR."""
        starts, columns = self.transposed_starts, self.transposed_columns
        turned = (self.shape[1], self.shape[0])
        return torch.sparse_csr_tensor(starts, columns, values[self.order], turned, check_invariants=False)

    def dense(self) -> dict[str, Tensor]:
        """Weight and mask of the `MaskedLinear`."""
        mask = torch.zeros(self.shape, dtype=torch.bool)
        weight = torch.zeros(self.shape, dtype=self.values.dtype)
        rows, columns = self.rows.cpu(), self.columns.cpu()
        mask[rows, columns] = True
        weight[rows, columns] = self.values.detach().cpu()
        return {"weight": weight, "mask": mask}


class _Product(torch.autograd.Function):
    """x W^T for a sparse W of which only the connections have a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, layer: SparseLinear) -> Tensor:
        ctx.save_for_backward(x, values)
        ctx.layer = layer
        return (layer.matrix(values) @ x.mT).mT.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        x, values = ctx.saved_tensors
        turned = gradient.mT.contiguous()
        into = (ctx.layer.transposed(values) @ turned).mT if ctx.needs_input_grad[0] else None
        pattern = ctx.layer.matrix(torch.zeros_like(values))
        return into, torch.sparse.sampled_addmm(pattern, turned, x.contiguous(), beta=0.0).values(), None


def sparsified(module: nn.Module) -> nn.Module:
    """The module with every masked layer of at most `SPARSE_BELOW` density made a `SparseLinear`, in place.

    Weights are taken over. Without MKL, whose sparse products these are, nothing changes.

    Returns:
        The same module.
    """
    chosen = {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, MaskedLinear) and layer.sparse and float(layer.mask.double().mean()) <= SPARSE_BELOW
    }
    if chosen and torch.backends.mkl.is_available():
        for name, layer in chosen.items():
            module.set_submodule(name, SparseLinear(layer))
    return module


def family_state(module: nn.Module) -> dict[str, Tensor]:
    """The state dict under the family's own names, sparse layers as weight and mask again."""
    state = module.state_dict()
    for name, layer in module.named_modules():
        if isinstance(layer, SparseLinear):
            del state[f"{name}.values"]
            state |= {f"{name}.{part}": tensor for part, tensor in layer.dense().items()}
    return state


def _starts(sorted_rows: Tensor, count: int) -> Tensor:
    counts = torch.bincount(sorted_rows, minlength=count)
    return torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
