"""A network from a checkpoint whose tensors are reachable under a family's own names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.errors import CheckpointError
from mixanalysis.models import FAMILIES, Config, Network, Provenance, Support, Weights, load_weights


class Renamed:
    """A checkpoint's tensors under a family's own names.

    Args:
        checkpoint: the tensors.
        names: for each of the family's names, the checkpoint's.
    """

    def __init__(self, checkpoint: Checkpoint, names: Mapping[str, str]) -> None:
        self.checkpoint, self.names = checkpoint, names

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name."""
        return self.checkpoint.tensor(self.names[name])

    def shape(self, name: str) -> tuple[int, ...]:
        """Its shape."""
        return self.checkpoint.shape(self.names[name])

    def connections(self, name: str) -> int:
        """Number of weights that its mask keeps."""
        return self.checkpoint.connections(self.names[name])

    def support(self, name: str) -> Support | None:
        """Its connections, where it has a mask."""
        return self.checkpoint.support(self.names[name])


def skeleton(config: Config) -> nn.Module:
    """The module of a configuration without memory for its weights."""
    with torch.device("meta"):
        return FAMILIES[config.family].module(config)


def assemble(
    checkpoint: Checkpoint,
    config: Config,
    weights: Weights,
    *,
    layout: str,
    unused: tuple[str, ...],
    training: Mapping[str, object] | None = None,
) -> Network:
    """Check that the checkpoint holds what the configuration needs, and put the network together.

    Args:
        checkpoint: where it comes from.
        config: the family's configuration.
        weights: the tensors under the family's own names.
        layout: name of the layout.
        unused: tensors of the checkpoint that the layout doesn't use.
        training: the training record that the file carries.

    Raises:
        CheckpointError: tensors are missing or have another shape than the configuration says.
    """
    expected = skeleton(config).state_dict()
    problems = []
    for name, value in expected.items():
        if name.endswith(".mask"):
            continue
        if name not in weights:
            problems.append(f"{name} is missing")
        elif weights.shape(name) != tuple(value.shape):
            found, wanted = _shape(weights.shape(name)), _shape(value.shape)
            problems.append(f"{name} has shape {found}, expected {wanted}")
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        message = (
            f"{checkpoint.path}: doesn't hold the {config.family} that its {layout} layout describes: "
            f"{'; '.join(problems[:3])}{more}"
        )
        raise CheckpointError(message)
    family = FAMILIES[config.family]
    return Network(
        label=label(checkpoint.path),
        config=config,
        layers=family.layers(config, weights),
        taps=family.taps(config),
        provenance=Provenance(
            checkpoint.path, checkpoint.format, checkpoint.wrapper, layout, unused, dict(training or {})
        ),
        make_module=lambda: load_weights(skeleton(config), weights),
    )


def label(path: Path) -> str:
    """Short name of a checkpoint: its file's, without the ending."""
    return path.name.removesuffix(path.suffix) or path.name


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "scalar"
