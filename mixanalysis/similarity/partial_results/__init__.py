"""Partial results on disk, so that a killed run goes on from its finished batches."""

SECONDS = 5.0
"""Finished batches are written no more often than this."""
