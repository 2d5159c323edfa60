"""`mixanalysis cka`: layerwise similarity."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mixanalysis_cli import options, terminal
from mixanalysis_cli.printing import say

NAME = "cka"


class Estimator(StrEnum):
    """Estimators of CKA."""

    minibatch = "minibatch"
    minibatch_biased = "minibatch-biased"
    full = "full"
    full_biased = "full-biased"


class Covariate(StrEnum):
    """What is regressed out."""

    none = "none"
    input = "input"


class Scale(StrEnum):
    """Colour scales of heat maps."""

    unit = "unit"
    auto = "auto"


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
    estimator: Annotated[
        Estimator,
        typer.Option("--estimator", help="Mean over batches or one HSIC over all images; unbiased or biased."),
    ] = Estimator.minibatch,
    kernel: options.KernelChoice = options.Kernel.linear,
    bandwidth: options.Bandwidth = 1.0,
    covariate: Annotated[
        Covariate,
        typer.Option("--covariate", help="What is regressed out of all Gram matrices: nothing, or the images'."),
    ] = Covariate.none,
    tol: Annotated[
        float,
        typer.Option(
            "--tol",
            min=0.0,
            help="Stop once no interval reaches further than this to either side; checked every 32 batches.",
            show_default="use all images",
        ),
    ] = 0.0,
    measures: Annotated[
        list[str] | None,
        typer.Option(
            "--measures",
            help="Companions of CKA in a table of their own: procrustes, mutual-knn, rsa, angular, svcca; repeatable, "
            "or separated by commas.",
            show_default="none",
        ),
    ] = None,
    permutations: Annotated[
        int, typer.Option("--permutations", min=0, help="Random pairings of each batch's images, for p-values.")
    ] = 0,
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
    model_a: Annotated[
        str | None,
        typer.Option("--model-a", help="The same for the first checkpoint, its floor and ceiling.", show_default=False),
    ] = None,
    model_b: Annotated[
        str | None, typer.Option("--model-b", help="The same for the second checkpoint.", show_default=False)
    ] = None,
    image: options.Image = None,
    batch_axis: options.BatchAxis = None,
    resize: options.Resize = False,
    colour: options.Colour = False,
    device: options.Device = "cpu",
    dtype: options.Precision = None,
    seed: options.Seed = 0,
    scale: Annotated[
        Scale, typer.Option("--scale", help="Colours of heat maps from 0 to 1, or over the values that there are.")
    ] = Scale.unit,
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
    """Layerwise CKA of every pair of checkpoints, or of one with itself; under torchrun, batches are shared out."""
    from mixanalysis import distributed
    from mixanalysis.families.loading import load_all
    from mixanalysis.report.style import FigureStyle
    from mixanalysis.runs import Invocation
    from mixanalysis.runs.cka import CKASettings, cka_cost, cka_report
    from mixanalysis.runs.inputs import Models, open_all, summary

    part: options.Part = {"key": key, "prefix": prefix, "zeros_are_masked": zeros_are_masked}
    out = output or Path("reports/cka")
    with distributed.joined() as here, terminal.progress(quiet=quiet or not here.leads) as stage:
        networks, controls = open_all(
            checkpoints,
            lambda paths: load_all(paths, layout, assume=options.assumed(assume), weights=weights.value, **part),
            Models(model, model_a, model_b),
            floor or (),
            ceiling or (),
            weights.value,
            key,
            prefix,
        )
        how = CKASettings(
            estimator.value,
            kernel.value,
            bandwidth,
            "input" if covariate is Covariate.input else "",
            features.value,
            pool.value,
            tuple(layers or ()),
            tuple(exclude or ()),
            batch_size,
            tol,
            None if dtype is None else dtype.value,
            tuple(name.strip() for text in measures or () for name in text.split(",")),
            permutations,
            options.image_shape(image),
            batch_axis,
            resize,
            colour,
        )
        chosen = data if options.given(context, "data") else None
        if dry_run:
            if here.leads:
                for network in [] if json else networks:
                    say(f"{network.provenance.path}: {summary(network)}")
                tables = "tables/cka.csv, tables/cka_diagonal.csv, tables/cka_layers.csv"
                cost = cka_cost(networks, how, data=chosen, limit=limit, seed=seed)
                terminal.show_plan(cost, f"{out}: {tables}, figures, manifest.json", device=device, json=json)
            return
        result = cka_report(
            networks,
            out,
            Invocation(NAME, options.argv(), *options.resolved(context)),
            how,
            controls=controls,
            data=chosen,
            limit=limit,
            device=device,
            seed=seed,
            look=FigureStyle(format.value, style.value),
            scale=scale.value,
            force=force,
            resume=resume,
            stage=stage,
        )
    if not here.leads:
        return
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
    first = result.matrix
    title = f"CKA, {result.diagonal.iloc[0]['features']}: {first.index.name} by {first.columns.name}"
    terminal.show_matrix(first, title, str(out / "tables" / "cka.csv"))
    say(str(out))
