"""Several processes: which accelerator is whose. That they work together is tested with the command line."""

from __future__ import annotations

import pytest

from mixanalysis.distributed import World, declared, own_device, world

DEVICES = {"cuda": "cuda:3", "mps": "mps:3", "cuda:1": "cuda:1", "cpu": "cpu"}


@pytest.mark.parametrize(("device", "expected"), DEVICES.items(), ids=DEVICES)
def test_processes_of_one_machine_share_no_accelerator(monkeypatch, device, expected):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert own_device(device) == device
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert own_device(device) == expected


def test_what_torchrun_declares(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert declared() == world() == World()
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "5")
    assert declared() == World(2, 5)
    assert not declared().leads
    assert world() == World(), "not before they have joined"
