"""Groups of consecutive examples that are left out for the jackknife, and tiles of their Gram matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass

GROUPS = 16
"""Examples are left out in this many groups of consecutive ones, for the jackknife."""

_TILE = 128
"""Most rows of a tile."""

_PANEL = 256
"""Most rows of Gram matrices that are made at a time."""

_WIDE = 512
"""Most columns of them."""


@dataclass(frozen=True)
class Groups:
    """Groups of consecutive examples, each of whole tiles.

    Attributes:
        examples: n.
        tile: rows of a tile; the last one may have fewer.
        tiles: of a group.
    """

    examples: int
    tile: int
    tiles: int

    @classmethod
    def of(cls, examples: int) -> Groups:
        """Return at most GROUPS groups."""
        tiles = math.ceil(examples / (GROUPS * _TILE))
        return cls(examples, math.ceil(examples / (GROUPS * tiles)), tiles)

    @property
    def slices(self) -> list[slice]:
        """Examples of each group."""
        return cut(slice(0, self.examples), self.tile * self.tiles)

    def group(self, tile: slice) -> int:
        """Return the group that a tile belongs to."""
        return int(tile.start // (self.tile * self.tiles))

    def panels(self) -> list[slice]:
        """Return rows whose products are made at a time: a few tiles."""
        return cut(slice(0, self.examples), self.tile * max(1, _PANEL // self.tile))

    def runs(self, panel: slice) -> list[slice]:
        """Return columns left of the square of a panel upon the diagonal, and those of that square."""
        return [*cut(slice(0, panel.start), self.tile * max(1, _WIDE // self.tile)), panel]

    def tiles_in(self, part: slice) -> list[slice]:
        """Return the tiles of rows or columns."""
        return cut(part, self.tile)


def cut(part: slice, size: int) -> list[slice]:
    """Cut a slice into consecutive ones of at most `size` elements.

    Returns:
        The parts, in order.
    """
    return [slice(first, min(first + size, part.stop)) for first in range(part.start, part.stop, size)]
