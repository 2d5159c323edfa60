"""Several processes under torchrun: which one this is, and what all of them have."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class World(NamedTuple):
    """This process's number among all of them, and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0


def declared() -> World:
    """What torchrun says in the environment; a single process without it."""
    return World(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def world() -> World:
    """The process group that was joined; a single process without one."""
    if declared().size == 1:
        return World()
    import torch.distributed as dist

    return World(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else World()


@contextlib.contextmanager
def joined() -> Iterator[World]:
    """Join the other processes of torchrun; nothing happens without it."""
    if declared().size == 1:
        yield World()
        return
    import torch.distributed as dist

    # sums travel through the host's memory, whatever the device
    dist.init_process_group("gloo")
    try:
        yield world()
    finally:
        dist.destroy_process_group()


def gathered(value: T) -> list[T]:
    """The values of all processes, in their order."""
    here = world()
    if here.size == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * here.size
    dist.all_gather_object(values, value)
    return values
