"""What a layout is: the names that it is recognised by, what it assumes, and how its network is put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import filter as matching
from typing import Any

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.errors import CheckpointError, UsageError
from mixanalysis.families import assume as assumptions
from mixanalysis.network import Assumed, Network


def has_name(checkpoint: Checkpoint, sought: str) -> bool:
    """Whether a tensor has that name, in which `*` stands for anything."""
    return sought in checkpoint or ("*" in sought and bool(matching(checkpoint.names, sought)))


def _none(_checkpoint: Checkpoint) -> str:
    return ""


@dataclass(frozen=True)
class Layout:
    """One way in which a project names and shapes a network's tensors.

    Attributes:
        name: what users call it.
        sought: names that a checkpoint must all have; `*` stands for anything.
        build: makes the network from the checkpoint and the values of everything in `assumes`; raises ValueError
            where shapes or values contradict each other, CheckpointError where tensors are missing or misshaped.
        assumes: what the tensors can't tell, keys of `assume.ASSUMPTIONS`, and what this layout takes for it.
        objection: why a checkpoint with all the names still isn't of this layout, or nothing.
        finds: whether the checkpoint has what is sought, where that is not a tensor's name.
    """

    name: str
    sought: tuple[str, ...]
    build: Callable[[Checkpoint, Mapping[str, Any]], Network] = field(repr=False)
    assumes: Mapping[str, Any] = field(default_factory=dict)
    objection: Callable[[Checkpoint], str] = field(default=_none, repr=False)
    finds: Callable[[Checkpoint, str], bool] = field(default=has_name, repr=False)

    def lacking(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        """What is sought and isn't there."""
        return tuple(sought for sought in self.sought if not self.finds(checkpoint, sought))

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Whether the names and shapes are this layout's."""
        return not self.lacking(checkpoint) and not self.objection(checkpoint)

    def network(self, checkpoint: Checkpoint, assume: Mapping[str, object] | None = None) -> Network:
        """The network.

        Args:
            checkpoint: the tensors.
            assume: values that replace the layout's own of `assumes`.

        Raises:
            CheckpointError: the checkpoint isn't of this layout, or tensors are missing or misshaped.
            UsageError: something is assumed that this layout has no use for, or a value is impossible.
        """
        if not self.recognise(checkpoint):
            raise CheckpointError(f"{checkpoint.path}: isn't in the {self.name} layout: {self.why_not(checkpoint)}")
        given = assumptions.read(assume or {})
        if foreign := sorted(set(given) - set(self.assumes)):
            takes = f"takes only {', '.join(self.assumes)}" if self.assumes else "leaves nothing to assume"
            raise UsageError(f"{checkpoint.path}: {foreign[0]} can't be assumed: the {self.name} layout {takes}")
        values = {**self.assumes, **given}
        try:
            network = self.build(checkpoint, values)
        except ValueError as error:
            raise CheckpointError(f"{checkpoint.path}: not a network of the {self.name} layout: {error}") from None
        assumed = {name: Assumed(value, "user" if name in given else "layout") for name, value in values.items()}
        return replace(network, provenance=replace(network.provenance, assumed=assumed))

    def why_not(self, checkpoint: Checkpoint) -> str:
        """Why a checkpoint isn't of this layout."""
        lacking = self.lacking(checkpoint)
        return f"it lacks {_some(lacking)}" if lacking else self.objection(checkpoint)


def none_fits(checkpoint: Checkpoint, layouts: Sequence[Layout]) -> str:
    """What was looked for in a checkpoint of no known layout, how much of it was found, and what comes closest."""
    found = {layout.name: len(layout.sought) - len(layout.lacking(checkpoint)) for layout in layouts}
    message = f"{checkpoint.path}: no known layout has these tensors ({_some(checkpoint.names)})"
    near = [layout for layout in layouts if found[layout.name]]
    if not near:
        some = ", ".join(f"{layout.name} ({layout.sought[0]}, ...)" for layout in layouts)
        return f"{message}; found none of the names looked for: {some}"
    counts = ", ".join(f"{layout.name} {found[layout.name]} of {len(layout.sought)}" for layout in near)
    closest = max(near, key=lambda layout: found[layout.name] / len(layout.sought))
    return (
        f"{message}; found of the names looked for: {counts}, of {len(layouts) - len(near)} other layouts none; "
        f"closest is {closest.name}, but {closest.why_not(checkpoint)}"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f", and {len(names) - 3} more" if len(names) > 3 else "")
