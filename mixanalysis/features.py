"""Features of any torch module: hooks on named submodules, one row per example for each call of a tap."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from mixanalysis.errors import CheckpointError, UsageError
from mixanalysis.network import Network
from mixanalysis.selection import matching

Position = Literal["before-skip", "after-skip"]
"""Output of a mixing block just before the skip is added (HK's choice), or after it."""

Pooling = Literal["flatten", "mean", "first"]
"""All of an example's features; their mean over tokens or image positions; or those of its first token."""

POOLINGS: dict[Pooling, str] = {"flatten": "flattened", "mean": "mean over tokens", "first": "first token"}

MASKS = ("attention_mask", "mask")
"""Names under which a batch of named tensors may hold the mask of its tokens, shape (n, tokens), keep = 1."""

Batch = Tensor | Mapping[str, Any] | Sequence[Any]
"""What a network is called with: a tensor, named tensors, or a sequence whose first item is one of these."""


class Call(NamedTuple):
    """One run of a tapped module within a forward pass: its label, and which run it is, from 0."""

    label: str
    run: int


class Place(NamedTuple):
    """Where the examples are in what a module gives.

    Attributes:
        tensor: number of the tensor among all that it gives.
        axis: axis of that tensor that counts examples.
    """

    tensor: int
    axis: int


@dataclass
class Axes:
    """Where the examples are in the outputs of tapped modules.

    Attributes:
        places: for each run of a module, known from trial runs; None where its output has no axis of examples.
        axis: as the user has said it, of tensors of three or more axes; None where nothing was said.
        refused: for each run of a module, what it gives instead of a row of features per example; filled as modules
            run. Without it, such an output is an error.
        sure: whether a length can be told by itself, for runs that have no place.
    """

    places: Mapping[Call, Place | None] = field(default_factory=dict)
    axis: int | None = None
    refused: dict[Call, str] | None = None
    sure: bool = True


def tap_paths(network: Network, position: Position) -> dict[str, str]:
    """Return for each mixing block's label, the path of the module whose output is its feature."""
    return {tap.name: tap.before if position == "before-skip" else tap.after for tap in network.taps}


def module_paths(module: nn.Module, patterns: Sequence[str] = ()) -> dict[str, str]:
    """Paths of the submodules that match any of the patterns, by themselves; of all without parts by default.

    Returns:
        For each path, itself.

    Raises:
        UsageError: nothing matches.
    """
    names = [name for name, part in module.named_modules() if name and (patterns or not any(part.children()))]
    kept = [name for name in names if matching(patterns)(name)] if patterns else names
    if not kept:
        raise UsageError(f"the model has no submodule like {', '.join(patterns)}; {_some_of(dict.fromkeys(names))}")
    return {name: name for name in kept}


def examples(batch: Batch) -> int:
    """Number of examples of a batch.

    Returns:
        The length of its first tensor.

    Raises:
        UsageError: it holds no tensor.
    """
    first = _first_tensor(batch)
    if first is None or first.ndim == 0:
        raise UsageError(f"a batch must be a tensor, or a table or a list of tensors, got {type(batch).__name__}")
    return len(first)


def run(module: nn.Module, batch: Batch) -> None:
    """Call a module in eval mode, without gradients; floating-point inputs in its parameters' dtype and device."""
    batch = batch[0] if isinstance(batch, Sequence) else batch
    like = next((p for p in module.parameters() if p.is_floating_point()), None)

    def moved(value: Any) -> Any:
        if like is None or not isinstance(value, Tensor):
            return value
        return value.to(like.device, like.dtype if value.is_floating_point() else value.dtype)

    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        # not inference_mode: tensors carry a version only outside of it, which tells when a tap was overwritten
        with torch.no_grad():
            if isinstance(batch, Mapping):
                module(**{name: moved(value) for name, value in batch.items()})
            else:
                module(moved(batch))
    finally:
        for part in training:
            part.training = True


@contextlib.contextmanager
def capturing(
    module: nn.Module,
    paths: Mapping[str, str],
    sink: Callable[[Call, Tensor], None],
    *,
    pooling: Pooling = "flatten",
    batch: Batch | None = None,
    axes: Axes | None = None,
) -> Iterator[dict[Call, Call]]:
    """Hand every tap's output to `sink` as it is computed; the hooks go with the context.

    Where a tap gives the very tensor that another one gave before it, `sink` isn't called again.

    Args:
        module: any module.
        paths: for each label, the path of a submodule.
        sink: called with the call and features of shape (n, d), float32 or float64.
        pooling: what of an example's features is kept.
        batch: what the module will be called with; its mask, where it has one, is applied to tokens.
        axes: where the examples are in the outputs; their first axes by default.

    Yields:
        For each call that gave an earlier call's tensor, that call; filled as the module runs.

    Raises:
        UsageError: there is no submodule of that path, or a tap gives something else than a row per example.
    """
    modules = dict(module.named_modules())
    missing = [path for path in paths.values() if path not in modules]
    if missing:
        raise UsageError(f"the model has no submodule {missing[0]!r}; {_some_of(modules)}")
    count = None if batch is None else examples(batch)
    mask, axes = _mask(batch), axes or Axes()
    calls = dict.fromkeys(paths, 0)
    aliases: dict[Call, Call] = {}
    seen: dict[int, tuple[weakref.ref[Tensor], int, Call]] = {}

    def hook(label: str) -> Callable[[nn.Module, Any, Any], None]:
        def receive(_module: nn.Module, _inputs: Any, output: Any) -> None:
            call = Call(label, calls[label])
            calls[label] += 1
            try:
                tensor, axis = _rows(call, output, count, axes)
            except UsageError as error:
                if axes.refused is None:
                    raise
                axes.refused[call] = str(error)
                return
            reference, version, first = seen.get(id(tensor), (None, 0, call))
            if reference is not None and reference() is tensor and version == _version(tensor):
                aliases[call] = first
                return
            seen[id(tensor)] = (weakref.ref(tensor), _version(tensor), call)
            sink(call, pooled(tensor if axis == 0 else tensor.movedim(axis, 0), pooling, mask))

        return receive

    handles = [modules[path].register_forward_hook(hook(label)) for label, path in paths.items()]
    try:
        yield aliases
    finally:
        for handle in handles:
            handle.remove()


def pooled(tensor: Tensor, pooling: Pooling, mask: Tensor | None = None) -> Tensor:
    """One row of features for each example.

    Args:
        tensor: shape (n, d); (n, tokens, d), tokens first; or (n, channels, *positions).
        pooling: "mean" averages over tokens or positions, "first" takes the first token; rows of d stay as they are.
        mask: shape (n, tokens), nonzero for tokens that count; the others are zero when flattened, and left out of
            the mean.

    Returns:
        Shape (n, features), float32, or float64 where the tensor is.
    """
    if tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()
    masked = mask is not None and tensor.ndim == 3 and tensor.shape[:2] == mask.shape
    if masked and mask is not None:
        keep = (mask != 0).to(tensor.device, tensor.dtype)[:, :, None]
        tensor = tensor * keep
        if pooling == "mean":
            return tensor.sum(dim=1) / keep.sum(dim=1).clamp(min=1)
    if tensor.ndim == 2 or pooling == "flatten":
        return tensor.flatten(1)
    if tensor.ndim == 3:
        return tensor[:, 0] if pooling == "first" else tensor.mean(dim=1)
    return tensor.flatten(2)[:, :, 0] if pooling == "first" else tensor.flatten(2).mean(dim=2)


@torch.inference_mode()
def outputs(module: nn.Module, batches: Iterator[Tensor]) -> Tensor:
    """Return the module's outputs for all batches, one below the other."""
    return torch.cat([module(batch) for batch in batches])


def accuracy(network: Network, batches: Iterator[Tensor], labels: Tensor) -> float:
    """Share of images whose largest logit is that of their label.

    Returns:
        The share, 0 to 1.

    Raises:
        CheckpointError: the network has no classifier.
    """
    if not getattr(network.config, "classes", 0):
        raise CheckpointError(f"{network.label}: has no classifier, so that it has no accuracy")
    logits = outputs(network.module(), batches)
    return float((logits.argmax(dim=1) == labels).double().mean())


def _rows(call: Call, output: Any, count: int | None, axes: Axes) -> tuple[Tensor, int]:
    """Return the first tensor of an output that has a row per example, and its axis of examples.

    Raises:
        UsageError: there is no such tensor or axis.
    """
    candidates = [output] if isinstance(output, Tensor) else list(tensors(output))
    if call in axes.places:
        place = axes.places[call]
        if place is not None and place.tensor < len(candidates):
            tensor = candidates[place.tensor]
            if tensor.ndim > place.axis and tensor.shape[place.axis] == count:
                return tensor, place.axis
    else:
        for tensor in candidates:
            axis = axes.axis if axes.axis is not None and tensor.ndim > 2 else 0
            if 2 <= tensor.ndim > axis and (count is None or tensor.shape[axis] == count):
                if axes.sure or axes.axis is not None or count not in tensor.shape[1:]:
                    return tensor, axis
                message = (
                    f"tap {call.label!r} gives a tensor of shape {tuple(tensor.shape)} for {count} examples; "
                    "which axis counts them can't be told, give batch_axis"
                )
                raise UsageError(message)
    kind = f"{type(output).__name__}"
    if candidates:
        kind = f"tensor of shape {tuple(candidates[0].shape)}" + ("" if count is None else f" for {count} examples")
        kind += ", none of whose axes grows with their number" if axes.places.get(call, ...) is None else ""
    message = f"tap {call.label!r} gives a {kind}; choose a module that gives a row of features for each example"
    raise UsageError(message)


def tensors(value: Any) -> Iterator[Tensor]:
    """Tensors in nested tuples, lists and tables, in order.

    Yields:
        Each tensor.
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors(item)


def _first_tensor(batch: Any) -> Tensor | None:
    return next(tensors(batch), None)


def _mask(batch: Batch | None) -> Tensor | None:
    batch = batch[0] if isinstance(batch, Sequence) else batch
    if isinstance(batch, Mapping):
        masks = [batch[name] for name in MASKS if isinstance(batch.get(name), Tensor) and batch[name].ndim == 2]
        return masks[0] if masks else None
    return None


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _some_of(modules: Mapping[str, Any]) -> str:
    names = [name for name in modules if name]
    return f"it has {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
