"""Our own format: the metadata say what the tensors are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.checkpoints.native_format import FORMAT, METADATA_KEY, description
from mixanalysis.errors import CheckpointError
from mixanalysis.families import FAMILIES
from mixanalysis.families.assemble import assemble, skeleton
from mixanalysis.families.layout import Layout
from mixanalysis.network import Config, Network, from_dict
from mixanalysis.selection import listed

NAME = "mixanalysis"
SOUGHT = f"safetensors metadata `{METADATA_KEY}`"


def network(checkpoint: Checkpoint, _assumed: Mapping[str, Any]) -> Network:
    """The network.

    Returns:
        The network, with the training record that the file carries.

    Raises:
        CheckpointError: the format is a later one, the metadata are damaged, or the tensors don't fit them.
    """
    path = checkpoint.path
    try:
        described = description(checkpoint.metadata) or {}
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged metadata: {error}") from None
    if described.get("format") != FORMAT:
        version = described.get("format")
        raise CheckpointError(f"{path}: has version {version} of the format, not {FORMAT}; update mixanalysis")
    config = _config(checkpoint, described)
    try:
        expected = set(skeleton(config).state_dict())
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    masks = {name.removesuffix("mask") + "weight" for name in expected if name.endswith(".mask")}
    unmasked = {name for name in masks if name in checkpoint and not checkpoint.masked(name)}
    for what, names in (
        (f"holds tensors that its {config.family} doesn't have", set(checkpoint.names) - expected),
        (f"holds without their masks weights of its {config.family}", unmasked),
    ):
        if names:
            raise CheckpointError(f"{path}: {what}: {listed(sorted(names), most=3)}")
    # without a training record the weights came from elsewhere
    training = described["training"]
    return assemble(checkpoint, config, layout=NAME, initialised=bool(training), training=training)


LAYOUT = Layout(NAME, (SOUGHT,), network, finds=lambda checkpoint, _sought: METADATA_KEY in checkpoint.metadata)
LAYOUTS = (LAYOUT,)


def _config(checkpoint: Checkpoint, described: dict[str, Any]) -> Config:
    family = described.get("family")
    if not isinstance(family, str) or family not in FAMILIES:
        message = f"{checkpoint.path}: unknown family {family!r}; known are {', '.join(FAMILIES)}"
        raise CheckpointError(message)
    try:
        config: Config = from_dict(FAMILIES[family].config, described.get("config"))
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from None
    if config.family != family:
        message = f"{checkpoint.path}: says that it is a {family}, but its config is that of a {config.family}"
        raise CheckpointError(message)
    if getattr(config, "depth", 0) > len(checkpoint.names):
        message = f"{checkpoint.path}: its config has more blocks than the file has tensors"
        raise CheckpointError(message)
    return config
