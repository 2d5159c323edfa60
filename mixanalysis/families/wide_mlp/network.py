"""The MLP that Golubeva, Neyshabur & Gur-Ari (2021) widen at a fixed number of connections (`wide-sparse-nets`, MLP1).

It has one hidden layer, no skip, and batch normalisation after the activation; both its matrices are sparse. The width
m is that of the hidden layer: connections are p d m between the d pixels and it, and p m K to the K classes. So the
first layer is an output side with gamma = d/m, and the classifier an input side with gamma = K/m. Batch normalisation
is outside of the linear form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from mixanalysis.families.family import Family
from mixanalysis.network.config import Patches, positive
from mixanalysis.network.effective_layers import matrix
from mixanalysis.network.network import MixingLayer, Stage, Tap, Weights
from mixanalysis.operators import Operator


@dataclass(frozen=True)
class WideMLPConfig:
    """Configuration of the MLP.

    Attributes:
        patches: the images, a pixel in each patch; their channels are flattened one after another.
        classes: outputs K, at least one.
        hidden: hidden units m.
        batch_norm: whether batch normalisation follows the activation.
        bias: whether the layers have biases.
        activation: "relu", or "identity" for the linear network.
        parametrisation: "standard", or "ntk" for layers multiplied by 1/sqrt(inputs), biases too.
    """

    patches: Patches
    classes: int
    hidden: int
    batch_norm: bool = True
    bias: bool = True
    activation: Literal["relu", "identity"] = "relu"
    parametrisation: Literal["standard", "ntk"] = "standard"

    def __post_init__(self) -> None:
        """Check the sizes."""
        positive(self, "classes", "hidden")
        if self.activation not in ("relu", "identity"):
            msg = f"activation must be relu or identity, got {self.activation}"
            raise ValueError(msg)

    @property
    def family(self) -> str:
        """The name `wide-mlp`."""
        return "wide-mlp"

    @property
    def inputs(self) -> int:
        """Pixels of all colours, d."""
        return math.prod(self.patches.input_shape)

    @property
    def width(self) -> int:
        """Effective width m."""
        return self.hidden

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.patches.input_shape

    def scale(self, inputs: int) -> float:
        """Factor of a layer of so many inputs."""
        return 1 / math.sqrt(inputs) if self.parametrisation == "ntk" else 1.0


class HiddenLayer(nn.Module):
    """norm(phi(scale (W x + b)))."""

    def __init__(self, config: WideMLPConfig) -> None:
        super().__init__()
        self.fc = nn.Linear(config.inputs, config.hidden, bias=config.bias)
        self.scale, self.linear = config.scale(config.inputs), config.activation == "identity"
        self.norm = nn.BatchNorm1d(config.hidden, eps=1e-5) if config.batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Hidden features as the classifier takes them."""
        hidden = self.scale * self.fc(x)
        y: Tensor = self.norm(hidden if self.linear else F.relu(hidden))
        return y


class WideMLP(nn.Module):
    """The network."""

    def __init__(self, config: WideMLPConfig) -> None:
        super().__init__()
        self.config, self.scale = config, config.scale(config.hidden)
        self.hidden = HiddenLayer(config)
        self.head = nn.Linear(config.hidden, config.classes, bias=config.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (B, classes) for images of shape (B, channels, H, W)."""
        logits: Tensor = self.scale * self.head(self.hidden(images.flatten(1)))
        return logits


def mixing_layers(config: WideMLPConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """Both layers, multiplied by their factors."""
    return (
        _layer(weights, "hidden.fc", "out", config.scale(config.inputs)),
        _layer(weights, "head", "in", config.scale(config.hidden)),
    )


def _layer(weights: Weights, name: str, stage: Stage, scale: float) -> MixingLayer:
    rows, columns = weights.shape(f"{name}.weight")
    return MixingLayer(
        name=name,
        block=0,
        role="dense",
        stage=stage,
        shape=(rows, columns),
        connections=weights.connections(f"{name}.weight"),
        declared_variance=None,
        build=partial(_operator, weights, name, scale),
        build_bias=partial(_bias, weights, name, scale),
    )


def _operator(weights: Weights, name: str, scale: float) -> Operator:
    return matrix(weights, f"{name}.weight").map_weights(lambda weight: weight * scale)


def _bias(weights: Weights, name: str, scale: float) -> Tensor | None:
    return weights.tensor(f"{name}.bias") * scale if f"{name}.bias" in weights else None


def taps(_config: WideMLPConfig) -> tuple[Tap, ...]:
    """The hidden layer; there is no skip that it could be read before."""
    return (Tap("hidden", "dense", "hidden", "hidden"),)


FAMILIES = {"wide-mlp": Family(WideMLPConfig, WideMLP, mixing_layers, taps)}
