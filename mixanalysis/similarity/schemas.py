"""The tables of CKA and its companion measures."""

from __future__ import annotations

from mixanalysis.results import INTERVAL, NETWORK, Schema

CKA_CELLS = Schema.of(
    "cka",
    ("network_a", "", "network of the rows"),
    ("network_b", "", "network of the columns"),
    ("layer_a", "", "block of network_a"),
    ("layer_b", "", "block of network_b"),
    ("role_a", "", "what the block mixes"),
    ("role_b", "", "what the block mixes"),
    ("index_a", "", "position of the block, from 0"),
    ("index_b", "", "position of the block, from 0"),
    ("estimator", "", "how the value was estimated"),
    ("features", "", "which tensors were compared"),
    ("data", "", "data set and split"),
    ("n", "images", "images used"),
    ("batches", "", "batches used"),
    ("batch_size", "images", "images of a full batch"),
    ("value", "", "CKA; empty where undefined"),
    ("low", "", f"lower end of the interval: {INTERVAL}, or over groups of images where all are one batch"),
    ("high", "", "upper end of it"),
    ("z", "", "unbiased HSIC in standard deviations of its law under random pairings of examples, where its mean is 0"),
    (
        "p_value",
        "",
        "share of random pairings of examples, the observed one included, with as large an HSIC_1; empty without any",
    ),
    ("unbiased", "", "the value with the unbiased HSIC_1"),
    ("biased", "", "the value with the biased HSIC_0"),
    ("independent", "", "value of independent Gaussian features of these sizes under the estimator"),
    ("status", "", "ok, or why the value is undefined"),
    keys=("network_a", "network_b", "layer_a", "layer_b"),
)

CKA_DIAGONAL = Schema.of(
    "cka_diagonal",
    ("network_a", "", "one network"),
    ("network_b", "", "the other"),
    ("relation", "", "other seed or ceiling, untrained or floor, itself, or empty"),
    ("density_a", "", "mean density p of network_a's mixing layers"),
    ("density_b", "", "mean density p of network_b's mixing layers"),
    ("blocks", "", "blocks on the diagonal"),
    ("mean", "", "mean CKA of blocks at the same position; empty where the depths differ"),
    ("low", "", f"lower end of the interval: {INTERVAL}, or over groups of images where all are one batch"),
    ("high", "", "upper end of it"),
    ("estimator", "", "how the values were estimated"),
    ("features", "", "which tensors were compared"),
    ("data", "", "data set and split"),
    ("n", "images", "images used"),
    ("status", "", "ok, or why the mean is undefined"),
    keys=("network_a", "network_b"),
)

CKA_LAYERS = Schema.of(
    "cka_layers",
    NETWORK,
    ("layer", "", "block, or module; with # and its number where it runs several times"),
    ("role", "", "what the block mixes"),
    ("index", "", "position of the block, from 0"),
    ("size", "features", "features of one image"),
    ("features", "", "which tensors these are, and what of them was kept"),
    ("aliases", "", "other modules that gave the very same tensor"),
    ("top_share", "", "share of the layer's HSIC with itself that the 5 images with the most of it carry"),
    ("status", "", "ok, or why the layer has no similarity"),
    keys=("network", "layer"),
)

SIMILARITY = Schema.of(
    "similarity",
    ("network_a", "", "network of the rows"),
    ("network_b", "", "network of the columns"),
    ("layer_a", "", "block of network_a"),
    ("layer_b", "", "block of network_b"),
    ("index_a", "", "position of the block, from 0"),
    ("index_b", "", "position of the block, from 0"),
    ("role_a", "", "what the block mixes"),
    ("role_b", "", "what the block mixes"),
    ("measure", "", "what is measured, with all its conventions; angular CKA is a distance, from 0 to pi/2"),
    ("value", "", "mean over batches; empty where undefined; of SVCCA biased upwards unless images are many"),
    ("low", "", f"lower end of the interval: {INTERVAL}"),
    ("high", "", "upper end of it"),
    ("chance", "", "mean under random pairings of a full batch's images; empty where not known"),
    ("n", "images", "images used"),
    ("batch_size", "images", "images of a full batch"),
    ("status", "", "ok, or why the value is undefined"),
    keys=("network_a", "network_b", "layer_a", "layer_b", "measure"),
)

SCHEMAS = (CKA_CELLS, CKA_DIAGONAL, CKA_LAYERS, SIMILARITY)
