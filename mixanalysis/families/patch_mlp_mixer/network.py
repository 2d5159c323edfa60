"""PatchMlpMixer of the Dimension Mixer (Sapkota & Bhattarai 2023): MLPs on patches, of another size in each block.

Features are images of c channels; block j is x + fold(MLP(LN(unfold(x)))) with square patches of side p_j, whose MLP is
shared by all N_j patches. With the pixels as tokens S, and vec(features) so their image, channel after channel, a layer
is a right lift of its matrix to N_j patches beside the permutation of unfolding, of density 1/N_j. LayerNorm is outside
of the linear form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixanalysis.families.family import Family
from mixanalysis.network.blocks import Residual, classifier
from mixanalysis.network.config import positive
from mixanalysis.network.effective_layers import along, matrix
from mixanalysis.network.network import MixingLayer, Stage, Tap, Weights, block_taps
from mixanalysis.operators import Lift, Operator, Permuted


@dataclass(frozen=True)
class PatchMlpMixerConfig:
    """Configuration of a PatchMlpMixer on square images.

    Attributes:
        side: pixels of a side of an image.
        colours: channels of an image.
        channels: c; where it equals the colours, images enter as they are.
        classes: outputs.
        sizes: side of each block's patches in pixels.
        expansion: hidden features of an MLP over those of a patch.
        norm_eps: epsilon of every LayerNorm.
    """

    side: int
    colours: int
    channels: int
    classes: int
    sizes: tuple[int, ...]
    expansion: int = 2
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        """Check the sizes."""
        positive(self, "side", "colours", "channels", "classes", "expansion")
        for size in self.sizes:
            if size < 1 or self.side % size:
                msg = f"patches of {size} pixels don't divide an image of {self.side} x {self.side}"
                raise ValueError(msg)

    @property
    def family(self) -> str:
        """The name `patch-mlp-mixer`."""
        return "patch-mlp-mixer"

    @property
    def width(self) -> int:
        """Effective width m: pixels times channels."""
        return self.side**2 * self.channels

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.colours, self.side, self.side


class PatchMlp(nn.Module):
    """fold(fc2(GELU(fc1(LN(unfold(x)))))) of (B, c, H, W) features."""

    def __init__(self, size: int, features: int, expansion: int, eps: float) -> None:
        super().__init__()
        self.size = size
        self.norm = nn.LayerNorm(features, eps=eps)
        self.fc1 = nn.Linear(features, features * expansion)
        self.fc2 = nn.Linear(features * expansion, features)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the entries of each patch."""
        patches = F.unfold(x, self.size, stride=self.size).mT
        mixed = self.fc2(F.gelu(self.fc1(self.norm(patches))))
        return F.fold(mixed.mT, x.shape[-2:], self.size, stride=self.size)


class PatchMlpMixer(nn.Module):
    """The network."""

    def __init__(self, config: PatchMlpMixerConfig) -> None:
        super().__init__()
        self.config, channels = config, config.channels
        self.stem = nn.Identity() if config.colours == channels else nn.Conv2d(config.colours, channels, 1)
        self.blocks = nn.Sequential(
            *(
                Residual(nn.Identity(), PatchMlp(size, size**2 * channels, config.expansion, config.norm_eps))
                for size in config.sizes
            )
        )
        self.head = classifier(config.width, config.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (B, classes) for images of shape (B, colours, side, side)."""
        logits: Tensor = self.head(self.blocks(self.stem(images)).flatten(1))
        return logits


def mixing_layers(config: PatchMlpMixerConfig, weights: Weights) -> tuple[MixingLayer, ...]:
    """The effective layers in forward order; between them features are patches x hidden, stacked by columns."""
    return tuple(
        _layer(config, weights, block, f"{tap.before}.{fc}", stage)
        for block, tap in enumerate(taps(config))
        for fc, stage in _STAGES.items()
    )


_STAGES: dict[str, Stage] = {"fc1": "in", "fc2": "out"}


def _layer(config: PatchMlpMixerConfig, weights: Weights, block: int, name: str, stage: Stage) -> MixingLayer:
    size = config.sizes[block]
    copies = (config.side // size) ** 2
    out, into = weights.shape(f"{name}.weight")
    return MixingLayer(
        name=name,
        block=block,
        role="patch",
        stage=stage,
        shape=(out * copies, into * copies),
        connections=weights.connections(f"{name}.weight") * copies,
        declared_variance=None,
        build=partial(_operator, config, weights, name, size, stage),
        build_bias=partial(_bias, config, weights, name, size, stage),
    )


def _operator(config: PatchMlpMixerConfig, weights: Weights, name: str, size: int, stage: Stage) -> Operator:
    lift = Lift(matrix(weights, f"{name}.weight"), (config.side // size) ** 2, "right")
    unfolded = _unfolding(config, size)
    return Permuted(lift, columns=unfolded) if stage == "in" else Permuted(lift, rows=torch.argsort(unfolded))


def _bias(config: PatchMlpMixerConfig, weights: Weights, name: str, size: int, stage: Stage) -> Tensor:
    bias = along(weights.tensor(f"{name}.bias"), (config.side // size) ** 2, "channel")
    return bias if stage == "in" else bias[torch.argsort(_unfolding(config, size))]


def _unfolding(config: PatchMlpMixerConfig, size: int) -> Tensor:
    """Where each entry of vec(patches x their features) stands in the image, channel after channel."""
    count = config.side // size
    places = torch.arange(config.width).view(config.channels, count, size, count, size)
    # features of a patch are (channel, row, column), patches in raster order; vec has a feature's patches together
    return places.permute(0, 2, 4, 1, 3).flatten()


def taps(config: PatchMlpMixerConfig) -> tuple[Tap, ...]:
    """The blocks in forward order."""
    return block_taps(len(config.sizes), "patch")


FAMILIES = {"patch-mlp-mixer": Family(PatchMlpMixerConfig, PatchMlpMixer, mixing_layers, taps)}
