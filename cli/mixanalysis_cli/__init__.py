"""The command line of mixanalysis: one module per command, each thin."""

from mixanalysis_cli.process import main

__all__ = ["main"]
