"""Networks' layers as a table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mixanalysis.network import Network
from mixanalysis.network.schemas import LAYERS


def layer_table(networks: Sequence[Network]) -> pd.DataFrame:
    """A row per effective layer of each network (`LAYERS`), in forward order."""
    return LAYERS.frame(
        {
            "network": network.label,
            "layer": layer.name,
            "block": layer.block,
            "role": layer.role,
            "rows": layer.shape[0],
            "columns": layer.shape[1],
            "width": layer.width,
            "expansion": layer.expansion,
            "density": layer.density,
            "connections": layer.connections,
        }
        for network in networks
        for layer in network.layers
    )
