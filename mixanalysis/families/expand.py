"""Writing the wide sparse MLP that a network is equal to, compared with the network before the file stands."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from mixanalysis.checkpoints import save_checkpoint, sha256_of
from mixanalysis.errors import CheckFailedError, UsageError
from mixanalysis.families import expansion
from mixanalysis.families.loading import load
from mixanalysis.files import atomic_write
from mixanalysis.network import Config, Network, to_dict

MAX_BYTES = 2**31
"""Largest wide network that is written unless another limit is given: 2 GiB; writing it takes three times its size."""

IMAGES = 8
"""Random images on which the written network is compared with the original."""

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
"""Largest difference of the logits, in units of the largest logit where that is above one."""


class Expansion(Protocol):
    """The wide sparse MLP that a network is equal to; the family that declares an `expansion` has one."""

    def __init__(self, network: Network) -> None:
        """Expand a network."""

    @property
    def config(self) -> Config:
        """The wide network's configuration."""

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""

    @property
    def connections(self) -> int:
        """Weights of all its sparse layers."""

    @property
    def bytes(self) -> int:
        """Memory that these take."""

    def state(self) -> dict[str, Tensor]:
        """State dict of the wide network."""


@dataclass(frozen=True)
class Expanded:
    """A wide sparse MLP that was written, or would be.

    Attributes:
        path: the file.
        connections: weights of its sparse layers.
        bytes: what these take.
        difference: largest difference between its logits and the original's; None before it was written.
        images: random images that were compared.
    """

    path: Path
    connections: int
    bytes: int
    difference: float | None = None
    images: int = IMAGES

    def facts(self) -> list[tuple[str, str]]:
        """Labelled lines for reading."""
        size = f"{self.connections:,}, which take {_readable(self.bytes)}"
        if self.difference is None:
            return [("file", f"{self.path}, not written"), ("connections", size)]
        checked = f"logits differ by at most {self.difference:.2g} on {self.images} random images"
        return [("file", str(self.path)), ("connections", size), ("checked", checked)]


def expand(
    network: Network, path: str | Path, *, max_bytes: float = MAX_BYTES, seed: int = 0, dry_run: bool = False
) -> Expanded:
    """Write the wide sparse MLP that a network is equal to as a checkpoint of our own.

    It is read again, and has to give the original's logits on random images, before it replaces what stood there.
    `Expansion` says what becomes of each layer.

    Args:
        network: of a family with residual blocks: Mixers, S-Mixers, RP and PK networks, SW-MLPs, MLPs.
        path: the file; an old one is replaced.
        max_bytes: refuse a network whose sparse layers would take more.
        seed: of the images.
        dry_run: say how large it would be, and write nothing.

    Returns:
        What was written, or would be.

    Raises:
        UsageError: the network has parts that a wide sparse MLP lacks, or is too large.
        CheckFailedError: the written network isn't equal to the original; nothing was written.
        CheckpointError: the network's architecture isn't known, or its file is damaged.
    """
    path, wide = Path(path), expansion()(network)
    size = wide.bytes
    if size > max_bytes:
        raise UsageError(
            f"{network.provenance.path}: its wide sparse MLP of width {wide.config.width} has {wide.connections:,} "
            f"connections, which take {_readable(size)}; the limit is {_readable(max_bytes)}, see --max-bytes"
        )
    planned = Expanded(path, wide.connections, size)
    if dry_run:
        return planned
    with atomic_write(path) as temporary:
        save_checkpoint(temporary, wide.config, wide.state(), _record(network))
        difference = _difference(network, load(temporary), wide.dtype, seed)
    return Expanded(path, wide.connections, size, difference)


def _record(network: Network) -> dict[str, Any]:
    """The original's training record, and what the original was; what named its run doesn't name this network."""
    source = network.provenance
    kept = {name: value for name, value in source.training.items() if name != "key"}
    origin = {
        "file": source.path.name,
        "sha256": sha256_of(source.path),
        "layout": source.layout,
        "family": network.family,
        "config": to_dict(network.config),
    }
    return kept | {"expanded_from": origin}


@torch.no_grad()
def _difference(network: Network, written: Network, dtype: torch.dtype, seed: int) -> float:
    """Largest difference of the logits.

    Returns:
        In absolute terms, over all images and classes.

    Raises:
        CheckFailedError: it is too large.
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(IMAGES, *network.config.input_shape, generator=generator).to(dtype)
    expected = copy.deepcopy(network.module()).to(dtype)(images)
    difference = float((written.module()(images) - expected).abs().max())
    limit = TOLERANCE[dtype] * max(1.0, float(expected.abs().max()))
    # a NaN is within no limit
    if not difference <= limit:
        raise CheckFailedError(
            f"{network.provenance.path}: its wide sparse MLP gives logits that differ by up to {difference:.3g} on "
            f"{IMAGES} random images, more than {limit:.3g}; nothing was written"
        )
    return difference


def _readable(size: float) -> str:
    """A number of bytes in the largest unit of which it holds one."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1024**power:
            return f"{size / 1024**power:,.1f} {unit}"
    return f"{size:,.0f} bytes"
