"""`mixanalysis demo`: the newcomer's first command."""

from __future__ import annotations

from pathlib import Path

import typer

from mixanalysis_cli import options, terminal
from mixanalysis_cli.printing import say

NAME = "demo"


@terminal.reporting
def command(
    context: typer.Context,
    output: options.Output = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    config: options.ConfigFile = None,
) -> None:
    """Train small networks on the embedded digits, analyse them, and write a report."""
    import json as json_module

    from mixanalysis.papers import registry
    from mixanalysis.runs import Invocation

    demo = registry.default().demo
    out = output or Path("reports/demo")
    if dry_run:
        terminal.show_plan(
            demo.cost(), f"{out}: report.pdf, report.html, figures, tables, checkpoints, manifest.json", json=json
        )
        return
    request = Invocation(NAME, options.argv(), *options.resolved(context))
    with terminal.progress(quiet=quiet) as stage:
        path = demo.run_demo(out, force=force, request=request, stage=stage)
    if json:
        terminal.show_json(json_module.loads((out / "manifest.json").read_text(encoding="utf-8")))
        return
    say(str(path))
    say(str(path.with_suffix(".html")))
