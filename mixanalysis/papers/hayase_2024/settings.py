"""Ways of training that several figures share: as printed, and with fewer steps for the embedded data."""

from __future__ import annotations

from mixanalysis.papers.runs import Scale
from mixanalysis.training import TrainingConfig

ADAMW: dict[Scale, TrainingConfig] = {
    "demo": TrainingConfig(epochs=20, optimizer="adamw", lr=0.01, batch_size=128),
    "small": TrainingConfig(epochs=60, optimizer="adamw", lr=0.01, batch_size=128),
    "paper": TrainingConfig(epochs=600, optimizer="adamw", lr=0.01, batch_size=128),
}
"""AdamW, peak learning rate 0.01, cosine, batches of 128 (HK Fig. 2); 600 epochs are printed."""

SGD: dict[Scale, TrainingConfig] = {
    "demo": TrainingConfig(epochs=20, optimizer="sgd", lr=0.02, weight_decay=0.0, batch_size=32),
    "small": TrainingConfig(epochs=60, optimizer="sgd", lr=0.02, weight_decay=0.0, batch_size=32),
    "paper": TrainingConfig(epochs=200, optimizer="sgd", lr=0.02, weight_decay=0.0, batch_size=128),
}
"""SGD with Nesterov momentum 0.9, peak learning rate 0.02, cosine (HK Fig. 5); batches of 128 and 200 epochs are
printed, which on the few embedded images would be too few steps."""

SEEDS = (0, 1, 2)

ZERO_ONE = "one"
"""Masks in {0, 1}, with which HK describe their experiments (A.2.5). With the main text's {0, 1/sqrt p} a step of SGD
is 1/p times as long, and at the printed learning rate SW-MLPs with p below about 1/12 diverge."""
