"""`mixanalysis features`: layers of networks in files, for later comparisons."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mixanalysis_cli import options, terminal
from mixanalysis_cli.printing import say

NAME = "features"


class What(StrEnum):
    """What is kept of a layer."""

    grams = "grams"
    features = "features"


@terminal.reporting
def command(
    context: typer.Context,
    checkpoints: options.Checkpoints,
    output: options.Output = None,
    what: Annotated[
        What,
        typer.Option(
            "--what",
            help="Gram matrices of each batch (small, for mini-batch CKA with the same kernel), or the features.",
        ),
    ] = What.grams,
    data: options.Data = "digits",
    limit: options.Limit = None,
    batch_size: options.BatchSize = 64,
    kernel: options.KernelChoice = options.Kernel.linear,
    bandwidth: options.Bandwidth = 1.0,
    features: options.Features = options.Position.before_skip,
    pool: options.Pool = options.Pooling.flatten,
    layers: options.Layers = None,
    exclude: options.Exclude = None,
    layout: options.Layout = None,
    assume: options.Assume = None,
    weights: options.Weights = options.WeightsChoice.auto,
    key: options.Key = "",
    prefix: options.Prefix = "",
    zeros_are_masked: options.ZerosAreMasked = False,
    model: options.Model = None,
    image: options.Image = None,
    batch_axis: options.BatchAxis = None,
    resize: options.Resize = False,
    colour: options.Colour = False,
    device: options.Device = "cpu",
    dtype: options.Precision = None,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    resume: options.Resume = True,
    config: options.ConfigFile = None,
) -> None:
    """Run networks and keep their layers, a file for each, which `mixanalysis cka` takes in their place."""
    import json as json_module

    from mixanalysis.families.loading import load_all
    from mixanalysis.runs import Invocation
    from mixanalysis.runs.cka import CKASettings, cka_cost
    from mixanalysis.runs.features import features_report
    from mixanalysis.runs.inputs import Models, open_all, summary
    from mixanalysis.similarity.sources.feature_files.metadata import SUFFIX

    part: options.Part = {"key": key, "prefix": prefix, "zeros_are_masked": zeros_are_masked}
    out = output or Path("reports/features")
    networks, _ = open_all(
        checkpoints,
        lambda paths: load_all(paths, layout, assume=options.assumed(assume), weights=weights.value, **part),
        Models(model),
        weights=weights.value,
        key=key,
        prefix=prefix,
    )
    how = CKASettings(
        kernel=kernel.value,
        bandwidth=bandwidth,
        position=features.value,
        pooling=pool.value,
        layers=tuple(layers or ()),
        exclude=tuple(exclude or ()),
        batch_size=batch_size,
        dtype=None if dtype is None else dtype.value,
        image=options.image_shape(image),
        batch_axis=batch_axis,
        resize=resize,
        colour=colour,
    )
    if dry_run:
        for network in [] if json else networks:
            say(f"{network.provenance.path}: {summary(network)}")
        cost = cka_cost(networks, how, data=data, limit=limit, seed=seed, pairs=False)
        terminal.show_plan(cost, f"{out}: a {SUFFIX} file for each, manifest.json", device=device, json=json)
        return
    with terminal.progress(quiet=quiet) as stage:
        kept = features_report(
            networks,
            out,
            Invocation(NAME, options.argv(), *options.resolved(context)),
            how,
            what=what.value,
            data=data,
            limit=limit,
            device=device,
            seed=seed,
            force=force,
            resume=resume,
            stage=stage,
        )
    for warning in kept.warnings:
        terminal.note(warning, quiet=quiet)
    if json:
        terminal.show_json(json_module.loads((out / "manifest.json").read_text(encoding="utf-8")))
        return
    for path in kept.paths:
        say(str(path))
