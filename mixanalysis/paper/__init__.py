"""Experiments: one module each, from a declared set of runs to a report."""

from mixanalysis.paper.demo import run_demo
from mixanalysis.paper.experiment import Options
from mixanalysis.paper.ledger import Ledger
from mixanalysis.paper.reproduction import EXPERIMENTS, chosen, cost, reproduce

__all__ = ["EXPERIMENTS", "Ledger", "Options", "chosen", "cost", "reproduce", "run_demo"]
