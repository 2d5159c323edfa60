"""The application: its commands, and what is done once before any of them."""

from __future__ import annotations

from typing import Annotated

import typer

from mixanalysis import __version__
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
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"mixanalysis {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=lambda value: _version(wanted=value), is_eager=True, help="Print it."),
    ] = False,
) -> None:
    """Layerwise CKA, singular-value spectra and effective width of trained MLP-Mixers and sparse MLPs."""


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
