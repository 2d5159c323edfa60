"""Running a batch in parts where a whole one needs more memory than there is.

In eval mode a network's examples don't depend on one another, so that the features of a batch are those of its parts,
one below the other; Gram matrices are still those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mixanalysis.errors import DataError
from mixanalysis.features import Axes, Batch, Call, Pooling, capturing, examples, run


def out_of_memory(error: BaseException) -> bool:
    """Return whether an accelerator's or the host's memory was too small."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator: " in str(error)
    )


def run_in_parts(
    module: nn.Module,
    paths: Mapping[str, str],
    batch: Batch,
    sink: Callable[[Call, Tensor], None],
    pooling: Pooling,
    size: int,
    axes: Axes | None = None,
) -> tuple[dict[Call, Call], int]:
    """Run a batch in parts of at most `size` examples, of half that where it is too many, and so on.

    Features wait in the host's memory until all parts have run, and go back to the device one layer at a time.

    Args:
        module: any module.
        paths: for each label, the path of a submodule.
        batch: of more than one example.
        sink: called with each call's features of the whole batch, in the order of the calls.
        pooling: what of an example's features is kept.
        size: examples at a time.
        axes: where the examples are in the outputs; their first axes by default.

    Returns:
        For each call that gave an earlier call's tensor, that call; and how many examples ran at a time.

    Raises:
        DataError: the memory is too small for a single example, the batch can't be cut, or its examples depend on one
            another.
    """
    if why := why_not_cut(module, batch):
        raise DataError(f"out of memory, and {why}; use a smaller --batch-size")
    count = examples(batch)
    while size > 0:
        parts: dict[Call, list[Tensor]] = {}
        repeated: dict[Call, Call] = {}
        device: dict[Call, torch.device] = {}

        def keep(call: Call, features: Tensor, parts: Any = parts, device: Any = device) -> None:
            parts.setdefault(call, []).append(features.cpu())
            device[call] = features.device

        try:
            for first in range(0, count, size):
                part = cut(batch, slice(first, first + size), count)
                with capturing(module, paths, keep, pooling=pooling, batch=part, axes=axes) as aliases:
                    run(module, part)
                repeated |= aliases
            break
        except Exception as error:
            if not out_of_memory(error):
                raise
        size //= 2
        torch.cuda.empty_cache()
    else:
        raise DataError("out of memory for a single example; use a smaller --dtype, or a --device with more memory")
    for call in [*parts]:
        whole = torch.cat(parts.pop(call))
        if len(whole) != count:
            raise DataError(
                "out of memory, and parts of a batch run other modules than all of it; use a smaller --batch-size"
            )
        sink(call, whole.to(device[call]))
    return repeated, size


def why_not_cut(module: nn.Module, batch: Batch) -> str:
    """Say why a batch can't be run in parts.

    Args:
        module: that would run.
        batch: that would be cut.

    Returns:
        The reason; "" where it can.
    """
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
            return f"{name} takes its statistics from the whole batch"
    inner = batch[0] if isinstance(batch, Sequence) else batch
    count = examples(batch)
    if isinstance(inner, Mapping):
        for name, value in inner.items():
            lone = isinstance(value, Tensor) and (value.ndim == 0 or len(value) == count)
            if not (lone or value is None or isinstance(value, bool | int | float | str)):
                return f"{name} of a batch of named tensors can't be cut"
    return "" if count > 1 else "the batch has a single example"


def cut(batch: Batch, part: slice, count: int) -> Batch:
    """Some examples of a batch.

    Args:
        batch: of `count` examples.
        part: which of them.
        count: how many it has.

    Returns:
        A batch of the same kind; what isn't there for each example stays as it is.
    """
    inner: Any = batch[0] if isinstance(batch, Sequence) else batch
    if isinstance(inner, Tensor):
        return inner[part]
    return {
        name: value[part] if isinstance(value, Tensor) and value.ndim > 0 and len(value) == count else value
        for name, value in inner.items()
    }
