"""The networks of a run as a table, with their accuracy on its data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from mixanalysis.datasets import Dataset
from mixanalysis.features import accuracy
from mixanalysis.network import Network
from mixanalysis.network.schemas import NETWORKS


def network_table(networks: Sequence[Network], dataset: Dataset | None = None) -> pd.DataFrame:
    """A row per network (`NETWORKS`); accuracy where the data have the network's labels.

    Args:
        networks: they run on the data.
        dataset: images; None for a table without accuracies.

    Returns:
        Their sizes, and the share of images that they classify correctly.
    """
    return NETWORKS.frame(
        {
            "network": network.label,
            "family": network.family,
            "width": network.width,
            "density": network.density,
            "expansion": network.expansion,
            "omega": network.omega,
            "parameters": network.parameters,
            "blocks": len(network.taps),
            "test_accuracy": _accuracy(network, dataset),
        }
        for network in networks
    )


def _accuracy(network: Network, dataset: Dataset | None) -> float:
    if dataset is None or dataset.labels is None or getattr(network.config, "classes", 0) < dataset.classes:
        return math.nan
    images = dataset.at(network.config.input_shape)
    return accuracy(network, images.batches(256), dataset.labels)
