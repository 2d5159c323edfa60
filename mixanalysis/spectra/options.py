"""How layers are analysed."""

from __future__ import annotations

from dataclasses import dataclass

from mixanalysis.errors import UsageError
from mixanalysis.spectra.nulls import VarianceSource

LEVEL = 0.01
"""Probability with which noise may exceed the threshold of a layer's largest singular value."""


@dataclass(frozen=True)
class SpectrumOptions:
    """How layers are analysed; see `spectrum`."""

    variance: VarianceSource = "fitted"
    level: float = LEVEL
    shuffles: int = 0
    seed: int = 0
    zeros_are_masked: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.level < 1:
            raise UsageError(f"--level must be between 0 and 1, got {self.level}")
        if self.shuffles < 0:
            raise UsageError(f"--shuffles must be at least 0, got {self.shuffles}")
