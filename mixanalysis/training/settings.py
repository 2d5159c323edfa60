"""How a network is trained; part of what names its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mixanalysis.training.augment import Augment

Optimizer = Literal["adamw", "sgd"]


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one training run.

    Attributes:
        epochs: passes over the training set; 0 keeps the initialisation.
        optimizer: AdamW, or SGD with Nesterov momentum 0.9.
        lr: peak learning rate; it falls to zero along half a cosine, step by step.
        weight_decay: decoupled for AdamW, an L2 term for SGD; applied to weight matrices alone.
        batch_size: images per step; the last batch of an epoch may be shorter.
        seed: of initialisation, masks, permutations, the order of images and their augmentation.
        augment: how the training images are changed at random (see `augment`).
        compile: whether the network runs through torch.compile.
        amp: whether matrix products run in bfloat16 (autocast); weights stay float32.
    """

    epochs: int = 60
    optimizer: Optimizer = "adamw"
    lr: float = 2e-3
    weight_decay: float = 0.01
    batch_size: int = 64
    seed: int = 0
    augment: Augment = "none"
    compile: bool = False
    amp: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.epochs < 0 or self.batch_size < 1 or not self.lr > 0 or self.weight_decay < 0:
            msg = (
                "epochs must be at least 0, batch_size at least 1, lr positive and weight_decay at least 0, got "
                f"{self.epochs}, {self.batch_size}, {self.lr} and {self.weight_decay}"
            )
            raise ValueError(msg)
        if self.optimizer not in ("adamw", "sgd"):
            msg = f'optimizer must be "adamw" or "sgd", got {self.optimizer!r}'
            raise ValueError(msg)
        if self.augment not in get_args(Augment):
            msg = f"augment must be one of {', '.join(get_args(Augment))}, got {self.augment!r}"
            raise ValueError(msg)
