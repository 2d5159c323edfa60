"""A folder as one checkpoint: which of its files hold the weights, and the shards that an index lists."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixanalysis.checkpoints import dcp
from mixanalysis.checkpoints.containers import Container, open_file, told
from mixanalysis.checkpoints.foreign_files import described_folder
from mixanalysis.checkpoints.lazy_tensors import MEBIBYTE, AnyEntry, DamagedError, Entry, SparseEntry
from mixanalysis.checkpoints.safe_paths import inside
from mixanalysis.errors import CheckpointError
from mixanalysis.files import read_json, regular_size

INDEX_ENDING = ".index.json"
MODEL_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Names under which libraries save the model itself, in the order in which they are looked for."""

CONFIG = "config.json"

_ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".pth.tar", ".bin", ".npz")
_NOT_MODELS = re.compile(r"optim|sched|scaler|rng|random_state|training_args|trainer_state|sampler", re.IGNORECASE)
_RANK = re.compile(r"mp_rank_([0-9]{2,6})_model_states\.pt")
_JSON_LIMIT = 2 * MEBIBYTE
_MOST_FILES = 100_000


def open_folder(folder: Path) -> Container:
    """Open the one checkpoint that a folder holds.

    Returns:
        The container of that checkpoint.

    Raises:
        CheckpointError: it holds none, or several, or one that can't be read.
    """
    names = _listed(folder)
    if dcp.METADATA in names:
        return told(folder, "torch.distributed.checkpoint folder:", dcp.open_folder)
    if "latest" in names or any(_RANK.fullmatch(name) for name in names):
        return _deepspeed(folder, names)
    known = [name for name in MODEL_FILES if name in names]
    chosen = known[:1] or [name for name in names if name.endswith(_ENDINGS) and not _NOT_MODELS.match(name)]
    if len(chosen) > 1:
        some = ", ".join(chosen[:5]) + (", ..." if len(chosen) > 5 else "")
        many = f"give the path of one of them, or {folder / '*'} where a command takes several"
        raise CheckpointError(f"{folder}: is a folder with several checkpoints ({some}); {many}")
    if not chosen and (kind := described_folder(names)):
        raise CheckpointError(f"{folder}: not a checkpoint but {kind}")
    if not chosen:
        others = f" (it has {', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else " (it is empty)"
        raise CheckpointError(f"{folder}: is a folder without a checkpoint{others}; give the path of a checkpoint file")
    return with_config(folder, open_member(folder, chosen[0]))


def open_member(folder: Path, name: str) -> Container:
    """Open a file of a folder, or the shards that it lists."""
    path = _checked(folder, name)
    return open_index(path) if name.endswith(INDEX_ENDING) else open_file(path)


def with_config(folder: Path, container: Container) -> Container:
    """A container with the folder's config.json as metadata, where there is one."""
    if not (folder / CONFIG).is_file():
        return container
    path = _checked(folder, CONFIG)
    text = json.dumps(_json(path), sort_keys=True)
    return replace(container, metadata={**container.metadata, CONFIG: text}, files=(*container.files, path))


def open_index(path: Path) -> Container:
    """Open the shards that an index lists (``{"weight_map": {tensor: file}}``).

    Returns:
        One container with the tensors of all shards.

    Raises:
        CheckpointError: the index is damaged, names files outside of its folder, or shards lack what it lists.
    """
    table = _weight_map(path)
    opened = {name: open_file(_checked(path.parent, name)) for name in shards(path)}
    content: dict[str, AnyEntry] = {}
    for name, shard in table.items():
        held = opened[shard].content
        entry = held.get(name) if isinstance(held, Mapping) else None
        if not isinstance(entry, Entry | SparseEntry):
            raise CheckpointError(f"{path}: lists {name} in {shard}, which doesn't hold it")
        content[name] = entry
    first = next(iter(opened.values()))
    files = (path, *(file for part in opened.values() for file in part.files))
    return Container(f"{first.format}, {len(opened)} shards", content, files, first.metadata)


def shards(index: Path) -> tuple[str, ...]:
    """The files that an index lists, in its order."""
    return tuple(dict.fromkeys(_weight_map(index).values()))


def _weight_map(path: Path) -> dict[str, str]:
    table = _json(path).get("weight_map")
    if not isinstance(table, dict) or not table or not all(isinstance(shard, str) for shard in table.values()):
        raise CheckpointError(f"{path}: not an index of shards: it lacks a weight_map of file names")
    return table


def _listed(folder: Path) -> list[str]:
    try:
        names = []
        for entry in folder.iterdir():
            names.append(entry.name)
            if len(names) > _MOST_FILES:
                raise CheckpointError(f"{folder}: is a folder with more than {_MOST_FILES} files; give one of them")
    except OSError as error:
        raise CheckpointError(f"{folder}: can't be read: {error.strerror}") from None
    return sorted(names)


def _checked(folder: Path, name: str) -> Path:
    try:
        return inside(folder, name)
    except DamagedError as error:
        raise CheckpointError(f"{folder}: {error}") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        if regular_size(path) > _JSON_LIMIT:
            raise CheckpointError(f"{path}: is larger than {_JSON_LIMIT // MEBIBYTE} MiB, which no sound one is")
        content = read_json(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; give the path of a checkpoint") from None
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror}") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: not readable JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a JSON table")
    return content


def _deepspeed(folder: Path, names: list[str]) -> Container:
    """DeepSpeed's folder: `latest` names the subfolder that holds the model states."""
    steps: tuple[str, ...] = ()
    if "latest" in names and not any(_RANK.fullmatch(name) for name in names):
        try:
            latest = _checked(folder, "latest")
            regular_size(latest)
            with latest.open("rb") as file:
                tag = file.read(256).decode("utf-8", "replace").strip()
        except OSError as error:
            raise CheckpointError(f"{folder / 'latest'}: can't be read: {error.strerror}") from None
        folder, steps = _checked(folder, tag), (tag,)
        names = _listed(folder)
    ranks = [name for name in names if _RANK.fullmatch(name)]
    if any(name.startswith("zero_pp_rank_") and "model_states" in name for name in names):
        message = "its weights are spread over ranks (ZeRO stage 3); gather them with DeepSpeed's zero_to_fp32.py first"
        raise CheckpointError(f"{folder}: {message}")
    if len(ranks) != 1:
        message = f"the model states of {len(ranks)} model-parallel ranks, expected one (mp_rank_00_model_states.pt)"
        raise CheckpointError(f"{folder}: holds {message}")
    container = open_file(_checked(folder, ranks[0]))
    return replace(container, format=f"DeepSpeed, {container.format}", steps=steps)
