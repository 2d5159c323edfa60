"""Features of any torch module: hooks on named submodules, one flattened tensor per tap and batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mixanalysis.errors import CheckpointError, UsageError
from mixanalysis.models import Network

Position = Literal["before-skip", "after-skip"]
"""Output of a mixing block just before the skip is added (HK's choice), or after it."""


def tap_paths(network: Network, position: Position) -> dict[str, str]:
    """For each mixing block's label, the path of the module whose output is its feature."""
    return {tap.name: tap.before if position == "before-skip" else tap.after for tap in network.taps}


@contextlib.contextmanager
def capturing(module: nn.Module, paths: Mapping[str, str], sink: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Hand every tap's output to `sink` as it is computed; the hooks go with the context.

    Args:
        module: any module.
        paths: for each label, the path of a submodule.
        sink: called with the label and features of shape (n, d), examples flattened, float32 or float64.

    Raises:
        UsageError: there is no submodule of that path.
    """
    modules = dict(module.named_modules())
    missing = [path for path in paths.values() if path not in modules]
    if missing:
        raise UsageError(f"the model has no submodule {missing[0]!r}; it has {', '.join(list(modules)[1:9])}, ...")

    def hook(label: str) -> Callable[[nn.Module, Any, Any], None]:
        def receive(_module: nn.Module, _inputs: Any, output: Any) -> None:
            sink(label, _flat(label, output))

        return receive

    handles = [modules[path].register_forward_hook(hook(label)) for label, path in paths.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def outputs(module: nn.Module, batches: Iterator[Tensor]) -> Tensor:
    """The module's outputs for all batches, one below the other."""
    return torch.cat([module(batch) for batch in batches])


def accuracy(network: Network, batches: Iterator[Tensor], labels: Tensor) -> float:
    """Share of images whose largest logit is that of their label.

    Raises:
        CheckpointError: the network has no classifier.
    """
    if not getattr(network.config, "classes", 0):
        raise CheckpointError(f"{network.label}: has no classifier, so that it has no accuracy")
    logits = outputs(network.module(), batches)
    return float((logits.argmax(dim=1) == labels).double().mean())


def _flat(label: str, output: Any) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim < 2:
        kind = f"tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise UsageError(f"tap {label!r} gives a {kind}; choose a module that gives one tensor per batch")
    flat = output.flatten(1)
    return flat if flat.dtype in (torch.float32, torch.float64) else flat.float()
