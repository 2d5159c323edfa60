"""The newcomer's experiment: HK's comparison of Mixer, RP-Mixer, SW-MLP and dense MLP, on the embedded digits."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mixanalysis.datasets import open_dataset
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.network import Config, Patches
from mixanalysis.runs import Invocation, write_report
from mixanalysis.runs.costs import Cost, of_figures, of_training
from mixanalysis.runs.folder import previous_outputs
from mixanalysis.training import TrainingConfig, train

PATCHES = Patches(16, 16, 1, 4)
CLASSES = 10
EPOCHS = 30
LEARNING_RATE = 3e-3
FIGURES = 60
"""In files and on pages."""

OURS = ("checkpoints",)

Stage = Callable[[str], Callable[[int, int], None] | None]


@dataclass(frozen=True)
class Run:
    """One network of the demo."""

    name: str
    family: str
    seed: int = 0
    epochs: int = EPOCHS
    sizes: Sizes = field(default_factory=Sizes)

    @property
    def config(self) -> Config:
        """What is trained."""
        return configure(self.family, PATCHES, CLASSES, self.sizes)

    @property
    def settings(self) -> TrainingConfig:
        """How it is trained."""
        return TrainingConfig(epochs=self.epochs, lr=LEARNING_RATE, seed=self.seed)


RUNS = (
    Run("mixer", "mixer"),
    Run("mixer-seed1", "mixer", seed=1),
    Run("rp-mixer", "rp-mixer"),
    Run("sw-mlp", "sw-mlp"),
    Run("mlp", "mlp"),
    Run("mixer-untrained", "mixer", seed=2, epochs=0),
)
"""S = C = 16 and gamma = 2, so that m = 256 throughout; the SW-MLP has the Mixer's density p = 1/16."""


def cost() -> Cost:
    """What the demo will cost: training and figures; the analyses of so small networks are nothing beside them."""
    images = len(open_dataset("digits", "train"))
    parts = [of_training(run.name, run.config, images, run.epochs, run.settings.batch_size) for run in RUNS]
    return functools.reduce(operator.add, [*parts, of_figures(FIGURES)])


def run_demo(
    out: Path, *, force: bool = False, request: Invocation | None = None, stage: Stage = lambda _name: None
) -> Path:
    """Train the networks of `RUNS` into out/checkpoints and write the report into `out`.

    Finished checkpoints are kept, interrupted ones resumed.

    Args:
        out: the folder.
        force: replace checkpoints of other runs, and write into a folder that holds other files.
        request: what was asked for, for the manifest.
        stage: asked for a progress callback at each stage.

    Returns:
        The path of report.pdf.
    """
    previous_outputs(out, force=force, ours=OURS)
    data = (open_dataset("digits", "train"), open_dataset("digits", "test"))
    paths = [out / "checkpoints" / f"{run.name}.safetensors" for run in RUNS]
    for number, (run, path) in enumerate(zip(RUNS, paths, strict=True), start=1):
        progress = stage(f"{number}/{len(RUNS)} {run.name}")
        train(run.config, data, path, run.settings, force=force, progress=progress)
    return write_report(paths, "digits", out, force=force, ours=OURS, request=request, stage=stage)
