"""`mixanalysis reproduce`: the figures and tables of the paper."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mixanalysis_cli import options, terminal
from mixanalysis_cli.printing import say

NAME = "reproduce"


class Scale(StrEnum):
    """Presets of the experiments."""

    demo = "demo"
    small = "small"
    paper = "paper"


@terminal.reporting
def command(
    context: typer.Context,
    figures: Annotated[
        list[str],
        typer.Argument(
            help="fig2, fig2d, fig3, fig4, fig5, fig6, fig7, figS1, figS4, table-s3, or all; several are run together.",
            show_default=False,
        ),
    ],
    output: options.Output = None,
    scale: Annotated[
        Scale,
        typer.Option("--scale", help="Minutes on two cores, hours on two cores, or the printed settings, for a GPU."),
    ] = Scale.demo,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            help="Data set, as in the other commands; repeatable. --scale paper needs the paper's own.",
            show_default="digits",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Seeds of each network.", show_default="3; 5 for fig2d")
    ] = None,
    limit: options.Limit = None,
    omega: Annotated[
        list[str] | None,
        typer.Option("--omega", help="Omega of a line of fig3, such as 2^19; repeatable.", show_default="three lines"),
    ] = None,
    gamma: Annotated[
        str, typer.Option("--gamma", help="gamma of these lines, or gamma_S,gamma_C where they differ.")
    ] = "1",
    runs: Annotated[
        Path | None,
        typer.Option(
            "--runs", help="Folder of finished runs, which several outputs may share.", show_default="OUTPUT/runs"
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Runs at once (needs joblib beyond 1).")] = 1,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device", help="Where networks run; repeatable, runs at once take them in turn.", show_default="cpu"
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Keep finished runs and go on from interrupted ones.")
    ] = True,
    format: options.FigureFormat = options.Format.png,  # noqa: A002
    style: options.FigureStyle = options.Style.paper,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    config: options.ConfigFile = None,
) -> None:
    """Run the paper's experiments, and say claim by claim what is found."""
    from mixanalysis.papers import Ledger, Options, chosen, cost, reproduce
    from mixanalysis.report.style import FigureStyle
    from mixanalysis.results import records
    from mixanalysis.runs import Invocation

    out = output or Path("reports/reproduce")
    experiments = chosen(figures)
    gammas = options.pair(gamma, "--gamma")
    asked = Options(
        scale=scale.value,
        data=tuple(data or ()),
        seeds=seeds,
        limit=limit,
        lines=tuple((options.number(text, "--omega"), gammas) for text in omega or ()),
        look=FigureStyle(format.value, style.value),
    )
    ledger = Ledger(runs or out / "runs", jobs=jobs, devices=tuple(device or ("cpu",)), resume=resume)
    if dry_run:
        todo, finished = cost(experiments, asked, ledger)
        folders = ", ".join(experiment.name for experiment in experiments)
        outputs = f"{out}: README.md and the folders {folders}; {finished} runs are finished, {jobs} at once for others"
        terminal.show_plan(todo, outputs, device=ledger.devices[0], json=json)
        return
    request = Invocation(NAME, options.argv(), *options.resolved(context))
    with terminal.progress(quiet=quiet) as stage:
        found = reproduce(experiments, out, ledger, asked, request=request, force=force, stage=stage)
    if json:
        terminal.show_json(
            {
                "paper_claims": records(found.claims),
                "paper_values": records(found.values),
                "failed": [{"run": outcome.run.label, "error": outcome.error} for outcome in found.failed],
            }
        )
    else:
        if len(found.values):
            headings = {"figure": "figure", "quantity": "printed", "paper": "paper", "value": "ours"}
            terminal.show_table(found.values, headings | {"low": "low", "high": "high"})
        if len(found.claims):
            headings = {"figure": "figure", "claim": "claim", "where": "examined on", "value": "found"}
            terminal.show_table(found.claims, headings | {"low": "low", "high": "high", "n": "n", "verdict": "verdict"})
        say(str(found.page))
    found.check()
