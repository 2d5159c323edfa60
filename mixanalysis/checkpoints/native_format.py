"""The project's own checkpoint format: safetensors whose metadata say family, configuration and training.

Masked weights are stored sparsely (`sparse.pack`), so that the mask is data of the file and never inferred.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mixanalysis._version import __version__
from mixanalysis.checkpoints.sparse_weights import pack
from mixanalysis.files import atomic_write, parse_json
from mixanalysis.network import Config, to_dict

FORMAT = 1
METADATA_KEY = "mixanalysis"
"""The one metadata key: several would be written in an order that changes from file to file."""


def save_checkpoint(
    path: Path, config: Config, state: Mapping[str, Tensor], training: Mapping[str, Any] | None = None
) -> None:
    """Write a network's state dict in our own format, in one step.

    Args:
        path: the file; an old one is replaced.
        config: the family's configuration.
        state: the module's `state_dict()`; a boolean `X.mask` beside `X.weight` is stored with it, and a CSR tensor is
            stored as it is, entries of value zero being connections.
        training: JSON-ready record of how the weights came to be.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        layer, _, part = name.rpartition(".")
        if tensor.layout == torch.sparse_csr:
            tensors |= {f"{name}.{piece}": value for piece, value in _csr_parts(tensor.detach().cpu()).items()}
        elif part == "weight" and f"{layer}.mask" in state:
            packed = pack(tensor.detach().cpu(), state[f"{layer}.mask"].cpu())
            tensors |= {f"{name}.{piece}": value for piece, value in packed.items()}
        elif part != "mask":
            tensors[name] = tensor.detach().cpu().contiguous()
    description = {
        "format": FORMAT,
        "written_by": f"mixanalysis {__version__}",
        "family": config.family,
        "config": to_dict(config),
        "training": dict(training or {}),
    }
    metadata = {METADATA_KEY: json.dumps(description, sort_keys=True, allow_nan=False)}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def _csr_parts(matrix: Tensor) -> dict[str, Tensor]:
    """The parts that store a CSR tensor sparsely."""
    return {
        "values": matrix.values().contiguous(),
        "columns": matrix.col_indices().to(torch.int32),
        "starts": matrix.crow_indices().long(),
        "shape": torch.tensor(matrix.shape),
    }


def description(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """What `save_checkpoint` wrote about a network, or None where the file isn't ours.

    Returns:
        The description as parsed from JSON, or None.

    Raises:
        ValueError: the file says that it is ours, but its metadata are damaged.
    """
    if METADATA_KEY not in metadata:
        return None
    described = parse_json(metadata[METADATA_KEY])
    if not isinstance(described, dict) or not isinstance(described.get("training"), dict):
        msg = "its metadata are not a table"
        raise ValueError(msg)
    return described
