"""`mixanalysis diff`: what two output folders differ in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixanalysis_cli import options, terminal
from mixanalysis_cli.printing import say

NAME = "diff"

DIGEST = r"^([0-9a-f]{12})[0-9a-f]{52}$"
"""A SHA-256, of which the beginning is shown."""

SHOWN = 20
"""Differences of a part that are shown one by one; `--json` has all."""


@terminal.reporting
def command(
    context: typer.Context,
    report_a: Annotated[Path, typer.Argument(help="Output folder, or its manifest.json.", show_default=False)],
    report_b: Annotated[Path, typer.Argument(help="Another.", show_default=False)],
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance", min=0.0, help="Numbers x, y are equal where |x - y| is at most this times max(1, |x|, |y|)."
        ),
    ] = 0.0,
    tables_only: Annotated[
        bool,
        typer.Option("--tables-only", help="Parameters, inputs, data, versions and figures make no difference."),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    config: options.ConfigFile = None,
) -> None:
    """Compare two output folders: tables by their key columns, parameters, inputs, versions; 5 where they differ."""
    from mixanalysis.errors import CheckFailedError
    from mixanalysis.results import records
    from mixanalysis.runs.diff import compare, overview
    from mixanalysis.runs.manifest import Manifest

    found = compare(Manifest.read(report_a), Manifest.read(report_b), tolerance, tables_only=tables_only)
    if json:
        terminal.show_json({"equal": not len(found), "differences": records(found)})
    elif not len(found):
        say("equal")
    else:
        columns = {"part": "", "kind": "", "column": "column", "count": "differences", "largest": "largest"}
        terminal.show_table(overview(found), columns, f"{report_a} (a) and {report_b} (b)")
        for part, rows in found.groupby("part", sort=False):
            if len(rows) <= SHOWN:
                names = ["kind"] if (rows["kind"] != "changed").any() else []
                filled = {name: name for name in (*names, "row", "column", "a", "b") if any(rows[name])}
                filled |= {"difference": "b - a"} if rows["difference"].notna().any() else {}
                terminal.show_table(rows.replace(DIGEST, r"\1…", regex=True), filled, str(part))
        if any(found["part"].value_counts() > SHOWN):
            say(f"Parts with more than {SHOWN} differences are shown in whole with --json.")
    if len(found):
        raise typer.Exit(CheckFailedError.exit_code)
