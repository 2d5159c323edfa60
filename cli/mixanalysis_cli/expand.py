"""`mixanalysis expand`: the equal wide sparse MLP as a checkpoint of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixanalysis_cli import options, terminal

NAME = "expand"


@terminal.reporting
def command(
    context: typer.Context,
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint file, folder or name on the hub.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The checkpoint to write.", show_default=False)],
    max_bytes: Annotated[
        str, typer.Option("--max-bytes", help="Refuse a wide network whose layers would take more, e.g. 4e9 or 2^33.")
    ] = "2^31",
    layout: options.Layout = None,
    assume: options.Assume = None,
    weights: options.Weights = options.WeightsChoice.auto,
    key: options.Key = "",
    prefix: options.Prefix = "",
    zeros_are_masked: options.ZerosAreMasked = False,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file that is there.")] = False,
    config: options.ConfigFile = None,
) -> None:
    """Write the wide sparse MLP that a network is equal to, and check that it gives the same logits."""
    from mixanalysis.families.expand import expand
    from mixanalysis.families.loading import load

    options.check_free(output, force=force)
    limit = options.number(max_bytes, "--max-bytes")
    part: options.Part = {"key": key, "prefix": prefix, "zeros_are_masked": zeros_are_masked}
    network = load(checkpoint, layout, assume=options.assumed(assume), weights=weights.value, **part)
    found = expand(network, output, max_bytes=limit, seed=seed, dry_run=dry_run)
    if json:
        terminal.show_json(vars(found) | {"path": str(found.path)})
        return
    terminal.show_facts(found.facts())
