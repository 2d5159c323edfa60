"""`mixanalysis report`: everything about some checkpoints."""

from __future__ import annotations

from pathlib import Path

import typer

from mixanalysis_cli import options, terminal
from mixanalysis_cli.printing import say

NAME = "report"


@terminal.reporting
def command(
    context: typer.Context,
    checkpoints: options.Checkpoints,
    output: options.Output = None,
    floor: options.Floor = None,
    ceiling: options.Ceiling = None,
    data: options.Data = "digits",
    limit: options.Limit = None,
    batch_size: options.BatchSize = 64,
    features: options.Features = options.Position.before_skip,
    layout: options.Layout = None,
    assume: options.Assume = None,
    weights: options.Weights = options.WeightsChoice.auto,
    key: options.Key = "",
    prefix: options.Prefix = "",
    zeros_are_masked: options.ZerosAreMasked = False,
    device: options.Device = "cpu",
    dtype: options.Precision = None,
    seed: options.Seed = 0,
    format: options.FigureFormat = options.Format.png,  # noqa: A002
    style: options.FigureStyle = options.Style.paper,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    resume: options.Resume = True,
    config: options.ConfigFile = None,
) -> None:
    """CKA, spectra and width of checkpoints as report.pdf, report.html, figures, tables and a manifest."""
    import json as json_module

    from mixanalysis.datasets import open_dataset
    from mixanalysis.families.loading import load_all
    from mixanalysis.runs import Invocation, costs, write_report
    from mixanalysis.runs.inputs import controls_of

    out = output or Path("reports/report")
    floors, ceilings = floor or [], ceiling or []
    every = [*checkpoints, *floors, *ceilings]
    part: options.Part = {"key": key, "prefix": prefix, "zeros_are_masked": zeros_are_masked}
    networks = load_all(every, layout, assume=options.assumed(assume), weights=weights.value, **part)
    if dry_run:
        images = len(open_dataset(data, shape=networks[0].config.input_shape, seed=seed).first(limit))
        cost = costs.of_report(networks, images, batch_size)
        terminal.show_plan(cost, f"{out}: report.pdf, report.html, figures, tables, manifest.json", json=json)
        return
    with terminal.progress(quiet=quiet) as stage:
        path = write_report(
            networks,
            data,
            out,
            position=features.value,
            batch_size=batch_size,
            limit=limit,
            controls=controls_of(checkpoints, floors, ceilings),
            device=device,
            dtype=None if dtype is None else dtype.value,
            seed=seed,
            kind=format.value,
            style=style.value,
            force=force,
            resume=resume,
            request=Invocation(NAME, options.argv(), *options.resolved(context)),
            stage=stage,
        )
    if json:
        terminal.show_json(json_module.loads((out / "manifest.json").read_text(encoding="utf-8")))
        return
    say(str(path))
    say(str(path.with_suffix(".html")))
