"""`mixanalysis inspect`: what a checkpoint is."""

from __future__ import annotations

import typer

from mixanalysis_cli import options, terminal

NAME = "inspect"


@terminal.reporting
def command(
    context: typer.Context,
    checkpoints: options.Checkpoints,
    layout: options.Layout = None,
    assume: options.Assume = None,
    weights: options.Weights = options.WeightsChoice.auto,
    key: options.Key = "",
    prefix: options.Prefix = "",
    zeros_are_masked: options.ZerosAreMasked = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    config: options.ConfigFile = None,
) -> None:
    """Say what checkpoints are: format, family, config, layers, width, density, and what was not used."""
    from mixanalysis.families.loading import load_all
    from mixanalysis.network.tables import layer_table
    from mixanalysis.runs.inspect import describe, facts

    part: options.Part = {"key": key, "prefix": prefix, "zeros_are_masked": zeros_are_masked}
    networks = load_all(
        checkpoints, layout, assume=options.assumed(assume), weights=weights.value, **part, weights_only=True
    )
    if json:
        terminal.show_json([describe(network) for network in networks])
        return
    columns = {
        "layer": "layer",
        "role": "mixes",
        "rows": "rows",
        "columns": "columns",
        "width": "m",
        "expansion": "γ",
        "density": "p",
        "connections": "connections",
    }
    for network in networks:
        terminal.show_facts(facts(network))
        terminal.show_table(layer_table([network]), columns)
