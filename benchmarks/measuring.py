"""Time and memory of calls, measured in turn so that the machine's mood is shared."""

from __future__ import annotations

import statistics
import time
import tracemalloc


def medians(*functions, repeats=5):
    """Median CPU seconds of each function."""
    seconds = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, seconds, strict=True):
            start = time.process_time()
            function()
            taken.append(time.process_time() - start)
    return [statistics.median(taken) for taken in seconds]


def peak(function):
    """Bytes of arrays that a call holds at most, beyond what there was."""
    tracemalloc.start()
    function()
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return held
