"""All figures and tables: their runs, once each, then their folders, then the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mixanalysis.errors import CheckFailedError, UsageError
from mixanalysis.files import exclusive_lock
from mixanalysis.papers import page, registry
from mixanalysis.papers.experiment import Context, Experiment, Options, specs
from mixanalysis.papers.ledger import Ledger, Outcome, Stage
from mixanalysis.papers.paper import Paper
from mixanalysis.papers.schemas import PAPER_CLAIMS, PAPER_VALUES
from mixanalysis.runs import Invocation, costs, opened
from mixanalysis.runs.costs import Cost
from mixanalysis.runs.folder import previous_outputs


@dataclass(frozen=True, eq=False)
class Reproduction:
    """What a reproduction came to.

    Attributes:
        page: the page.
        claims: rows of `schemas.PAPER_CLAIMS` of the figures that were made.
        values: rows of `schemas.PAPER_VALUES` of them.
        failed: runs that failed.
    """

    page: Path
    claims: pd.DataFrame
    values: pd.DataFrame
    failed: tuple[Outcome, ...]

    def check(self) -> None:
        """Complain of failed runs.

        Raises:
            CheckFailedError: there is one.
        """
        if self.failed:
            first = self.failed[0]
            raise CheckFailedError(
                f"{len(self.failed)} runs failed, the others are done; the first is {first.run.label}: {first.error}; "
                "see the tables paper_runs"
            )


def chosen(names: Sequence[str]) -> list[Experiment]:
    """The experiments of these names, in the paper's order; "all" is every one.

    Args:
        names: see `registry.find`.

    Returns:
        Experiments of one paper.

    Raises:
        UsageError: see `registry.find`.
    """
    paper, figures = registry.find(names)
    return [paper.experiments[name] for name in figures]


def _paper_of(experiments: Sequence[Experiment]) -> Paper:
    names = {experiment.paper for experiment in experiments}
    if len(names) != 1 or not names <= registry.PAPERS.keys():
        raise UsageError("experiments to reproduce must be those of one registered paper; see `chosen`")
    return registry.PAPERS[names.pop()]


def cost(experiments: Sequence[Experiment], options: Options, ledger: Ledger) -> tuple[Cost, int]:
    """What runs that aren't finished will cost, one after the other, and how many are finished.

    Measurements, which take a minute or so at the demo's scale, are not in it.

    Returns:
        The cost of the others, and the number of finished runs.

    Raises:
        UsageError: an option makes no sense, or data are missing.
        DataError: data can't be read.
    """
    wanted = specs(experiments, options)
    placed = {
        point.run.key: (experiment.name, point.run)
        for experiment in reversed(experiments)
        for point in experiment.points(wanted[experiment.name])
    }
    todo = [(name, run) for name, run in placed.values() if ledger.found(run) is None]
    parts = [run.cost() for _, run in todo]
    rows = [part.rows.assign(network=f"{name}: {run.label}") for part, (name, run) in zip(parts, todo, strict=True)]
    figures = costs.of_figures(len(experiments))
    together = Cost(
        pd.concat([*rows, figures.rows], ignore_index=True),
        sum(part.calls for part in parts) + figures.calls,
        max(part.memory for part in [*parts, figures]),
    )
    return together, len(placed) - len(todo)


def reproduce(
    experiments: Sequence[Experiment],
    out: Path,
    ledger: Ledger,
    options: Options | None = None,
    *,
    request: Invocation | None = None,
    force: bool = False,
    stage: Stage = lambda _name: None,
) -> Reproduction:
    """Run what isn't finished, and write tables and figures into a folder for each experiment, and the page.

    Args:
        experiments: see `chosen`.
        out: the folder.
        ledger: finished runs, and how others are run.
        options: what was asked for.
        request: the same for the manifests.
        force: also write into folders that hold files of others.
        stage: asked for a progress callback.

    Returns:
        The page, with claims, printed values and failed runs.

    Raises:
        UsageError: an option makes no sense, data are missing, the experiments are of several papers, a folder holds
            files of others, or another run writes to it.
        DataError: data can't be read.
        OutputError: a folder can't be written to, or its disk is full.
    """
    options = options or Options()
    paper = _paper_of(experiments)
    wanted = specs(experiments, options)
    with exclusive_lock(out):
        page.check(out, force=force)
        for experiment in experiments:
            previous_outputs(out / experiment.name, force=force)
        book = ledger.train(
            (point.run for experiment in experiments for point in experiment.points(wanted[experiment.name])), stage
        )
        context = Context(book, ledger)
        asked = request or Invocation("reproduce")
        claims: list[dict[str, Any]] = []
        values: list[dict[str, Any]] = []
        advance = stage("tables and figures")
        for done, experiment in enumerate(experiments, start=1):
            own = _write(
                experiment, wanted[experiment.name], context, out / experiment.name, options, asked, force=force
            )
            claims += own[0]
            values += own[1]
            if advance is not None:
                advance(done, len(experiments))
        path = page.write(out, paper)
        failed = tuple(outcome for outcome in book.values() if not outcome.ok)
        return Reproduction(path, PAPER_CLAIMS.frame(claims), PAPER_VALUES.frame(values), failed)


def _write(
    experiment: Experiment,
    spec: Any,
    context: Context,
    out: Path,
    options: Options,
    request: Invocation,
    *,
    force: bool,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    with opened(out, request, device=context.ledger.devices[0], look=options.look, force=force) as folder:
        found = experiment.tables(spec, context)
        claims, values = experiment.claims(found), experiment.values(found)
        for name, frame in found.items():
            folder.table(name, frame)
        if claims:
            folder.table("paper_claims", PAPER_CLAIMS.frame(claims))
        if values:
            folder.table("paper_values", PAPER_VALUES.frame(values))
        for name, size, draw, arguments in experiment.drawings(found):
            folder.figure(name, draw, size, *arguments)
        page.describe(folder, spec, options)
    return claims, values
