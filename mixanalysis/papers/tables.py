"""Tables of runs, of means over seeds, and of claims."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mixanalysis.papers.ledger import Book, Outcome
from mixanalysis.papers.runs import Point
from mixanalysis.papers.schemas import PAPER_POINTS, PAPER_RUNS
from mixanalysis.papers.statistics import Estimate, Verdict, mean

PLACE = ["figure", "panel", "series", "x_name", "x"]


def runs_table(figure: str, x_name: str, points: Sequence[Point], book: Book) -> pd.DataFrame:
    """A row per point of a figure: `schemas.PAPER_RUNS`."""
    return PAPER_RUNS.frame(
        {"figure": figure, "panel": point.panel, "series": point.series, "x_name": x_name, "x": point.x}
        | _facts(book[point.run.key])
        for point in points
    )


def _facts(outcome: Outcome) -> dict[str, Any]:
    run, config = outcome.run, outcome.run.config
    network = outcome.network() if outcome.ok else None
    return {
        "family": run.family,
        "data": run.data.kind,
        "seed": run.training.seed,
        "tokens": getattr(config, "tokens", math.nan),
        "channels": getattr(config, "channels", math.nan),
        "width": config.width,
        "density": math.nan if network is None else network.density,
        "omega": math.nan if network is None else network.omega,
        "parameters": math.nan if network is None else network.parameters,
        "epochs": run.training.epochs,
        "test_error": outcome.test_error if outcome.ok else math.nan,
        "status": "ok" if outcome.ok else "failed",
        "error": outcome.error,
        "run": run.key[:20],
    }


def means_table(frame: pd.DataFrame, column: str, y_name: str) -> pd.DataFrame:
    """Means of a column over the rows that share a place: `schemas.PAPER_POINTS`, in the order of the rows."""
    rows = []
    for place, group in frame.groupby(PLACE, sort=False):
        found = mean(group[column].tolist())
        values = group[column].dropna()
        rows.append(
            dict(zip(PLACE, place, strict=True))
            | {
                "y_name": y_name,
                "n": found.n,
                "failed": int(group[column].isna().sum()),
                "mean": found.value,
                "sd": float(values.std(ddof=1)) if found.n > 1 else math.nan,
                "low": found.low,
                "high": found.high,
            }
        )
    return PAPER_POINTS.frame(rows)


def values_at(
    frame: pd.DataFrame, column: str, *, series: str, x: float | None = None, panel: str | None = None
) -> list[float]:
    """The column's values at a place of a figure, over all seeds."""
    kept = frame[frame["series"] == series]
    if panel is not None:
        kept = kept[kept["panel"] == panel]
    if x is not None:
        kept = kept[np.isclose(kept["x"], x)]
    return [float(value) for value in kept[column]]


def claim(
    figure: str, text: str, where: str, quantity: str, estimate: Estimate, rule: str, verdict: Verdict
) -> dict[str, Any]:
    """A row of `schemas.PAPER_CLAIMS`."""
    return {
        "figure": figure,
        "claim": text,
        "where": where,
        "quantity": quantity,
        "n": estimate.n,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "rule": rule,
        "verdict": verdict,
    }


def reference(figure: str, quantity: str, paper: str, estimate: Estimate) -> dict[str, Any]:
    """A row of `schemas.PAPER_VALUES`."""
    return {
        "figure": figure,
        "quantity": quantity,
        "paper": paper,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
    }


def exact(value: float) -> Estimate:
    """A number that isn't estimated."""
    return Estimate(value, math.nan, math.nan, 0)


def ordered(values: Iterable[float]) -> list[float]:
    """Different values, rising."""
    return sorted({float(value) for value in values})
