"""`mixanalysis spectrum`: singular values against random-matrix theory."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mixanalysis_cli import options, terminal

NAME = "spectrum"


class Variance(StrEnum):
    """Where the entry variance of the null comes from."""

    measured = "measured"
    declared = "declared"


@terminal.reporting
def command(
    context: typer.Context,
    checkpoints: options.Checkpoints,
    output: options.Output = None,
    variance: Annotated[
        Variance,
        typer.Option("--variance", help="Entry variance of the null: mean square of the weights, or of the init."),
    ] = Variance.measured,
    layers: options.Layers = None,
    exclude: options.Exclude = None,
    layout: options.Layout = None,
    format: options.FigureFormat = options.Format.png,  # noqa: A002
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    config: options.ConfigFile = None,
) -> None:
    """Singular values of the effective layers against the edge of noise of the same structure."""
    from mixanalysis.layouts import load_all
    from mixanalysis.report import Request
    from mixanalysis.report.commands import spectrum_report

    out = output or Path("reports/spectrum")
    networks = load_all(checkpoints, layout)
    if dry_run:
        for network in networks:
            for layer in network.layers:
                typer.echo(f"{network.label} {layer.name}: {layer.shape[0]} x {layer.shape[1]}")
        typer.echo(f"{out}: tables/spectrum.csv, tables/singular_values.csv, figures, manifest.json")
        return
    request = Request(NAME, sys.argv, *options.resolved(context))
    with terminal.progress(quiet=quiet) as stage:
        result = spectrum_report(
            networks,
            out,
            request,
            variance=variance.value,
            layers=layers or (),
            exclude=exclude or (),
            kind=format.value,
            force=force,
            stage=stage,
        )
    if json:
        terminal.show_json(result.to_json())
        return
    columns = {
        "network": "network",
        "layer": "layer",
        "width": "m",
        "expansion": "γ",
        "density": "p",
        "variance": "v",
        "edge": "MP edge",
        "null_edge": "edge of null",
        "s_max": "s_max",
        "s_max_scaled": "scaled",
        "c_gamma": "c_γ",
        "p_value": "p-value",
        "beyond_edge": "beyond",
    }
    terminal.show_table(result.summary, columns)
    typer.echo(str(out))
