"""Printing: the one place where text leaves the program, without control characters and in whatever encoding."""

from __future__ import annotations

import sys

import typer

from mixanalysis.visible import visible, visible_json


def say(text: str = "", *, err: bool = False) -> None:
    """Print text; control characters of names in it are told as escapes.

    Args:
        text: one line or several.
        err: on stderr.
    """
    typer.echo(visible(text, keep="\n"), err=err)


def say_json(text: str) -> None:
    """Print JSON, whose characters are told as JSON's escapes where stdout's encoding lacks them."""
    typer.echo(visible_json(text, ascii_only=not _is_unicode(sys.stdout.encoding)))


def escape_what_streams_lack() -> None:
    """Let stdout and stderr tell characters that their encoding lacks as escapes, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure") and not _is_unicode(stream.encoding):
            stream.reconfigure(errors="backslashreplace")


def _is_unicode(encoding: str | None) -> bool:
    return (encoding or "").lower().replace("_", "-").startswith("utf")
