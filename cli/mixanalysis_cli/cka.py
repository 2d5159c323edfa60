"""`mixanalysis cka`: layerwise similarity."""

from __future__ import annotations

from pathlib import Path

import typer

from mixanalysis_cli import options, terminal

NAME = "cka"


@terminal.reporting
def command(
    context: typer.Context,
    checkpoints: options.Checkpoints,
    output: options.Output = None,
    data: options.Data = "digits",
    limit: options.Limit = None,
    batch_size: options.BatchSize = 64,
    features: options.Features = options.Position.before_skip,
    layers: options.Layers = None,
    exclude: options.Exclude = None,
    layout: options.Layout = None,
    assume: options.Assume = None,
    weights: options.Weights = options.WeightsChoice.auto,
    device: options.Device = "cpu",
    dtype: options.Precision = None,
    seed: options.Seed = 0,
    format: options.FigureFormat = options.Format.png,  # noqa: A002
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    config: options.ConfigFile = None,
) -> None:
    """Layerwise CKA of every pair of checkpoints, or of one with itself."""
    from mixanalysis.layouts import load_all
    from mixanalysis.report import Request
    from mixanalysis.report.commands import cka_report

    out = output or Path("reports/cka")
    networks = load_all(checkpoints, layout, assume=options.assumed(assume), weights=weights.value)
    if dry_run:
        for network in networks:
            typer.echo(f"{network.provenance.path}: {network.family}, {len(network.taps)} blocks")
        typer.echo(f"{out}: tables/cka.csv, tables/cka_diagonal.csv, figures, manifest.json")
        return
    request = Request(NAME, options.argv(), *options.resolved(context))
    with terminal.progress(quiet=quiet) as stage:
        result = cka_report(
            networks,
            out,
            request,
            data=data,
            limit=limit,
            batch_size=batch_size,
            position=features.value,
            layers=layers or (),
            exclude=exclude or (),
            device=device,
            dtype=None if dtype is None else dtype.value,
            seed=seed,
            kind=format.value,
            force=force,
            stage=stage,
        )
    for warning in result.warnings:
        terminal.note(warning, quiet=quiet)
    if json:
        terminal.show_json(result.to_json())
        return
    columns = {
        "network_a": "network",
        "network_b": "network",
        "relation": "",
        "mean": "mean of diagonal",
        "low": "low",
        "high": "high",
        "blocks": "blocks",
        "n": "images",
        "status": "status",
    }
    terminal.show_table(result.diagonal, columns)
    first = result.matrix.reset_index()
    names = {str(name): str(name) for name in first.columns}
    title = f"CKA, {result.diagonal.iloc[0]['features']}: {first.columns[0]} by {result.matrix.columns.name}"
    terminal.show_table(first, names, title)
    typer.echo(str(out))
