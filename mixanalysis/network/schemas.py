"""The tables that describe networks and their layers."""

from __future__ import annotations

from mixanalysis.results import NETWORK, Schema

NETWORKS = Schema.of(
    "networks",
    NETWORK,
    ("family", "", "kind of network"),
    ("width", "features", "effective width m"),
    ("density", "", "mean density p of the mixing layers"),
    ("expansion", "", "gamma for which Omega = p gamma m^2"),
    ("omega", "connections", "average connections of a mixing layer, Omega"),
    ("parameters", "weights", "trainable weights; masked cells don't count"),
    ("blocks", "", "mixing blocks"),
    ("test_accuracy", "", "share of the test images classified correctly; empty without labels"),
    keys=("network",),
)

LAYERS = Schema.of(
    "layers",
    NETWORK,
    ("layer", "", "path of the layer"),
    ("block", "", "index of its mixing block"),
    ("role", "", "token, channel, patch, gate, dense or skip"),
    ("rows", "features", "rows of the effective matrix"),
    ("columns", "features", "columns of the effective matrix"),
    ("width", "features", "the layer's own effective width"),
    ("expansion", "", "hidden over input size, gamma"),
    ("density", "", "share of cells that are connections, p"),
    ("connections", "", "non-zero effective weights by structure and mask"),
    keys=("network", "layer"),
)

SCHEMAS = (NETWORKS, LAYERS)
