"""Tables that this paper's experiments alone answer with."""

from __future__ import annotations

from mixanalysis.papers.schemas import PLACE
from mixanalysis.results import INTERVAL, Column, Schema

PAPER_SIMILARITY = Schema(
    "paper_similarity",
    (
        *PLACE,
        Column("seed", "", "seed of the networks"),
        Column("blocks", "", "blocks on the diagonal"),
        Column("mean", "", "mean of the diagonal of the CKA with the Mixer"),
        Column("low", "", f"lower end of the interval over images: {INTERVAL}"),
        Column("high", "", "upper end of it"),
        Column("estimator", "", "how the values were estimated"),
        Column("features", "", "which tensors were compared"),
        Column("n", "images", "images used"),
    ),
)

PAPER_COSTS = Schema(
    "paper_costs",
    (
        Column("family", "", "kind of network"),
        Column("width", "features", "effective width m"),
        Column("density", "", "mean density p of the mixing layers"),
        Column("connections", "connections", "of all mixing layers"),
        Column("parameters", "weights", "trainable weights; masked cells don't count"),
        Column("stored_bytes", "bytes", "weights, biases, masks and permutations as the module holds them"),
        Column("step_bytes", "bytes", "weights, gradients, optimiser state and saved tensors of a training step"),
        Column("flops", "operations", "floating-point operations of one image's forward pass, sums and products"),
        Column("step_seconds", "s", "median time of a training step"),
        Column("batch_size", "images", "images of a step"),
        Column("device", "", "where it was measured"),
    ),
)

TABLES = {table.name: table for table in (PAPER_SIMILARITY, PAPER_COSTS)}
