"""One thread each: torch's and BLAS's threads would spin against each other on a busy machine."""

import os
import signal
import threading

import pytest

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

if threading.current_thread() is threading.main_thread():
    # a shell's background jobs ignore interruptions, and so would the commands that tests interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_width(monkeypatch):
    """No test is told a terminal's width: xdist sets one, and readline does behind Python's back."""
    monkeypatch.delenv("COLUMNS", raising=False)
    os.unsetenv("COLUMNS")
