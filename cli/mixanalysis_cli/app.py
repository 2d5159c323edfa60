"""The application: its commands, and what is done once before any of them."""

from __future__ import annotations

from typing import Annotated

import typer

from mixanalysis import __version__
from mixanalysis.errors import UsageError
from mixanalysis_cli import (
    cka,
    convert,
    demo,
    diff,
    doctor,
    expand,
    features,
    inspect,
    report,
    reproduce,
    rerun,
    schema,
    spectrum,
    terminal,
    train,
    width,
)

app = typer.Typer(
    name="mixanalysis",
    cls=terminal.Commands,
    help="Layerwise CKA, singular-value spectra and effective width of trained MLP-Mixers and sparse MLPs.",
    epilog="Begin with `mixanalysis demo` or `mixanalysis inspect FILE`. `mixanalysis COMMAND --help` has the options.",
    invoke_without_command=True,
    rich_markup_mode=None,  # its columns cut words where a terminal is narrow
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    pretty_exceptions_enable=False,
)


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"mixanalysis {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=lambda value: _version(wanted=value), is_eager=True, help="Print it."),
    ] = False,
) -> None:
    """Layerwise CKA, singular-value spectra and effective width of trained MLP-Mixers and sparse MLPs."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(UsageError.exit_code)


for module in (
    demo,
    inspect,
    cka,
    features,
    spectrum,
    width,
    report,
    convert,
    expand,
    train,
    reproduce,
    rerun,
    diff,
    doctor,
    schema,
):
    app.command(module.NAME)(module.command)
