"""The parts that the families share: patch embedding, mixing layers, residual blocks."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixanalysis.network.config import Gelu, Patches

Axis = Literal["token", "channel"]

Activation = Literal["relu", "gelu"]
"""phi of an MLP's blocks."""

Order = Literal["none", "random", "swapped"]
"""J1 and J2 of a shared matrix: those of normal mixing along its axis, random ones, or those of the other axis."""


class PatchEmbedding(nn.Module):
    """Per-patch linear map, (B, channels, H, W) -> (B, patches, features), optionally normalised."""

    def __init__(
        self, patches: Patches, features: int, *, norm: bool = False, eps: float = 1e-6, bias: bool = True
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(patches.channels, features, patches.size, stride=patches.size, bias=bias)
        fan_in_normal_(self.proj.weight, patches.channels * patches.size**2)
        if self.proj.bias is not None:
            nn.init.zeros_(self.proj.bias)
        self.norm = nn.LayerNorm(features, eps=eps) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Embed the patches in raster order."""
        embedded: Tensor = self.norm(self.proj(images).flatten(2).mT)
        return embedded


class SharedLinear(nn.Module):
    """A mixing layer: one matrix shared along the other axis of S x C features.

    With random permutations it is HK Def. 5.1, J2 (I_copies kron W) J1, whatever the axis; the axis then only says how
    the output is shaped. The index vectors refer to row-major flattened features. Without them J1 is the commutation
    and J2 its inverse for token mixing, both are the identity for channel mixing; "swapped" is the other way round.

    Args:
        size: features in and out along the axis.
        copies: length of the other axis.
        axis: "token" maps (B, in, copies) to (B, out, copies); "channel" (B, copies, in) to (B, copies, out).
        permutation: "random" draws both permutations anew, uniformly and independently.
        bias: whether a bias, shared like the matrix, is added.
    """

    perm_in: Tensor
    perm_out: Tensor

    def __init__(
        self, size: tuple[int, int], copies: int, axis: Axis, permutation: Order, *, bias: bool = True
    ) -> None:
        super().__init__()
        self.copies, self.axis, self.permuted = copies, axis, permutation == "random"
        self.swapped = permutation == "swapped"
        self.fan_in, self.fan_out = size
        self.weight = nn.Parameter(fan_in_normal_(torch.empty(self.fan_out, self.fan_in), self.fan_in))
        self.bias = nn.Parameter(torch.zeros(self.fan_out)) if bias else None
        if self.permuted:
            self.register_buffer("perm_in", torch.randperm(self.fan_in * copies))
            self.register_buffer("perm_out", torch.randperm(self.fan_out * copies))

    def forward(self, x: Tensor) -> Tensor:
        """Mix along the axis."""
        if self.permuted:
            blocks = x.flatten(1).index_select(1, self.perm_in).unflatten(1, (self.copies, self.fan_in))
            mixed = F.linear(blocks, self.weight, self.bias).flatten(1).index_select(1, self.perm_out)
            other = (self.fan_out, self.copies) if self.axis == "token" else (self.copies, self.fan_out)
            shaped: Tensor = mixed.unflatten(1, other)
            return shaped
        if self.swapped:
            return self._swapped(x)
        if self.axis == "token":
            return F.linear(x.mT, self.weight, self.bias).mT
        return F.linear(x, self.weight, self.bias)

    def _swapped(self, x: Tensor) -> Tensor:
        entries = (x if self.axis == "token" else x.mT).flatten(1)
        mixed = F.linear(entries.unflatten(1, (self.copies, self.fan_in)), self.weight, self.bias)
        shaped: Tensor = mixed.flatten(1).unflatten(1, (self.fan_out, self.copies))
        return shaped if self.axis == "token" else shaped.mT


class MaskedLinear(nn.Module):
    """scale * (M * A) x + b with a frozen 0/1 mask M; without a mask (density 1) an ordinary linear layer.

    The weight is kept zero off the mask: once when it is made or loaded, and by masking its gradient.

    Args:
        fan_in: inputs.
        fan_out: outputs.
        density: share of cells that the mask keeps, p.
        exact: keep exactly round(p * cells) cells (Golubeva et al. 2021) instead of each with probability p.
        root_scaling: scale = 1/sqrt(p) and A ~ N(0, 1/fan_in), the main text of HK; otherwise scale = 1 and
            A ~ N(0, 1/(p fan_in)). Both start from the same law of scale * M * A.
        bias: whether a bias is added.
    """

    mask: Tensor

    def __init__(
        self, fan_in: int, fan_out: int, density: float, *, exact: bool, root_scaling: bool, bias: bool = True
    ) -> None:
        super().__init__()
        self.scale = mask_scale(density, root_scaling=root_scaling)
        self.sparse = density < 1
        weight = fan_in_normal_(torch.empty(fan_out, fan_in), fan_in * density * self.scale**2)
        if self.sparse:
            self.register_buffer("mask", draw_mask(fan_out, fan_in, density, exact=exact))
            weight *= self.mask
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(fan_out)) if bias else None
        if self.sparse:
            self.weight.register_hook(lambda gradient: gradient * self.mask)
            self.register_load_state_dict_post_hook(_zero_off_mask)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """Apply the masked matrix."""
        if self.scale != 1:
            x = x * self.scale
        return F.linear(x, self.weight, self.bias)


class Mlp(nn.Module):
    """The branch of a mixing block: fc1, GELU, and where there is one fc2, with or without an output GELU."""

    def __init__(self, fc1: nn.Module, fc2: nn.Module | None, gelu: Gelu, *, output_activation: bool) -> None:
        super().__init__()
        self.fc1 = fc1
        self.fc2 = fc2
        self.gelu = gelu
        self.output_activation = output_activation

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers."""
        x = activate(self.fc1(x), self.gelu)
        if self.fc2 is not None:
            x = self.fc2(x)
            if self.output_activation:
                x = activate(x, self.gelu)
        return x


class Residual(nn.Module):
    """A pre-norm mixing block: carry(x) + mlp(norm(x)), where carry is the identity or a resizing skip."""

    def __init__(self, norm: nn.Module, mlp: nn.Module, carry: nn.Module | None = None) -> None:
        super().__init__()
        self.norm, self.mlp = norm, mlp
        self.carry = nn.Identity() if carry is None else carry

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the skip."""
        y: Tensor = self.carry(x) + self.mlp(self.norm(x))
        return y


class BaseBlock(nn.Module):
    """A token-mixing block, then a channel-mixing block."""

    def __init__(self, token: Residual, channel: Residual) -> None:
        super().__init__()
        self.token, self.channel = token, channel

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens, then channels."""
        y: Tensor = self.channel(self.token(x))
        return y


class Branch(nn.Module):
    """B2 phi(B1 x), with or without another phi."""

    def __init__(self, fc1: nn.Module, fc2: nn.Module, activation: Activation, *, output_activation: bool) -> None:
        super().__init__()
        self.fc1, self.fc2 = fc1, fc2
        self.activation = F.relu if activation == "relu" else F.gelu
        self.output_activation = output_activation

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers."""
        x = self.fc2(self.activation(self.fc1(x)))
        return self.activation(x) if self.output_activation else x


class NoSkip(nn.Module):
    """Carries nothing past a block."""

    def forward(self, x: Tensor) -> Tensor:
        """Zero."""
        return x.new_zeros(len(x), 1)


class Resize(nn.Module):
    """The skip LN(W~ x) of a first block whose output has another size than its input."""

    def __init__(self, proj: nn.Module, features: int, eps: float) -> None:
        super().__init__()
        self.proj = proj
        self.norm = nn.LayerNorm(features, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map and normalise."""
        y: Tensor = self.norm(self.proj(x))
        return y


def token_skip(into: int, tokens: int, channels: int, eps: float) -> Resize | None:
    """The skip of a base block that maps `into` tokens to `tokens`; None for the identity, where they are as many."""
    if into == tokens:
        return None
    return Resize(SharedLinear((into, tokens), channels, "token", "none", bias=False), channels, eps)


def activate(x: Tensor, gelu: Gelu) -> Tensor:
    """The activation phi, elementwise."""
    return x if gelu == "identity" else F.gelu(x, approximate="none" if gelu == "erf" else "tanh")


def fan_in_normal_(weight: Tensor, fan_in: float) -> Tensor:
    """Fill with N(0, 1/fan_in), the initialisation that HK's spectra assume; returns the tensor."""
    if weight.is_meta:
        return weight  # the weights of a skeleton come from a checkpoint
    with torch.no_grad():
        return weight.normal_(0.0, 1.0 / math.sqrt(fan_in))


def mask_scale(density: float, *, root_scaling: bool) -> float:
    """The mask's non-zero value: 1/sqrt(p) in HK's main text, 1 in their appendix."""
    return 1.0 / math.sqrt(density) if root_scaling else 1.0


def draw_mask(rows: int, columns: int, density: float, *, exact: bool) -> Tensor:
    """A boolean mask of shape (rows, columns), Bernoulli(density) or with an exact number of ones."""
    if not exact:
        return torch.rand(rows, columns) < density
    mask = torch.zeros(rows * columns, dtype=torch.bool)
    mask[torch.randperm(rows * columns)[: round(density * rows * columns)]] = True
    return mask.view(rows, columns)


def classifier(features: int, classes: int) -> nn.Module:
    """The final linear layer, or the identity where the network has no classes."""
    if classes == 0:
        return nn.Identity()
    head = nn.Linear(features, classes)
    fan_in_normal_(head.weight, features)
    nn.init.zeros_(head.bias)
    return head


def _zero_off_mask(module: MaskedLinear, _incompatible: object) -> None:
    with torch.no_grad():
        module.weight.mul_(module.mask)
