"""Experiments: one module each, from a declared set of runs to a report."""

from mixanalysis.paper.demo import run_demo
from mixanalysis.paper.experiment import Options
from mixanalysis.paper.ledger import Ledger
from mixanalysis.paper.reproduction import EXPERIMENTS, chosen, planned, reproduce

__all__ = ["EXPERIMENTS", "Ledger", "Options", "chosen", "planned", "reproduce", "run_demo"]
