"""Plain MLPs: linear layers of any sizes with an activation between them, and with batch norms, LayerNorms or none.

A hidden layer is phi(norm(W x + b)) or norm(phi(W x + b)). Every linear layer counts as a mixing layer, the classifier
too; the width m is that of the widest hidden layer. Batch normalisation is folded in as evaluation has it: its factors
are those of the rows of the layer before it, or, after the activation, of the columns of the layer behind it. LayerNorm
is outside of the linear form.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixanalysis.families.family import Family
from mixanalysis.network.config import Patches, positive
from mixanalysis.network.effective_layers import matrix
from mixanalysis.network.network import MixingLayer, Tap, Weights
from mixanalysis.operators import Operator, Scaled

Activation = Literal["relu", "leaky-relu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity"]
Norm = Literal["none", "batch", "layer"]

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky-relu": F.leaky_relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


@dataclass(frozen=True)
class ChainLayer:
    """One linear layer and what follows it.

    Attributes:
        name: its path in the user's own module.
        outputs: features that it gives.
        bias: whether it has one.
        norm: normalisation of its outputs.
        norm_last: whether the norm comes after the activation.
        activated: whether an activation follows.
    """

    name: str
    outputs: int
    bias: bool = True
    norm: Norm = "none"
    norm_last: bool = False
    activated: bool = True


@dataclass(frozen=True)
class MLPChainConfig:
    """Configuration of a plain MLP.

    Attributes:
        patches: the images, a pixel in each patch; their channels are flattened one after another.
        layers: the linear layers in forward order, at least two; the last one is the classifier.
        input_norm: normalisation of the flattened image.
        activation: phi, torch's with its default parameters.
        norm_eps: epsilon of every norm.
    """

    patches: Patches
    layers: tuple[ChainLayer, ...]
    input_norm: Norm = "none"
    activation: Activation = "relu"
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        """Check the sizes."""
        if len(self.layers) < 2:
            msg = f"an MLP has at least two linear layers, got {len(self.layers)}"
            raise ValueError(msg)
        for layer in self.layers:
            positive(layer, "outputs")
        if len({layer.name for layer in self.layers}) < len(self.layers):
            msg = f"layers must have names of their own, got {', '.join(layer.name for layer in self.layers)}"
            raise ValueError(msg)

    @property
    def family(self) -> str:
        """The name `mlp-chain`."""
        return "mlp-chain"

    @property
    def inputs(self) -> int:
        """Numbers of one image, d."""
        return math.prod(self.patches.input_shape)

    @property
    def classes(self) -> int:
        """Outputs of the last layer."""
        return self.layers[-1].outputs

    @property
    def depth(self) -> int:
        """Hidden layers."""
        return len(self.layers) - 1

    @property
    def width(self) -> int:
        """Effective width m: units of the widest hidden layer."""
        return max(layer.outputs for layer in self.layers[:-1])

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.patches.input_shape


class LinearBlock(nn.Module):
    """A linear layer, and the norm and the activation behind it."""

    def __init__(self, config: MLPChainConfig, layer: ChainLayer, inputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, layer.outputs, bias=layer.bias)
        self.norm = _norm(layer.norm, layer.outputs, config.norm_eps)
        self.norm_last = layer.norm_last
        self.activation = config.activation if layer.activated else "identity"

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs) to (B, outputs)."""
        x = self.linear(x)
        if not self.norm_last:
            x = self.norm(x)
        if self.activation != "identity":
            x = _ACTIVATIONS[self.activation](x)
        return self.norm(x) if self.norm_last else x


class MLPChain(nn.Module):
    """The network."""

    def __init__(self, config: MLPChainConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = _norm(config.input_norm, config.inputs, config.norm_eps)
        inputs = [config.inputs, *(layer.outputs for layer in config.layers)]
        self.layers = nn.Sequential(*map(partial(LinearBlock, config), config.layers, inputs))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (B, classes) for images of shape (B, channels, H, W)."""
        logits: Tensor = self.layers(self.norm(images.flatten(1)))
        return logits


def _norm(kind: Norm, features: int, eps: float) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    return nn.BatchNorm1d(features, eps=eps) if kind == "batch" else nn.LayerNorm(features, eps=eps)


class _Affine(NamedTuple):
    """A batch norm in evaluation: x -> scale * x + shift; none where a path is empty."""

    weights: Weights
    path: str
    eps: float

    def values(self) -> tuple[Tensor, Tensor]:
        """Scale and shift, shape (features,)."""
        mean, variance, gain, bias = (
            self.weights.tensor(f"{self.path}.{name}") for name in ("running_mean", "running_var", "weight", "bias")
        )
        scale = gain / torch.sqrt(variance + self.eps)
        return scale, bias - mean * scale


def mixing_layers(config: MLPChainConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """The linear layers in forward order, with the batch norms beside them."""
    affine = partial(_Affine, weights, eps=config.norm_eps)
    before = affine("norm") if config.input_norm == "batch" else None
    layers = []
    for index, layer in enumerate(config.layers):
        path = f"layers.{index}"
        name, norm = f"{path}.linear", affine(f"{path}.norm") if layer.norm == "batch" else None
        # only an activation keeps a norm behind it away from the rows before it
        last = layer.norm_last and layer.activated and config.activation != "identity"
        behind = None if last else norm
        rows, columns = weights.shape(f"{name}.weight")
        layers.append(
            MixingLayer(
                name=name,
                block=min(index, config.depth - 1),
                role="dense",
                stage="out" if index == 0 else "in",
                shape=(rows, columns),
                connections=weights.connections(f"{name}.weight"),
                declared_variance=None,
                build=partial(_operator, weights, name, before, behind),
                build_bias=partial(_bias, weights, name, before, behind),
            )
        )
        before = norm if last else None
    return tuple(layers)


def _operator(weights: Weights, name: str, before: _Affine | None, behind: _Affine | None) -> Operator:
    weight = matrix(weights, f"{name}.weight")
    if before is None and behind is None:
        return weight
    rows, columns = (None if norm is None else norm.values()[0].to(weight.torch_dtype) for norm in (behind, before))
    return Scaled(weight, rows, columns)


def _bias(weights: Weights, name: str, before: _Affine | None, behind: _Affine | None) -> Tensor | None:
    bias = weights.tensor(f"{name}.bias") if f"{name}.bias" in weights else None
    if before is not None:
        moved = matrix(weights, f"{name}.weight").apply(before.values()[1])
        bias = moved if bias is None else bias + moved
    if behind is not None:
        scale, shift = behind.values()
        bias = shift if bias is None else scale * bias + shift
    return bias


def taps(config: MLPChainConfig) -> tuple[Tap, ...]:
    """The hidden layers, under their own names; there is no skip that they could be read before."""
    hidden = config.layers[:-1]
    return tuple(Tap(layer.name, "dense", f"layers.{index}", f"layers.{index}") for index, layer in enumerate(hidden))


FAMILIES = {"mlp-chain": Family(MLPChainConfig, MLPChain, mixing_layers, taps)}
