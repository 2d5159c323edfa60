"""A network from a checkpoint whose tensors are reachable under a family's own names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.errors import CheckpointError
from mixanalysis.families import FAMILIES
from mixanalysis.network import Config, Network, Provenance, Support, load_weights
from mixanalysis.operators.permuted import is_permutation


class View(NamedTuple):
    """A family's tensor as another arrangement of one of the checkpoint's, or of a part of it.

    Attributes:
        name: the checkpoint's name for it.
        arrange: moves its entries, as a transpose or a reshape does, or takes a part of them; None where it is stored
            as it is. A function of a module, or a partial one of these, so that layers can be pickled.
    """

    name: str
    arrange: Callable[[Tensor], Tensor] | None = None


class Renamed:
    """A checkpoint's tensors under a family's own names.

    Args:
        checkpoint: the tensors.
        views: for each of the family's names, the checkpoint's tensor, whether it is there or not.
    """

    def __init__(self, checkpoint: Checkpoint, views: Mapping[str, View]) -> None:
        self.checkpoint, self.views = checkpoint, views

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.views and self.views[name].name in self.checkpoint

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name."""
        view = self.views[name]
        tensor = self.checkpoint.tensor(view.name)
        return tensor if view.arrange is None else view.arrange(tensor).contiguous()

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the tensor of that name."""
        view = self.views[name]
        shape = self.checkpoint.shape(view.name)
        if view.arrange is None:
            return shape
        try:
            return tuple(view.arrange(torch.empty(shape, device="meta")).shape)
        except (RuntimeError, IndexError, ValueError):
            return shape  # not of a shape that can be arranged so: told by the one that it has

    def connections(self, name: str) -> int:
        """Number of weights that its mask keeps."""
        view = self.views[name]
        if view.arrange is None:
            return self.checkpoint.connections(view.name)
        support = self.support(name)
        return torch.Size(self.shape(name)).numel() if support is None else len(support.values)

    def support(self, name: str) -> Support | None:
        """Connections of the tensor of that name, where it has a mask and is a matrix."""
        view = self.views[name]
        support = self.checkpoint.support(view.name)
        if support is None or view.arrange is None:
            return support
        # numbered from one, so that every connection can be found again after it has moved
        numbers = torch.zeros(self.checkpoint.shape(view.name), dtype=torch.int64)
        numbers[support.rows, support.columns] = torch.arange(1, len(support.values) + 1)
        moved = view.arrange(numbers)
        if moved.ndim != 2:
            return None
        rows, columns = torch.nonzero(moved, as_tuple=True)
        return Support(rows, columns, support.values[moved[rows, columns] - 1])


def skeleton(config: Config) -> nn.Module:
    """The module of a configuration without memory for its weights.

    Returns:
        Its parameters and buffers are on the meta device.

    Raises:
        ValueError: the sizes are beyond what a tensor can have.
    """
    try:
        with torch.device("meta"):
            return FAMILIES[config.family].module(config)
    except (RuntimeError, TypeError, ArithmeticError):
        msg = f"its config has sizes that no {config.family} can have"
        raise ValueError(msg) from None


def assemble(
    checkpoint: Checkpoint,
    config: Config,
    *,
    layout: str,
    rename: Callable[[str], str | View] = str,
    initialised: bool = False,
    training: Mapping[str, object] | None = None,
) -> Network:
    """Check that the checkpoint holds what the configuration needs, and put the network together.

    Args:
        checkpoint: where it comes from.
        config: the family's configuration.
        layout: name of the layout.
        rename: the checkpoint's name for each of the family's own, or a view of the tensor of that name.
        initialised: whether the weights began as this package initialises them.
        training: the training record that the file carries.

    Returns:
        The network, whose tensors are read when they are asked for.

    Raises:
        CheckpointError: tensors are missing, have another shape or kind than the configuration says, or are no
            permutations where it says so.
    """
    module = skeleton(config)
    expected = {name: value for name, value in module.state_dict().items() if not name.endswith(".mask")}
    views = {name: view if isinstance(view := rename(name), View) else View(view) for name in expected}
    weights = Renamed(checkpoint, views)
    problems = [problem for name, value in expected.items() if (problem := _problem(weights, name, value))]
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        message = (
            f"{checkpoint.path}: doesn't hold the {config.family} that its {layout} layout describes: "
            f"{'; '.join(problems[:3])}{more}"
        )
        raise CheckpointError(message)
    family = FAMILIES[config.family]
    used = {view.name for view in views.values()}
    unused = (*(name for name in checkpoint.names if name not in used), *checkpoint.ignored)
    layers = family.layers(config, weights)
    # a tensor may be seen in several places, or its parts in different ones
    trained = {views[name].name for name, _ in module.named_parameters()}
    return Network(
        label=label(checkpoint.path),
        config=config,
        layers=layers if initialised else tuple(replace(layer, declared_variance=None) for layer in layers),
        taps=family.taps(config),
        parameters=sum(checkpoint.connections(name) for name in trained),
        provenance=Provenance(
            checkpoint.path, checkpoint.format, checkpoint.wrapper, layout, unused, dict(training or {})
        ),
        make_module=lambda: load_weights(skeleton(config), weights),
        weights=weights,
    )


def label(path: Path) -> str:
    """Short name of a checkpoint: its file's, without the ending."""
    return path.name.removesuffix(path.suffix) or path.name


def _problem(weights: Renamed, name: str, expected: Tensor) -> str:
    """The fault of a tensor, under the checkpoint's name for it; nothing for a sound one."""
    theirs = weights.views[name].name
    if name not in weights:
        return f"{theirs} is missing"
    if weights.shape(name) != tuple(expected.shape):
        return f"{theirs} has shape {_shape(weights.shape(name))}, expected {_shape(expected.shape)}"
    dtype = weights.checkpoint.dtype(theirs)
    if dtype.is_floating_point != expected.dtype.is_floating_point:
        kind = "floating-point numbers" if expected.dtype.is_floating_point else "integers"
        return f"{theirs} holds {str(dtype).removeprefix('torch.')}, expected {kind}"
    if name.endswith((".perm_in", ".perm_out")) and not is_permutation(weights.tensor(name), len(expected)):
        return f"{theirs} is not a permutation"
    return ""


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "scalar"
