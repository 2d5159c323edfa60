"""Several processes under torchrun: which one this is, and what all of them have."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from mixanalysis.errors import ProcessLostError, ToldElsewhereError, UsageError

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
    """Return the rank and number of processes that torchrun has set in the environment; a single process without it."""
    return World(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def world() -> World:
    """Return the process group that was joined; a single process without one."""
    if declared().size == 1:
        return World()
    import torch.distributed as dist

    return World(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else World()


@contextlib.contextmanager
def joined() -> Iterator[World]:
    """Join the other processes of torchrun; nothing happens without it.

    A process that fails doesn't wait for the others: torchrun ends them.

    Yields:
        This process's rank, and how many processes there are.

    Raises:
        ToldElsewhereError: this process failed after another one, or because of it.
    """
    if declared().size == 1:
        yield World()
        return
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(rendezvous("env://"))
    # sums travel through the host's memory, whatever the device
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    try:
        yield world()
    except Exception as error:
        try:
            told = store.add("failures", 1) > 1
        except RuntimeError:  # whoever kept the count has died
            told = False
        if told:
            raise ToldElsewhereError(str(error)) from error
        raise
    finally:
        dist.destroy_process_group()


def own_device(device: str) -> str:
    """Return this process's own accelerator where only its kind is named: processes of one machine don't share one."""
    local = os.environ.get("LOCAL_RANK")
    return f"{device}:{local}" if local is not None and device.isalpha() and device != "cpu" else device


def check_device(device: str) -> None:
    """Refuse a device that this machine hasn't got.

    Args:
        device: as torch names it.

    Raises:
        UsageError: there is none of that name.
    """
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {device}: not available here: {str(error).splitlines()[0]}") from None


def gathered(value: T) -> list[T]:
    """The values of all processes, in their order.

    Returns:
        One value for each process.

    Raises:
        ProcessLostError: one of them has died, or hasn't come for half an hour.
    """
    here = world()
    if here.size == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * here.size
    try:
        dist.all_gather_object(values, value)
    except RuntimeError as error:
        message = "another process of this run has ended before its time; start the run again"
        raise ProcessLostError(message) from error
    return values
