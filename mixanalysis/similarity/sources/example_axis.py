"""Which axis of a module's output counts examples: the one whose length changes with their number.

A length alone doesn't tell: a time-major module of 64 tokens gives (64, 64, d) for 64 images, and a table of positions
is as long as a batch of that size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from mixanalysis.features import Batch, Call, Place, examples, run, tensors
from mixanalysis.similarity.sources.microbatch import cut, why_not_cut

_MOST = 3
"""Examples of the larger of two trial runs; the other has one less."""

Shapes = list[tuple[int, ...]]


def example_places(module: nn.Module, paths: Mapping[str, str], batch: Batch) -> dict[Call, Place | None] | None:
    """Run a module on a few examples, and on one less.

    Args:
        module: any module.
        paths: for each label, the path of a submodule.
        batch: its first examples are used.

    Returns:
        For each run of a tapped module, the tensor and its axis that have a row per example, None where there is none;
        None altogether where that can't be tried: the batch can't be cut, or the module fails on few examples.
    """
    count = examples(batch)
    several = min(count, _MOST)
    if several < 2 or why_not_cut(module, batch):
        return None
    try:
        more, fewer = (_shapes(module, paths, cut(batch, slice(0, n), count)) for n in (several, several - 1))
    except Exception:  # the user's own code may raise anything; on the whole batch it may not
        return None
    if more.keys() != fewer.keys():
        return None
    return {call: _place(more[call], fewer[call], several) for call in more}


def _shapes(module: nn.Module, paths: Mapping[str, str], batch: Batch) -> dict[Call, Shapes]:
    """Return shapes of all tensors that each run of a tapped module gives."""
    modules = dict(module.named_modules())
    calls = dict.fromkeys(paths, 0)
    shapes: dict[Call, Shapes] = {}

    def noting(label: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
            shapes[Call(label, calls[label])] = [tuple(tensor.shape) for tensor in tensors(output)]
            calls[label] += 1

        return note

    handles = [modules[path].register_forward_hook(noting(label)) for label, path in paths.items() if path in modules]
    try:
        run(module, batch)
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def _place(more: Shapes, fewer: Shapes, several: int) -> Place | None:
    """Return the first tensor with features and an axis that was longer by the one example."""
    for number, (shape, other) in enumerate(zip(more, fewer, strict=False)):
        if len(shape) == len(other) and len(shape) > 1:
            changed = [axis for axis, (a, b) in enumerate(zip(shape, other, strict=True)) if a != b]
            if changed and (shape[changed[0]], other[changed[0]]) == (several, several - 1):
                return Place(number, changed[0])
    return None
