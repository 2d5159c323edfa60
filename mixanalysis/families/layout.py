"""A layout: the names that it is recognised by, what it assumes, and how its network is put together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import filter as matching
from typing import Any

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.errors import AssumptionWarning, CheckpointError, UsageError
from mixanalysis.families import assume as assumptions
from mixanalysis.network import Assumed, Network
from mixanalysis.selection import listed


def has_name(checkpoint: Checkpoint, sought: str) -> bool:
    """True where a tensor has that name, in which `*` stands for anything."""
    return sought in checkpoint or ("*" in sought and bool(matching(checkpoint.names, sought)))


def _none(_checkpoint: Checkpoint) -> str:
    return ""


def _nothing(_checkpoint: Checkpoint) -> Mapping[str, Any]:
    return {}


def _none_varies(_checkpoint: Checkpoint) -> Sequence[str]:
    return ()


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
        told: what of `assumes` the checkpoint says beside its tensors.
        varies: what of `assumes` the project's own networks have this way or that, so that it changes a network's
            outputs and can't be told: `network` warns of it.
        presumes: in words, what this layout takes for granted besides, said with the former.
    """

    name: str
    sought: tuple[str, ...]
    build: Callable[[Checkpoint, Mapping[str, Any]], Network] = field(repr=False)
    assumes: Mapping[str, Any] = field(default_factory=dict)
    objection: Callable[[Checkpoint], str] = field(default=_none, repr=False)
    finds: Callable[[Checkpoint, str], bool] = field(default=has_name, repr=False)
    told: Callable[[Checkpoint], Mapping[str, Any]] = field(default=_nothing, repr=False)
    varies: Callable[[Checkpoint], Sequence[str]] = field(default=_none_varies, repr=False)
    presumes: str = ""

    def lacking(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        """Names that are sought and aren't there."""
        return tuple(sought for sought in self.sought if not self.finds(checkpoint, sought))

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """True where the names and shapes are this layout's."""
        return not self.lacking(checkpoint) and not self.objection(checkpoint)

    def network(self, checkpoint: Checkpoint, assume: Mapping[str, object] | None = None) -> Network:
        """The network.

        Args:
            checkpoint: the tensors.
            assume: values that replace the layout's own of `assumes`.

        Returns:
            The network, whose provenance has every value that was assumed and who said it.

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
        told = self.told(checkpoint)
        values = {**self.assumes, **told, **given}
        try:
            network = self.build(checkpoint, values)
        except ValueError as error:
            raise CheckpointError(f"{checkpoint.path}: not a network of the {self.name} layout: {error}") from None
        assumed = {
            name: Assumed(value, "user" if name in given else "file" if name in told else "layout")
            for name, value in values.items()
        }
        network = replace(network, provenance=replace(network.provenance, assumed=assumed))
        for remark in self._doubts(checkpoint, network):
            warnings.warn(remark, AssumptionWarning, stacklevel=2)
        return network

    def _doubts(self, checkpoint: Checkpoint, network: Network) -> Iterator[str]:
        """Lines on what the layout alone says, and might be otherwise."""
        assumed = network.provenance.assumed
        untold = {name: assumed[name].value for name in self.varies(checkpoint) if assumed[name].source == "layout"}
        if untold:
            pairs = ", ".join(f"{name} {_spelt(value)}" for name, value in untold.items())
            pairs += f", and {self.presumes}" if self.presumes else ""
            yield (
                f"{network.label}: its {self.name} layout assumes {pairs}; outputs depend on it, and the file doesn't "
                "tell; --assume NAME=VALUE says otherwise"
            )
        image = assumed.get("image")
        if getattr(network.config, "classes", None) == 0 and image is not None:
            _, height, width = network.config.input_shape
            guessed = f"; images of {height} x {width} pixels are assumed, as if they were square (--assume image=HxW)"
            outputs = f"{network.label}: it has no classifier, so that its outputs are pooled features"
            yield outputs + (guessed if image == ("square", "layout") else "")

    def why_not(self, checkpoint: Checkpoint) -> str:
        """Why a checkpoint isn't of this layout."""
        lacking = self.lacking(checkpoint)
        return f"it lacks {listed(lacking, most=3)}" if lacking else self.objection(checkpoint)


def none_fits(checkpoint: Checkpoint, layouts: Sequence[Layout]) -> str:
    """In words, how many of each layout's names a checkpoint of no known layout has, and which layout comes closest."""
    present = {layout.name: len(layout.sought) - len(layout.lacking(checkpoint)) for layout in layouts}
    message = f"{checkpoint.path}: no known layout has these tensors ({listed(checkpoint.names, most=3)})"
    near = [layout for layout in layouts if present[layout.name]]
    if not near:
        some = ", ".join(f"{layout.name} ({layout.sought[0]}, ...)" for layout in layouts)
        return f"{message}; found none of the names looked for: {some}"
    counts = ", ".join(f"{layout.name} {present[layout.name]} of {len(layout.sought)}" for layout in near)
    closest = max(near, key=lambda layout: present[layout.name] / len(layout.sought))
    return (
        f"{message}; found of the names looked for: {counts}, of {len(layouts) - len(near)} other layouts none; "
        f"closest is {closest.name}, but {closest.why_not(checkpoint)}"
    )


def _spelt(value: object) -> str:
    """A value as --assume takes it."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
