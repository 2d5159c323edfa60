"""From paths to what is compared: networks of known families, those of the user's own code, and stored features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mixanalysis.checkpoints import Checkpoint, Weights, open_checkpoint
from mixanalysis.errors import UsageError
from mixanalysis.families.loading import with_unique_labels
from mixanalysis.network import Network
from mixanalysis.similarity.sources.factories import Factory, UserModel
from mixanalysis.similarity.sources.feature_files.read import Stored, is_stored
from mixanalysis.similarity.sources.source import Control

NetworkSource = Network | UserModel | Stored
"""What is compared: a network of a known family, one of the user's own code, or one whose features were stored."""


@dataclass(frozen=True)
class Models:
    """Which of the user's own code builds which network, as package.module:factory.

    Attributes:
        every: all of them.
        first: the first, and its controls.
        second: the second.
    """

    every: str | None = None
    first: str | None = None
    second: str | None = None

    def factories(self, count: int, controls: int) -> list[Factory | None]:
        """For each of `count` checkpoints and of their controls, what builds it; None where its layout tells.

        Returns:
            `count + controls` factories, the controls' last.

        Raises:
            UsageError: there is no second checkpoint to build.
        """
        if self.second is not None and count < 2:
            raise UsageError("--model-b: there is no second checkpoint")
        every = None if self.every is None else Factory(self.every)
        first = every if self.first is None else Factory(self.first, "--model-a")
        second = every if self.second is None else Factory(self.second, "--model-b")
        return [first, second, *[every] * (count - 2)][:count] + [first] * controls


def open_all(
    paths: Sequence[str | Path],
    load: Callable[[Sequence[str | Path]], Sequence[Network]],
    models: Models | None = None,
    floors: Sequence[str | Path] = (),
    ceilings: Sequence[str | Path] = (),
    weights: Weights = "auto",
    key: str = "",
    prefix: str = "",
) -> tuple[list[NetworkSource], list[Control]]:
    """Open checkpoints, controls last, each with a label of its own.

    Args:
        paths: of checkpoints, and of files of `store`.
        load: loads those whose layout tells their architecture.
        models: what builds the others.
        floors: checkpoints of untrained networks.
        ceilings: checkpoints of the same network from other seeds.
        weights: which of raw and averaged weights the user's own code is filled with.
        key: where in a file the table of its weights is.
        prefix: of the names of the tensors that it is filled with.

    Returns:
        What is compared, and what each stands for.

    Raises:
        CheckpointError: a checkpoint can't be read, or its tensors don't fit.
        UsageError: the user's code is of no use, or stored features are to be built.
    """
    every = [*paths, *floors, *ceilings]
    factories = (models or Models()).factories(len(paths), len(floors) + len(ceilings))
    read = partial(open_checkpoint, weights=weights, key=key, prefix=prefix)
    special = [_special(path, factory, read) for path, factory in zip(every, factories, strict=True)]
    known = iter(load([path for path, other in zip(every, special, strict=True) if other is None]))
    found: list[NetworkSource] = [next(known) if other is None else other for other in special]
    return with_unique_labels(found), controls_of(paths, floors, ceilings)


def controls_of(
    paths: Sequence[str | Path], floors: Sequence[str | Path], ceilings: Sequence[str | Path]
) -> list[Control]:
    """What each of these networks, in this order, stands for."""
    parts: tuple[tuple[Control, int], ...] = (("", len(paths)), ("floor", len(floors)), ("ceiling", len(ceilings)))
    return [control for control, count in parts for _ in range(count)]


def _special(
    path: str | Path, factory: Factory | None, read: Callable[[str | Path], Checkpoint]
) -> UserModel | Stored | None:
    """Whatever isn't a checkpoint whose layout tells its architecture."""
    if is_stored(path):
        if factory is not None and factory.option != "--model":
            raise UsageError(f"{factory.option}: {path} holds features already; nothing is to be built")
        return Stored.open(path)
    return None if factory is None else UserModel.of(read(path), factory)


def summary(contender: NetworkSource) -> str:
    """In a few words, what was opened."""
    if isinstance(contender, Network):
        return f"{contender.family}, {len(contender.taps)} blocks"
    if isinstance(contender, Stored):
        return f"{contender.provenance.layout}, {len(contender.layers)} layers, {sum(contender.rows)} images"
    return f"{contender.provenance.layout}, {sum(1 for _ in contender.module.modules()) - 1} modules"
