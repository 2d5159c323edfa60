"""What every benchmark has: one thread, and a way to tell numbers."""

from __future__ import annotations

import os

# before numpy chooses its threads
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(name="tell")
def _tell(capsys):
    def tell(line):
        with capsys.disabled():
            print(f"\n  {line}", end="")

    return tell
