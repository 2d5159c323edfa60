"""The tables that the experiments answer with, in the manner of `mixanalysis.results`."""

from __future__ import annotations

from mixanalysis.papers.registry import PAPERS
from mixanalysis.results import SEED_INTERVAL, Column, Schema


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

RESULTS = (PAPER_RUNS, PAPER_POINTS)
"""Tables of what experiments give."""

JUDGEMENTS = (PAPER_CLAIMS, PAPER_VALUES)
"""Tables of how that compares with what a paper says."""


def tables() -> dict[str, Schema]:
    """Every table by its name, which is also its file's; those that a single paper has are among them."""
    own = {name: schema for paper in PAPERS.values() for name, schema in paper.tables.items()}
    results, judgements = ({schema.name: schema for schema in schemas} for schemas in (RESULTS, JUDGEMENTS))
    return results | own | judgements
