"""Runs of analyses: what they read, their output folders and manifests."""

from mixanalysis.runs.folder import Invocation, opened
from mixanalysis.runs.report import write_report

__all__ = ["Invocation", "opened", "write_report"]
