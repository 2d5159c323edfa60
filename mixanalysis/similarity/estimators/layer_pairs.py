"""Which layers are compared, and where each network's layers stand among all."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

Blocks = Sequence[tuple[slice, slice]]
"""Rows and columns of layers that are compared: some with later ones, or a network's with themselves."""


@dataclass(frozen=True)
class LayerPairs:
    """Which layers are compared; layers of all networks stand one after the other.

    Attributes:
        names: for each network, the names of its layers.
        within: also pairs of layers of the same network; else a layer has only its own term there.
    """

    names: tuple[tuple[str, ...], ...]
    within: bool = False

    @property
    def layers(self) -> int:
        """Number of layers of all networks."""
        return sum(map(len, self.names))

    @property
    def spans(self) -> tuple[slice, ...]:
        """Positions of each network's layers."""
        ends = list(itertools.accumulate(map(len, self.names), initial=0))
        return tuple(slice(*ends[i : i + 2]) for i in range(len(self.names)))

    @property
    def blocks(self) -> list[tuple[slice, slice]]:
        """Layers that are compared: each network's with those of all later ones, or with themselves."""
        across = [(span, slice(span.stop, self.layers)) for span in self.spans if span.stop < self.layers]
        return across + [(span, span) for span in self.spans] * self.within
