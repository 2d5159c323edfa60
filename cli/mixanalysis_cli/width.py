"""`mixanalysis width`: effective width and density at a fixed number of connections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixanalysis_cli import options, terminal
from mixanalysis_cli.printing import say

NAME = "width"


@terminal.reporting
def command(
    context: typer.Context,
    checkpoints: Annotated[
        list[str] | None, typer.Argument(help="Checkpoints, drawn as points.", show_default=False)
    ] = None,
    omega: Annotated[
        list[str] | None,
        typer.Option("--omega", help="Connections per layer, e.g. 1e8 or 2^19; repeatable.", show_default=False),
    ] = None,
    expansion: Annotated[float, typer.Option("--expansion", help="gamma of the lines of --omega.")] = 1.0,
    expansion_token: Annotated[
        float | None, typer.Option("--expansion-token", help="gamma_S.", show_default="--expansion")
    ] = None,
    expansion_channel: Annotated[
        float | None, typer.Option("--expansion-channel", help="gamma_C.", show_default="--expansion")
    ] = None,
    output: options.Output = None,
    layout: options.Layout = None,
    assume: options.Assume = None,
    weights: options.Weights = options.WeightsChoice.auto,
    key: options.Key = "",
    prefix: options.Prefix = "",
    zeros_are_masked: options.ZerosAreMasked = False,
    format: options.FigureFormat = options.Format.png,  # noqa: A002
    style: options.FigureStyle = options.Style.paper,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    config: options.ConfigFile = None,
) -> None:
    """Lines p(m) and m(C) at fixed Omega, the widest Mixer, and checkpoints as points on their own lines."""
    from mixanalysis.families.loading import load_all
    from mixanalysis.report.style import FigureStyle
    from mixanalysis.runs import Invocation, costs
    from mixanalysis.runs.width import width_report

    out = output or Path("reports/width")
    part: options.Part = {"key": key, "prefix": prefix, "zeros_are_masked": zeros_are_masked}
    networks = load_all(checkpoints or [], layout, assume=options.assumed(assume), weights=weights.value, **part)
    request = Invocation(NAME, options.argv(), *options.resolved(context))
    gammas = (
        expansion if expansion_token is None else expansion_token,
        expansion if expansion_channel is None else expansion_channel,
    )
    omegas = [options.number(text, "--omega") for text in omega or []]
    if dry_run:
        for network in [] if json else networks:
            say(f"{network.provenance.path}: {network.family}, m = {network.width}, Ω = {network.omega:,.6g}")
        tables = ", ".join(f"tables/width_{name}.csv" for name in ("line", "channels", "optima", "points"))
        terminal.show_plan(costs.of_figures(2), f"{out}: {tables}, figures, manifest.json", json=json)
        return
    result = width_report(
        networks, omegas, gammas, out, request, look=FigureStyle(format.value, style.value), force=force
    )
    if json:
        terminal.show_json(result.to_json())
        return
    if len(result.optima):
        columns = {
            "omega": "Ω",
            "expansion_token": "γ_S",
            "expansion_channel": "γ_C",
            "tokens": "S*",
            "channels": "C*",
            "width": "m*",
            "density": "p*",
            "narrowest_mixer": "narrowest Mixer",
            "narrowest_sparse": "narrowest SW-MLP",
        }
        terminal.show_table(result.optima, columns, "Widest Mixer at fixed Ω")
    if len(result.points):
        names = {
            "network": "network",
            "family": "family",
            "width": "m",
            "density": "p",
            "expansion": "γ",
            "omega": "Ω",
            "widest_mixer": "m* at this Ω",
        }
        terminal.show_table(result.points, names, "Checkpoints")
    say(str(out))
