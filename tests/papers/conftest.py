"""Tiny experiments, run once."""

from __future__ import annotations

import pytest

from mixanalysis.papers import Ledger
from mixanalysis.papers.experiment import Context
from papers.tiny import EXPERIMENTS, SPECS


@pytest.fixture(name="made", scope="session")
def _made(tmp_path_factory):
    """Tables of every tiny experiment by its name, with their context."""
    ledger = Ledger(tmp_path_factory.mktemp("runs"))
    points = [point for name, spec in SPECS.items() for point in EXPERIMENTS[name].points(spec)]
    context = Context(ledger.train(point.run for point in points), ledger)
    return {name: EXPERIMENTS[name].tables(spec, context) for name, spec in SPECS.items()}, context
