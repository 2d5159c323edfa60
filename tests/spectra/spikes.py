"""Where a spike shows in noise, by its formula."""

from __future__ import annotations

import numpy as np

from mixanalysis.spectra.fit import spike_threshold


def spiked(theta, a, b, variance):
    """Singular value at which a spike of strength theta shows in a x b noise; the edge below the threshold."""
    square = np.maximum(theta, spike_threshold(a, b, variance)) ** 2
    return np.sqrt((square + variance * a) * (square + variance * b) / square)
