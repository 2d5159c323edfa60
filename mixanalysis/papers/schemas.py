"""The tables that the experiments answer with, in the manner of `mixanalysis.results`."""

from __future__ import annotations

from mixanalysis.results import INTERVAL, SEED_INTERVAL, Column, Schema


def _table(name: str, *columns: Column) -> Schema:
    return Schema(name, columns)


PLACE = (
    Column("figure", "", "figure of the paper"),
    Column("panel", "", "part of it"),
    Column("series", "", "line in it"),
    Column("x_name", "", "what x is"),
    Column("x", "", "place on the line"),
)

PAPER_RUNS = _table(
    "paper_runs",
    *PLACE,
    Column("family", "", "kind of network"),
    Column("data", "", "data set"),
    Column("seed", "", "seed of the run"),
    Column("tokens", "", "S; empty for an MLP"),
    Column("channels", "", "C; empty for an MLP"),
    Column("width", "features", "effective width m"),
    Column("density", "", "mean density p of the mixing layers; empty without a checkpoint"),
    Column("omega", "connections", "average connections of a mixing layer, Omega; empty without a checkpoint"),
    Column("parameters", "weights", "trainable weights; empty without a checkpoint"),
    Column("epochs", "", "passes over the training set"),
    Column("test_error", "", "share of the test images classified wrongly; empty without a checkpoint"),
    Column("status", "", "ok or failed"),
    Column("error", "", "why it failed"),
    Column("run", "", "name of the run by its content"),
)

PAPER_POINTS = _table(
    "paper_points",
    *PLACE,
    Column("y_name", "", "what is averaged"),
    Column("n", "", "values: seeds, trials or matrices"),
    Column("failed", "", "runs without a value"),
    Column("mean", "", "their mean"),
    Column("sd", "", "their standard deviation"),
    Column("low", "", f"lower end of the interval: {SEED_INTERVAL}"),
    Column("high", "", "upper end of it"),
)

PAPER_SIMILARITY = _table(
    "paper_similarity",
    *PLACE,
    Column("seed", "", "seed of the networks"),
    Column("blocks", "", "blocks on the diagonal"),
    Column("mean", "", "mean of the diagonal of the CKA with the Mixer"),
    Column("low", "", f"lower end of the interval over images: {INTERVAL}"),
    Column("high", "", "upper end of it"),
    Column("estimator", "", "how the values were estimated"),
    Column("features", "", "which tensors were compared"),
    Column("n", "images", "images used"),
)

PAPER_COSTS = _table(
    "paper_costs",
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
)

PAPER_CLAIMS = _table(
    "paper_claims",
    Column("figure", "", "figure of the paper"),
    Column("claim", "", "what the paper claims"),
    Column("where", "", "panel, family or data that it is examined on"),
    Column("quantity", "", "the number that decides"),
    Column("n", "", "values: the smallest number of seeds of its parts"),
    Column("value", "", "the number"),
    Column("low", "", f"lower end of its interval: {SEED_INTERVAL}, by Welch for differences"),
    Column("high", "", "upper end of it"),
    Column("rule", "", "when it agrees, and when it disagrees"),
    Column("verdict", "", "agrees, disagrees or can't be told"),
)

PAPER_VALUES = _table(
    "paper_values",
    Column("figure", "", "figure of the paper"),
    Column("quantity", "", "what the paper prints"),
    Column("paper", "", "the printed value"),
    Column("value", "", "ours"),
    Column("low", "", "lower end of its interval, empty for a formula"),
    Column("high", "", "upper end of it"),
)

TABLES = {
    table.name: table for table in (PAPER_RUNS, PAPER_POINTS, PAPER_SIMILARITY, PAPER_COSTS, PAPER_CLAIMS, PAPER_VALUES)
}
"""Every table by its name, which is also its file's."""
