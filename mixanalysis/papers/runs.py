"""What an experiment trains: runs that are named by their content, and their places in a figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from mixanalysis.datasets import Dataset
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.network import Config, Patches
from mixanalysis.runs import costs
from mixanalysis.runs.costs import Cost
from mixanalysis.training import TrainingConfig, prepared, run_key

Scale = Literal["demo", "small", "paper"]
"""Minutes on two cores, hours on two cores, or the printed settings, for a GPU."""

SPEED = 5e10
"""Operations a second that runs are put in order by, longest first."""


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

    def cost(self) -> Cost:
        """What it will cost to train it."""
        return _cost(self.family, self.sizes, self.data, self.training.epochs, self.training.batch_size)

    def seconds(self) -> float:
        """A rough estimate of its time on one core of a usual machine."""
        return self.cost().seconds(SPEED)


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


@lru_cache(maxsize=4096)
def _cost(family: str, sizes: Sizes, data: Data, epochs: int, batch_size: int) -> Cost:
    images = len(_fitted(data)[2][0])
    return costs.of_training("", _configured(family, sizes, data), images, epochs, batch_size)


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
