"""One thread each: torch's and BLAS's threads would spin against each other on a busy machine."""

import os

import pytest

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")


@pytest.fixture(autouse=True)
def _no_width(monkeypatch):
    """Tests on several cores are told the width of a terminal that isn't theirs."""
    monkeypatch.delenv("COLUMNS", raising=False)
