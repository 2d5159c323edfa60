"""The small trainer that makes checkpoints: seeded, resumable, and written in one step."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixanalysis.checkpoints import open_checkpoint, save_checkpoint
from mixanalysis.checkpoints.native_format import description
from mixanalysis.datasets import Dataset
from mixanalysis.distributed import check_device
from mixanalysis.errors import CheckFailedError, CheckpointError, DataError, UsageError
from mixanalysis.families import FAMILIES
from mixanalysis.files import atomic_write, exclusive_lock, remove_stale
from mixanalysis.network import Config, to_dict
from mixanalysis.training.augment import augmented
from mixanalysis.training.settings import TrainingConfig
from mixanalysis.training.sparse_training import family_state, sparsified

SAVE_EVERY = 10.0
"""Seconds between two saves of the state that an interrupted run resumes from."""

_LATER = ("augment", "compile", "amp")
"""Settings that came after checkpoints had been written: at their defaults they aren't part of a run's name."""

_SEEDING = threading.Lock()
"""Torch's generator belongs to all threads: networks are drawn one after the other."""

Progress = Callable[[int, int], None]


def train(
    config: Config,
    data: tuple[Dataset, Dataset],
    out: Path,
    settings: TrainingConfig | None = None,
    *,
    resume: bool = True,
    force: bool = False,
    save_every: float = SAVE_EVERY,
    keep_every: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Path:
    """Train a network and write its checkpoint.

    The same configuration, settings and data give the same weights on one machine, interrupted and resumed or
    not. A finished checkpoint of the same run is left as it is.

    Args:
        config: the family's configuration.
        data: training and test set, with labels.
        out: the checkpoint; until it is finished, its state stands beside it with the ending `.partial`.
        settings: optimiser, epochs and seed.
        resume: go on from a `.partial` state of the same run, and keep a finished checkpoint of it.
        force: replace a checkpoint of another run.
        save_every: seconds between two saves of the state.
        keep_every: also keep a checkpoint of the initialisation and of each so many epochs, beside `out` and named
            after it with `-epochN`, for analyses over training.
        device: where it is trained, such as "cuda"; not part of what names the run.
        progress: called after each step with the steps done and in all.

    Returns:
        The path of the checkpoint.

    Raises:
        UsageError: `out` is a checkpoint of another run, or the device isn't there.
        DataError: the data have no labels, more classes than the network, or another shape.
        CheckFailedError: the loss or a weight is no longer finite.
    """
    settings = settings or TrainingConfig()
    check_device(device)
    training, test = (_fitted(dataset, config) for dataset in data)
    key = run_key(config, settings, training)
    with exclusive_lock(out):
        if out.exists():
            found = finished_key(out)
            if found == key and resume:
                tidy(out, key)
                return out
            if found != key and not force:
                raise UsageError(f"{out}: already holds another training run; choose another path, or use --force")
        if keep_every is not None and keep_every < 1:
            raise UsageError(f"--keep-every must be at least 1, got {keep_every}")
        partial = _partial(out)
        with _SEEDING, torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            module = FAMILIES[config.family].module(config)
        if device == "cpu" and not settings.amp and not settings.compile:
            module = sparsified(module)
        module.to(device)

        def save(path: Path, epochs_done: int, loss: float | None) -> None:
            record = dataclasses.asdict(settings) | {
                "key": key,
                "data": training.name,
                "data_fingerprint": training.fingerprint,
                "images": len(training),
                "epochs_done": epochs_done,
                "last_loss": loss,
                "test_accuracy": _accuracy(module, test),
            }
            if training.note:
                record["data_note"] = training.note
            save_checkpoint(path, config, family_state(module), record)

        def snapshot(epochs_done: int, loss: float | None) -> None:
            if keep_every is not None and epochs_done % keep_every == 0 and epochs_done < settings.epochs:
                save(out.with_name(f"{out.stem}-epoch{epochs_done}{out.suffix}"), epochs_done, loss)

        state = _State(partial, key if resume else None, save_every, snapshot)
        loss = _run(module, training, settings, state, progress)
        save(out, settings.epochs, loss)
        partial.unlink(missing_ok=True)
        return out


def run_key(config: Config, settings: TrainingConfig, training: Dataset) -> str:
    """Name of a run by its content: family, configuration, settings and training data."""
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    chosen = {
        name: value
        for name, value in dataclasses.asdict(settings).items()
        if name not in _LATER or value != defaults[name]
    }
    content = [config.family, to_dict(config), chosen, training.fingerprint]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class _State:
    """What a run leaves on the way: the state to resume from (none without a key), and snapshots."""

    partial: Path
    key: str | None
    save_every: float
    snapshot: Callable[[int, float | None], None]


def _run(
    module: nn.Module, data: Dataset, settings: TrainingConfig, state: _State, progress: Progress | None
) -> float | None:
    optimizer, device = _optimizer(module, settings), _device(module)
    forward = torch.compile(module) if settings.compile else module
    per_epoch = -(-len(data) // settings.batch_size)
    total = per_epoch * settings.epochs
    start, loss = _resumed(state.partial, state.key, module, optimizer)
    if start == 0:
        state.snapshot(0, None)
    data = dataclasses.replace(data, pixels=data.pixels.to(device), labels=_labels(data).to(device))
    saved = time.monotonic()
    for epoch in range(start, settings.epochs):
        module.train()
        sum_of_losses = torch.zeros((), device=device)
        for step, (images, labels) in enumerate(_shuffled(data, settings, epoch), start=epoch * per_epoch):
            for group in optimizer.param_groups:
                group["lr"] = settings.lr * (1 + math.cos(math.pi * step / total)) / 2
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.amp):
                batch_loss = F.cross_entropy(forward(images), labels)
            optimizer.zero_grad()
            batch_loss.backward()
            optimizer.step()
            sum_of_losses += batch_loss.detach()
            if progress is not None:
                progress(step + 1, total)
        loss = float(sum_of_losses) / per_epoch
        finite = all(bool(parameter.isfinite().all()) for parameter in module.parameters())
        if not (finite and math.isfinite(loss)):
            state.partial.unlink(missing_ok=True)
            what = "a weight" if math.isfinite(loss) else "the loss"
            raise CheckFailedError(f"{what} is no longer finite in epoch {epoch}; use a smaller --lr")
        state.snapshot(epoch + 1, loss)
        due = time.monotonic() - saved >= state.save_every and epoch + 1 < settings.epochs
        if state.key is not None and due:
            _save_partial(state.partial, state.key, epoch + 1, loss, module, optimizer)
            saved = time.monotonic()
    return loss


def _optimizer(module: nn.Module, settings: TrainingConfig) -> torch.optim.Optimizer:
    # the connections of a sparse layer are a vector that stands for a matrix
    named = [(name.endswith(".values") or p.ndim > 1, p) for name, p in module.named_parameters()]
    matrices = [parameter for is_matrix, parameter in named if is_matrix]
    vectors = [parameter for is_matrix, parameter in named if not is_matrix]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr)
    return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9, nesterov=True)


def _shuffled(data: Dataset, settings: TrainingConfig, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    # an epoch's order and augmentation depend on seed and epoch alone, so that a resumed run sees the same batches
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    labels = _labels(data)
    order = torch.randperm(len(data), generator=generator).to(labels.device)
    for chosen in order.split(settings.batch_size):
        images = data.take(chosen)
        if settings.augment != "none":
            images = augmented(images, settings.augment, *data.shades, generator)
        yield images, labels[chosen]


def _resumed(
    partial: Path, key: str | None, module: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[int, float | None]:
    if key is None or not partial.exists():
        return 0, None
    try:
        state = torch.load(partial, weights_only=True, map_location="cpu")
    except Exception:  # whatever is wrong with it, the run can start again
        return 0, None
    if not isinstance(state, dict) or state.get("key") != key or set(state["module"]) != set(module.state_dict()):
        return 0, None
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    return state["epoch"], state["loss"]


def _save_partial(
    partial: Path, key: str, epoch: int, loss: float, module: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    state = {
        "key": key,
        "epoch": epoch,
        "loss": loss,
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    with atomic_write(partial) as temporary:
        torch.save(state, temporary)


def tidy(out: Path, key: str) -> None:
    """Take away what a run that was killed at its very end has left beside its finished checkpoint.

    Args:
        out: the checkpoint.
        key: its `run_key`; states of other runs stay.
    """
    remove_stale(out)
    with contextlib.suppress(Exception):  # there is none, or it isn't one of ours
        if torch.load(_partial(out), weights_only=True, map_location="cpu")["key"] == key:
            _partial(out).unlink()


def _partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def finished_key(path: Path) -> str | None:
    """The `run_key` of the run that a finished checkpoint is of; None if it can't be read or tells none."""
    try:
        found = description(open_checkpoint(path).metadata)
    except (CheckpointError, ValueError):
        return None
    return None if found is None else str(found["training"].get("key"))


@torch.inference_mode()
def _accuracy(module: nn.Module, data: Dataset) -> float:
    module.eval()
    labels, device = _labels(data), _device(module)
    guesses = torch.cat([module(batch.to(device)).argmax(dim=1).cpu() for batch in data.batches(256)])
    return float((guesses == labels).double().mean())


def _fitted(dataset: Dataset, config: Config) -> Dataset:
    classes = getattr(config, "classes", 0)
    if dataset.labels is None or not 0 < dataset.classes <= classes:
        raise DataError(f"{dataset.name}: training needs labels of at most {classes} classes, got {dataset.classes}")
    return dataset.at(config.input_shape).settled()


def _labels(dataset: Dataset) -> Tensor:
    if dataset.labels is None:
        raise DataError(f"{dataset.name}: has no labels")
    return dataset.labels


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
