"""`mixanalysis convert`: the same network in another layout."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mixanalysis_cli import options, terminal
from mixanalysis_cli.printing import say

NAME = "convert"


class To(StrEnum):
    """Layouts that can be written."""

    own = "own"
    timm = "timm"
    flax = "flax"


@terminal.reporting
def command(
    context: typer.Context,
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint file, folder or name on the hub.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.", show_default=False)],
    to: Annotated[To, typer.Option("--to", help="Layout to write; timm as torch.save or safetensors, by the ending.")],
    layout: options.Layout = None,
    assume: options.Assume = None,
    weights: options.Weights = options.WeightsChoice.auto,
    key: options.Key = "",
    prefix: options.Prefix = "",
    zeros_are_masked: options.ZerosAreMasked = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file that is there.")] = False,
    config: options.ConfigFile = None,
) -> None:
    """Write a network in another layout, and check that the file holds the same network."""
    from mixanalysis.families.convert import convert
    from mixanalysis.families.loading import load

    options.check_free(output, force=force)
    part: options.Part = {"key": key, "prefix": prefix, "zeros_are_masked": zeros_are_masked}
    network = load(checkpoint, layout, assume=options.assumed(assume), weights=weights.value, **part)
    if dry_run:
        say(f"{output}: the {network.family} of {checkpoint} as {to.value}")
        return
    written = convert(network, output, to.value)
    if json:
        terminal.show_json({"path": str(written.path), "layout": written.layout, "untold": written.untold})
        return
    assumed = " ".join(f"--assume {name}={value}" for name, value in written.untold.items())
    terminal.show_facts(
        [
            ("file", str(written.path)),
            ("layout", written.layout),
            ("checked", "read again, it has the same configuration, tensors and logits"),
            ("not told", f"{assumed} (needed on loading)" if assumed else "nothing: it loads as it is"),
        ]
    )
