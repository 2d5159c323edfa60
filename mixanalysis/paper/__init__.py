"""Experiments: one module each, from a declared set of runs to a report."""

from mixanalysis.paper.demo import run_demo

__all__ = ["run_demo"]
