"""`mixanalysis schema`: what `--json` answers with, and the columns of every table."""

from __future__ import annotations

from typing import Annotated

import typer

from mixanalysis_cli import options, terminal
from mixanalysis_cli.printing import say

NAME = "schema"

MANIFEST = {
    "schema_version": "number of this layout of the manifest",
    "status": "ok",
    "mixanalysis": "version of the package",
    "command": "name of the command",
    "argv": "the command line",
    "parameters": "every parameter's value",
    "parameter_sources": "where it came from: command line, default map (--config) or default",
    "working_folder": "where relative paths start, as seen from the output folder; null if it isn't inside",
    "inputs": "label, path, sha256, format, layout and what was assumed of each checkpoint; made: by the run itself",
    "data": "name, split, number of images and fingerprint of the data; null without data",
    "versions": "of Python and the libraries",
    "device": "where networks ran",
    "started": "UTC time",
    "seconds": "duration",
    "outputs": "sha256 of every file, by its path in the folder",
}

NETWORK = {
    "label": "short name, from the file's name",
    "path": "the file",
    "format": "kind of file",
    "wrapper": "what stood around the weights",
    "layout": "whose names the tensors have",
    "assumed": "value and source of what the tensors don't tell",
    "family": "kind of network",
    "config": "its configuration",
    "width": "effective width m",
    "density": "mean density p",
    "expansion": "gamma for which Omega = p gamma m^2",
    "expansions": "gamma by role",
    "omega": "average connections of a mixing layer",
    "parameters": "trainable weights",
    "blocks": "number of mixing blocks",
    "training": "the training record that the file carries",
    "unused": "tensors that the layout doesn't use",
    "layers": "rows of the table layers",
}

ANSWERS: dict[str, dict[str, str]] = {
    "demo": MANIFEST,
    "inspect": NETWORK,
    "cka": {
        "cka": "rows of the table cka",
        "cka_diagonal": "rows of the table cka_diagonal",
        "cka_layers": "rows of the table cka_layers",
        "similarity": "rows of the table similarity; only with --measures",
        "warnings": "what was left out or is undefined",
    },
    "features": MANIFEST,
    "spectrum": {
        "spectrum": "rows of the table spectrum",
        "spectrum_outliers": "rows of the table spectrum_outliers",
        "spectrum_sweep": "rows of the table spectrum_sweep; with --sweep, and nothing else",
    },
    "width": {
        "width_optima": "rows of the table width_optima",
        "width_points": "rows of the table width_points",
        "width_line": "rows of the table width_line",
        "width_channels": "rows of the table width_channels",
    },
    "report": MANIFEST,
    "convert": {
        "path": "the file that was written",
        "layout": "its layout",
        "untold": "what the layout can't tell, to be given with --assume",
    },
    "expand": {
        "path": "the file that was written",
        "connections": "non-zero weights of its layers",
        "bytes": "size of its layers",
        "difference": "largest difference of its logits from the original's; null with --dry-run",
        "images": "images on which the two were compared",
    },
    "train": NETWORK,
    "reproduce": {
        "paper_claims": "rows of the table paper_claims",
        "paper_values": "rows of the table paper_values",
        "failed": "run and error of each run that failed",
    },
    "rerun": {
        "output": "the new output folder",
        "identical": "whether all outputs have the same bytes",
        "differences": "names of files by what became of them, and of versions and data that differ",
    },
    "diff": {
        "equal": "whether nothing differs",
        "differences": "rows of the table differences",
    },
    "doctor": {
        "versions": "of the package, Python and the libraries",
        "machine": "system, processors, threads, accelerators, libraries of linear algebra",
        "extras": "optional parts: packages, whether they are installed, and what installs them",
        "output": "the folder, and why nothing can be written there",
        "checks": "rows of the table checks",
        "ok": "whether nothing failed",
    },
    "schema": {
        "answers": "for every command, the keys of its answer and their meaning; of inspect, of each object in a list",
        "dry_run": "the keys of the answer to --dry-run",
        "tables": "for every table, name, unit and meaning of its columns, and its keys",
    },
}
"""For every command, the keys of what `--json` prints (for inspect, of each object in a list), and what they mean."""

DRY_RUN = {
    "plan": "rows of the table plan",
    "estimate": "operations, seconds, memory in bytes, speed in operations a second, and names of what is unknown",
    "outputs": "folder and files that would be written",
}
"""The same for `--dry-run --json`, of commands that estimate what they cost."""


@terminal.reporting
def command(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Command or table.", show_default="all names")] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    config: options.ConfigFile = None,
) -> None:
    """Say what a command answers with --json, and what the columns of a table mean."""
    from mixanalysis.errors import UsageError
    from mixanalysis.papers import schemas
    from mixanalysis.runs.schemas import SCHEMAS
    from mixanalysis.selection import did_you_mean

    every = SCHEMAS | schemas.tables()
    known = list(dict.fromkeys([*ANSWERS, *every]))
    if name is not None and name not in known:
        raise UsageError(
            f"no command or table is called {name!r}; there are {', '.join(known)}{did_you_mean(name, known)}"
        )
    answers = {key: keys for key, keys in ANSWERS.items() if name in (None, key)}
    tables = {key: schema for key, schema in every.items() if name in (None, key)}
    if json:
        described = {
            key: {"keys": schema.keys, "columns": [vars(column) for column in schema.columns]}
            for key, schema in tables.items()
        }
        terminal.show_json({"answers": answers, "dry_run": DRY_RUN, "tables": described})
    elif name is None:
        terminal.show_facts([("commands", ", ".join(answers)), ("tables", ", ".join(tables))])
    else:
        for key, keys in answers.items():
            say(f"mixanalysis {key} --json")
            terminal.show_facts([(f"  {each}", meaning) for each, meaning in keys.items()])
        for key, schema in tables.items():
            rows = f"a row is told by {', '.join(schema.keys)}" if schema.keys else "rows are told by their order"
            say(f"table {key}, tables/{key}.csv; {rows}")
            terminal.show_facts(
                [
                    (f"  {column.name}", f"{column.meaning}{f' [{column.unit}]' * bool(column.unit)}")
                    for column in schema.columns
                ]
            )
