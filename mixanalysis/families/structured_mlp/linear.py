"""Linear layers whose matrix is a Monarch matrix or a Kronecker product."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixanalysis.network.blocks import fan_in_normal_
from mixanalysis.network.structured import Structure


class MonarchLinear(nn.Module):
    """P2 bd(second) P1 bd(first) x + b, the permutations being transposes (`operators.Monarch`).

    Args:
        fan_in: inputs, k p.
        fan_out: outputs, k s.
        blocks: k, in both factors; between them are k min(p, s) features.
        bias: whether a bias is added.
    """

    def __init__(self, fan_in: int, fan_out: int, blocks: int, *, bias: bool = True) -> None:
        super().__init__()
        first, second = monarch_shapes(fan_in, fan_out, blocks)
        self.blocks = blocks
        self.first = nn.Parameter(fan_in_normal_(torch.empty(first), first[2]))
        self.second = nn.Parameter(fan_in_normal_(torch.empty(second), second[2]))
        self.bias = nn.Parameter(torch.zeros(fan_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, fan_in) to (B, fan_out)."""
        # (k, B, p) -> (k, B, q); feature i q + j of the middle goes to block (i q + j) mod k
        middle = torch.bmm(x.view(len(x), self.blocks, -1).transpose(0, 1), self.first.mT)
        middle = middle.transpose(0, 1).reshape(len(x), -1, self.blocks).permute(2, 0, 1)
        outer = torch.bmm(middle, self.second.mT)
        y = outer.permute(1, 2, 0).reshape(len(x), -1)
        return y if self.bias is None else y + self.bias


class KroneckerLinear(nn.Module):
    """(left kron right) x + b: on the row-major k x d matrix X of the inputs, left X right^T.

    Args:
        fan_in: inputs, k d.
        fan_out: outputs, k b.
        blocks: k; left is k x k, right b x d.
        bias: whether a bias is added.
    """

    def __init__(self, fan_in: int, fan_out: int, blocks: int, *, bias: bool = True) -> None:
        super().__init__()
        self.blocks = blocks
        self.left = nn.Parameter(fan_in_normal_(torch.empty(blocks, blocks), blocks))
        self.right = nn.Parameter(fan_in_normal_(torch.empty(fan_out // blocks, fan_in // blocks), fan_in // blocks))
        self.bias = nn.Parameter(torch.zeros(fan_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, fan_in) to (B, fan_out)."""
        features = F.linear(x.view(len(x), self.blocks, -1), self.right)
        y = torch.matmul(self.left, features).flatten(1)
        return y if self.bias is None else y + self.bias


def monarch_shapes(fan_in: int, fan_out: int, blocks: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Shapes (k, q, p) and (k, s, q) of a Monarch matrix's factors, with q = min(p, s) as in fly's `MonarchLinear`."""
    first, second = Structure("monarch", blocks).shapes((fan_in, fan_out)).values()
    return first, second
