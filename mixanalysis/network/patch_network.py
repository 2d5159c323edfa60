"""Networks on patches: S x C features with sizes, final norm and pooling, or all features flattened from the start."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from mixanalysis.network.blocks import PatchEmbedding, classifier
from mixanalysis.network.config import Patches, positive


@dataclass(frozen=True)
class PatchNetworkConfig:
    """Sizes; the configuration of each family adds its own.

    Attributes:
        patches: the images and their patches, one token each.
        classes: outputs; 0 leaves the pooled features.
        channels: C.
        depth: number of blocks.
    """

    patches: Patches
    classes: int
    channels: int
    depth: int

    def __post_init__(self) -> None:
        """Check that every size is at least one."""
        positive(self, *(name for name, value in vars(self).items() if type(value) is int and name != "classes"))

    @property
    def tokens(self) -> int:
        """S."""
        return self.patches.count

    @property
    def width(self) -> int:
        """Effective width m = S C."""
        return self.tokens * self.channels

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.patches.input_shape


class PatchSizes(Protocol):
    """What `PatchNetwork` takes from a configuration."""

    @property
    def patches(self) -> Patches:
        """The images and their patches."""

    @property
    def classes(self) -> int:
        """Outputs; 0 leaves the pooled features."""

    @property
    def channels(self) -> int:
        """C."""

    @property
    def width(self) -> int:
        """Features after the last block, m = S C."""


class PatchNetwork(nn.Module):
    """Patch embedding, blocks, norm, pooling over tokens (or all features, flattened by rows), linear classifier."""

    def __init__(
        self,
        config: PatchSizes,
        blocks: Iterable[nn.Module],
        norm: nn.Module,
        *,
        stem_norm: float | None = None,
        flatten: bool = False,
    ) -> None:
        super().__init__()
        self.config, self.flatten = config, flatten
        self.stem = PatchEmbedding(
            config.patches, config.channels, norm=stem_norm is not None, eps=1e-6 if stem_norm is None else stem_norm
        )
        self.blocks = nn.Sequential(*blocks)
        self.norm = norm
        self.head = classifier(config.width if flatten else config.channels, config.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (B, classes) for images of shape (B, channels, H, W)."""
        x = self.norm(self.blocks(self.stem(images)))
        logits: Tensor = self.head(x.flatten(1) if self.flatten else x.mean(dim=1))
        return logits


class FlatSizes(Protocol):
    """What `FlatNetwork` takes from a configuration."""

    @property
    def patches(self) -> Patches:
        """The images and their patches."""

    @property
    def classes(self) -> int:
        """Outputs; 0 leaves the features."""

    @property
    def features(self) -> int:
        """Outputs of a per-patch linear map; 0 leaves the pixels themselves."""

    @property
    def width(self) -> int:
        """Features after the last block, m."""


class FlatNetwork(nn.Module):
    """Patch embedding (or pixels), flattened; blocks; linear classifier."""

    def __init__(self, config: FlatSizes, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.stem = PatchEmbedding(config.patches, config.features) if config.features else nn.Identity()
        self.blocks = nn.Sequential(*blocks)
        self.head = classifier(config.width, config.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (B, classes) for images of shape (B, channels, H, W)."""
        logits: Tensor = self.head(self.blocks(self.stem(images).flatten(1)))
        return logits
