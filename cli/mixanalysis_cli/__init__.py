"""The command line of mixanalysis: one module per command, each thin."""

from mixanalysis_cli.app import app, main

__all__ = ["app", "main"]
