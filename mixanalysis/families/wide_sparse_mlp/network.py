"""Wide sparse MLPs: what Mixers and their relatives effectively are (HK section 2), with every connection its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from mixanalysis.families.family import Family
from mixanalysis.network.blocks import NoSkip, Residual, classifier
from mixanalysis.network.config import Patches, positive
from mixanalysis.network.effective_layers import masked_layer
from mixanalysis.network.network import MixingLayer, Role, Tap, Weights
from mixanalysis.network.sparse_linear import CSRLinear

Activation = Literal["gelu", "gelu-tanh", "relu", "identity"]
Pooling = Literal["mean", "first", "flatten"]
Skip = Literal["identity", "resized", "none"]
Mixes = Literal["token", "channel", "dense"]


@dataclass(frozen=True)
class WideSparseBlock:
    """One block: skip(x) + B2 phi(B1 norm(x)), or skip(x) + B1 norm(x), with or without another phi.

    Attributes:
        name: label of its features, unique in its network.
        role: what its layers mix.
        inputs: features that it takes.
        hidden: hidden features; 0 for a block of one layer.
        outputs: features that it gives.
        norm: features that are normalised together, those of one token; 0 for no LayerNorm.
        skip: "identity", "resized" for norm(B x) with a layer of its own, or "none".
        skip_norm: features that a resizing skip normalises together; 0 for no LayerNorm.
        output_activation: whether phi also follows the last layer.
    """

    name: str
    role: Mixes
    inputs: int
    hidden: int
    outputs: int
    norm: int
    skip: Skip = "identity"
    skip_norm: int = 0
    output_activation: bool = False

    def __post_init__(self) -> None:
        """Check the sizes."""
        positive(self, "inputs", "outputs")
        if self.hidden < 0:
            msg = f"hidden must be at least 0, got {self.hidden}"
            raise ValueError(msg)
        if self.skip == "identity" and self.inputs != self.outputs:
            msg = f"the skip of block {self.name} is the identity, but it takes {self.inputs} and gives {self.outputs}"
            raise ValueError(msg)
        _check_norm("norm", self.norm, self.inputs)
        _check_norm("skip_norm", self.skip_norm, self.outputs if self.skip == "resized" else 0)


@dataclass(frozen=True)
class WideSparseConfig:
    """Configuration of a wide sparse MLP on x in R^m.

    For S x C features x is vec(X), which stacks the columns of X: entry (s, c) stands at c S + s. A layer that was
    shared, permuted or factorised is one sparse matrix.

    Attributes:
        patches: the images; their pixels, flattened, are what the network takes.
        classes: outputs; 0 leaves the pooled features.
        blocks: in forward order.
        embedding: whether a sparse layer maps the pixels to the first block's inputs.
        embedding_norm: features that are normalised together after it; 0 for no LayerNorm.
        final_norm: features that are normalised together after the blocks; 0 for no LayerNorm.
        tokens: S after the last block; 1 for plain vectors.
        pooling: what the classifier takes: the mean over tokens, the first token, or all m features.
        activation: phi; GELU exact or in its tanh approximation, ReLU, or the identity.
        bias: whether layers have biases.
        norm_eps: epsilon of every LayerNorm.
    """

    patches: Patches
    classes: int
    blocks: tuple[WideSparseBlock, ...]
    embedding: bool
    embedding_norm: int
    final_norm: int
    tokens: int
    pooling: Pooling
    activation: Activation
    bias: bool = True
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        """Check that the sizes fit each other."""
        positive(self, "depth", "tokens")
        if not self.embedding and self.pixels != self.blocks[0].inputs:
            msg = f"without an embedding the first block takes the {self.pixels} pixels, got {self.blocks[0].inputs}"
            raise ValueError(msg)
        for before, after in pairwise(self.blocks):
            if before.outputs != after.inputs:
                msg = f"block {before.name} gives {before.outputs} features, but {after.name} takes {after.inputs}"
                raise ValueError(msg)
        if len({block.name for block in self.blocks}) < self.depth:
            msg = f"blocks must have names of their own, got {', '.join(block.name for block in self.blocks)}"
            raise ValueError(msg)
        _check_norm("embedding_norm", self.embedding_norm, self.blocks[0].inputs if self.embedding else 0)
        _check_norm("final_norm", self.final_norm, self.width)
        if self.width % self.tokens:
            msg = f"tokens must divide {self.width} features, got {self.tokens}"
            raise ValueError(msg)

    @property
    def family(self) -> str:
        """The name `wide-sparse-mlp`."""
        return "wide-sparse-mlp"

    @property
    def depth(self) -> int:
        """Blocks."""
        return len(self.blocks)

    @property
    def width(self) -> int:
        """Effective width m: features after the last block."""
        return self.blocks[-1].outputs

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.patches.input_shape

    @property
    def pixels(self) -> int:
        """Entries of one image."""
        return self.patches.channels * self.patches.height * self.patches.width


def _check_norm(name: str, norm: int, size: int) -> None:
    """Raise unless tokens of `norm` features make up `size` of them; 0 is no norm, the only choice where size is 0."""
    if norm < 0 or (norm and (not size or size % norm)):
        msg = f"{name} must be 0 or divide {size} features, got {norm}"
        raise ValueError(msg)


class TokenNorm(nn.LayerNorm):
    """LayerNorm of each token of vec(X): of the entries that are `len(v) / normalized` apart."""

    def forward(self, v: Tensor) -> Tensor:
        """Normalise (B, m) to (B, m)."""
        return super().forward(v.unflatten(1, (self.normalized_shape[0], -1)).mT).mT.flatten(1)


class Mapped(nn.Module):
    """norm(B x): the embedding of the pixels, or a resizing skip."""

    def __init__(self, proj: CSRLinear, norm: nn.Module) -> None:
        super().__init__()
        self.proj, self.norm = proj, norm

    def forward(self, x: Tensor) -> Tensor:
        """Map and normalise."""
        y: Tensor = self.norm(self.proj(x))
        return y


class SparseBranch(nn.Module):
    """B2 phi(B1 x) or B1 x, with or without another phi."""

    def __init__(self, block: WideSparseBlock, activation: Activation, *, bias: bool) -> None:
        super().__init__()
        self.fc1 = CSRLinear(block.inputs, block.hidden or block.outputs, bias=bias)
        self.fc2 = CSRLinear(block.hidden, block.outputs, bias=bias) if block.hidden else None
        self.activation, self.output_activation = activation, block.output_activation

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers."""
        x = self.fc1(x)
        if self.fc2 is not None:
            x = self.fc2(_activated(x, self.activation))
        return _activated(x, self.activation) if self.output_activation else x


class WideSparseMLP(nn.Module):
    """The network; its weights are given by a checkpoint, there is no initialisation."""

    def __init__(self, config: WideSparseConfig) -> None:
        super().__init__()
        self.config = config
        first = config.blocks[0].inputs
        self.stem = (
            Mapped(CSRLinear(config.pixels, first), _norm(config.embedding_norm, config))
            if config.embedding
            else nn.Identity()
        )
        self.blocks = nn.Sequential(*(_block(config, block) for block in config.blocks))
        self.norm = _norm(config.final_norm, config)
        pooled = config.width if config.pooling == "flatten" else config.width // config.tokens
        self.head = classifier(pooled, config.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (B, classes) for images of shape (B, channels, H, W)."""
        v = self.norm(self.blocks(self.stem(images.flatten(1))))
        if self.config.pooling != "flatten":
            x = v.unflatten(1, (-1, self.config.tokens))
            v = x.mean(dim=2) if self.config.pooling == "mean" else x[:, :, 0]
        logits: Tensor = self.head(v)
        return logits


def _block(config: WideSparseConfig, block: WideSparseBlock) -> Residual:
    carry: nn.Module | None = None
    if block.skip == "none":
        carry = NoSkip()
    elif block.skip == "resized":
        carry = Mapped(CSRLinear(block.inputs, block.outputs, bias=False), _norm(block.skip_norm, config))
    return Residual(_norm(block.norm, config), SparseBranch(block, config.activation, bias=config.bias), carry)


def _norm(features: int, config: WideSparseConfig) -> nn.Module:
    return TokenNorm(features, eps=config.norm_eps) if features else nn.Identity()


def _activated(x: Tensor, activation: Activation) -> Tensor:
    if activation in ("relu", "identity"):
        return F.relu(x) if activation == "relu" else x
    return F.gelu(x, approximate="none" if activation == "gelu" else "tanh")


def mixing_layers(config: WideSparseConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """The layers in forward order, from a checkpoint under the module's names.

    No initialisation is declared: the connections of a shared weight are copies of each other.

    Returns:
        One or two layers of each block, and the resizing skips.
    """
    layers = []
    for index, (block, tap) in enumerate(zip(config.blocks, taps(config), strict=True)):
        names = [f"{tap.before}.{name}" for name in (("fc1", "fc2") if block.hidden else ("fc1",))]
        if block.skip == "resized":
            layers.append(_layer(weights, f"{tap.after}.carry.proj", index, "skip"))
        layers += [_layer(weights, name, index, block.role) for name in names]
    return tuple(layers)


def _layer(weights: Weights, name: str, block: int, role: Role) -> MixingLayer:
    layer = masked_layer(weights, name, block=block, density=1.0, root_scaling=False, role=role)
    return replace(layer, declared_variance=None)


def taps(config: WideSparseConfig) -> tuple[Tap, ...]:
    """The blocks in forward order."""
    return tuple(
        Tap(block.name, block.role, f"blocks.{index}.mlp", f"blocks.{index}")
        for index, block in enumerate(config.blocks)
    )


FAMILIES = {"wide-sparse-mlp": Family(WideSparseConfig, WideSparseMLP, mixing_layers, taps)}
