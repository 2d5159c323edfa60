"""What an experiment trains: runs that are named by their content, and their places in a figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from mixanalysis.datasets import Dataset
from mixanalysis.models import (
    Config,
    MixerConfig,
    Patches,
    PKConfig,
    Sizes,
    SMixerConfig,
    StructuredMLPConfig,
    SWMLPConfig,
    configure,
)
from mixanalysis.training import TrainingConfig, prepared, run_key
from mixanalysis.training.sparse import SPARSE_BELOW

Scale = Literal["demo", "small", "paper"]
"""Minutes on two cores, hours on two cores, or the printed settings, for a GPU."""

RATE = 5e10
"""Floating-point operations a second that the estimate of a run's time goes by."""

OVERHEAD = 6e-4
"""Seconds of each mixing layer and step that it adds to them."""


@dataclass(frozen=True)
class Data:
    """Data as `open_dataset` names them, and what becomes of them.

    Attributes:
        name: of the data set.
        image_size: side of the square images that they are resized to; None as `training.plan` has it.
        patch: side of a patch in pixels.
        limit: the first so many training images alone; None for all.
    """

    name: str = "digits"
    image_size: int | None = None
    patch: int = 4
    limit: int | None = None

    @property
    def kind(self) -> str:
        """The name without a folder, such as cifar10."""
        return self.name.partition(":")[0].partition("/")[0]


@dataclass(frozen=True)
class Run:
    """One network to train.

    Attributes:
        family: name of its family.
        sizes: the numbers that name it.
        data: what it is trained and tested on.
        training: how; the seed is here.
    """

    family: str
    sizes: Sizes
    data: Data
    training: TrainingConfig

    @property
    def config(self) -> Config:
        """The family's configuration.

        Raises:
            UsageError: a size is out of range or doesn't apply.
            DataError: the data can't be read or have no labels.
        """
        return _configured(self.family, self.sizes, self.data)

    @property
    def datasets(self) -> tuple[Dataset, Dataset]:
        """Training and test set as the network takes them."""
        return _fitted(self.data)[2]

    @property
    def key(self) -> str:
        """The run's name by its content (`training.run_key`)."""
        return run_key(self.config, self.training, self.datasets[0])

    @property
    def label(self) -> str:
        """In words, for lists."""
        config, sizes = self.config, self.sizes
        tokens, channels = getattr(config, "tokens", None), getattr(config, "channels", None)
        where = f"m {config.width}" if tokens is None else f"S {tokens}, C {channels}"
        more = {"p": sizes.density, "depth": sizes.depth, "permutations": sizes.permutations}
        extra = "".join(f", {name} {_short(value)}" for name, value in more.items() if value is not None)
        how = self.training
        return f"{self.family} {where}{extra}, {self.data.name}, {how.epochs} epochs, seed {how.seed}"

    def seconds(self) -> float:
        """A rough estimate of its time on one core of a usual machine."""
        steps = -(-len(self.datasets[0]) // self.training.batch_size) * self.training.epochs
        layers, products = work(self.config)
        images = len(self.datasets[0]) * self.training.epochs
        # forward, and twice that backward, of a product and a sum each
        return steps * layers * OVERHEAD + 6 * products * images / RATE


@dataclass(frozen=True)
class Point:
    """A run's place in a figure.

    Attributes:
        run: the run.
        series: its line.
        x: where on the line.
        panel: which part of the figure.
    """

    run: Run
    series: str
    x: float
    panel: str = ""


def work(config: Config) -> tuple[int, float]:
    """Mixing layers of a network, and multiplications of one image in them as they are trained on a CPU."""
    if isinstance(config, MixerConfig | PKConfig | SMixerConfig):
        hidden = (0, 0) if isinstance(config, SMixerConfig) else (config.token_hidden, config.channel_hidden)
        per_layer = [
            copies * side * (h or side)
            for side, copies, h in zip(
                (config.tokens, config.channels), (config.channels, config.tokens), hidden, strict=True
            )
        ]
        repeats = 2 if hidden[0] else 1
        return 2 * repeats * config.depth, float(repeats * config.depth * sum(per_layer))
    if isinstance(config, SWMLPConfig):
        repeats = 2 if config.hidden else 1
        density = config.density if config.density <= SPARSE_BELOW else 1.0
        return repeats * config.depth, density * repeats * config.depth * config.size * (config.hidden or config.size)
    if isinstance(config, StructuredMLPConfig):
        return 2 * config.depth, 2.0 * config.depth * config.size * config.hidden / config.blocks
    msg = f"no rule for {type(config).__name__}"
    raise TypeError(msg)


@lru_cache(maxsize=8)
def _fitted(data: Data) -> tuple[Patches, int, tuple[Dataset, Dataset]]:
    patches, classes, (training, test) = prepared(
        data.name, patch=data.patch, image_size=data.image_size, limit=data.limit
    )
    shape = patches.input_shape
    return patches, classes, (training.at(shape).settled(), test.at(shape).settled())


@lru_cache(maxsize=4096)
def _configured(family: str, sizes: Sizes, data: Data) -> Config:
    patches, classes, _ = _fitted(data)
    return configure(family, patches, classes, sizes)


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
