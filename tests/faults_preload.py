"""What every command imports, imported once; commands are then forked from there."""

import matplotlib.backends.backend_agg
import matplotlib.backends.backend_pdf
import pandas
import seaborn
import torch
import torch.distributed

import mixanalysis.papers.hayase_2024.demo
import mixanalysis.papers.reproduction
import mixanalysis.report
import mixanalysis.training
import mixanalysis_cli

__all__ = ["matplotlib", "mixanalysis", "mixanalysis_cli", "pandas", "seaborn", "torch"]
