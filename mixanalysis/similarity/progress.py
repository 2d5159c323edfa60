"""Progress of a pass over the data."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called after each batch with the number of finished batches and of all batches."""
