"""What is shown: quantities in words, tables that fit, and nothing but text where no terminal is."""

from __future__ import annotations

import pytest

from mixanalysis_cli.terminal import duration, quantity


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (0.034, "0.03 s"), (8.4, "8 s"), (84, "80 s"), (130, "2 min"), (3600, "60 min"), (9e5, "200 h")],
)
def test_durations(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0 B"), (999, "1,000 B"), (1234, "1.2 kB"), (3.4e8, "340 MB"), (2e9, "2 GB"), (3e16, "30 PB")],
)
def test_quantities(value, said):
    assert quantity(value, "B") == said
    assert quantity(value, "") == said.removesuffix("B").strip()
