"""One family of errors; each class knows the exit code that the command line answers with.

The layer that knows the context (file, layer, option) adds it once; a message says what was expected, what
was found, and what to do next.
"""

from __future__ import annotations

from pathlib import Path


class MixanalysisError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 1


class UsageError(MixanalysisError, ValueError):
    """The request makes no sense as written: an unknown name, a size out of range, an option that clashes."""

    exit_code = 2


class BusyError(UsageError):
    """Another run writes to the same place."""


class CheckpointError(MixanalysisError):
    """A checkpoint can't be read, is not recognised, or doesn't hold what its layout promises."""

    exit_code = 3


class NotFiniteError(CheckpointError):
    """A weight holds NaN or infinite values."""


class DataError(MixanalysisError):
    """A data set can't be read or doesn't fit the network."""

    exit_code = 3


class ReportError(MixanalysisError):
    """An output folder, its manifest or one of its tables can't be read."""

    exit_code = 3


class OutputError(MixanalysisError):
    """An output can't be written: its disk is full, or its place is read-only or taken by something else.

    Args:
        path: the output.
        reason: why, and what to do.
    """

    exit_code = 3

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: can't be written: {reason}")
        self.path, self.reason = path, reason


class NothingToAnalyseError(MixanalysisError):
    """The input is fine, but nothing of it is left to analyse (for example, `--layers` matches none)."""

    exit_code = 4


class CheckFailedError(MixanalysisError):
    """A verification that the user asked for did not hold."""

    exit_code = 5


class AssumptionWarning(UserWarning):
    """Outputs of a network depend on what is assumed of it, and nothing in its file tells whether that is so."""


class ProcessLostError(MixanalysisError):
    """Another process of the same run has ended without a word, so that this one can't finish."""


class ToldElsewhereError(MixanalysisError):
    """Another process of the same run has failed and said why; this one ends without a word."""
