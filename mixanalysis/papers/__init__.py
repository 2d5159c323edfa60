"""Experiments: one module each, from a declared set of runs to a report."""

from mixanalysis.papers.experiment import Options
from mixanalysis.papers.hayase_2024.demo import run_demo
from mixanalysis.papers.ledger import Ledger
from mixanalysis.papers.reproduction import EXPERIMENTS, chosen, cost, reproduce

__all__ = ["EXPERIMENTS", "Ledger", "Options", "chosen", "cost", "reproduce", "run_demo"]
