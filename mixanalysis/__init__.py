"""Layerwise CKA, singular-value spectra and effective width of trained MLP-Mixers and sparse MLPs.

Names are imported when they are first used, so that importing the package costs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mixanalysis._version import __version__

if TYPE_CHECKING:
    from mixanalysis import spectra, width
    from mixanalysis.checkpoints import Checkpoint, open_checkpoint
    from mixanalysis.datasets import Dataset, open_dataset
    from mixanalysis.errors import MixanalysisError
    from mixanalysis.families.expand import expand
    from mixanalysis.families.loading import load
    from mixanalysis.network import MixingLayer, Network
    from mixanalysis.report import plot
    from mixanalysis.runs import write_report
    from mixanalysis.similarity import FeatureExtractor, cka, hsic1, linear_cka
    from mixanalysis.spectra import spectrum
    from mixanalysis.training import TrainingConfig, train

_ROOMS = {
    "Checkpoint": "checkpoints",
    "Dataset": "datasets",
    "MixanalysisError": "errors",
    "MixingLayer": "network",
    "Network": "network",
    "FeatureExtractor": "similarity",
    "TrainingConfig": "training",
    "cka": "similarity",
    "expand": "families.expand",
    "hsic1": "similarity",
    "linear_cka": "similarity",
    "load": "families.loading",
    "open_checkpoint": "checkpoints",
    "open_dataset": "datasets",
    "spectrum": "spectra",
    "train": "training",
    "write_report": "runs",
}
_MODULES = {"plot": "report.plot", "spectra": "spectra", "width": "width"}

__all__ = [
    "Checkpoint",
    "Dataset",
    "FeatureExtractor",
    "MixanalysisError",
    "MixingLayer",
    "Network",
    "TrainingConfig",
    "__version__",
    "cka",
    "expand",
    "hsic1",
    "linear_cka",
    "load",
    "open_checkpoint",
    "open_dataset",
    "plot",
    "spectra",
    "spectrum",
    "train",
    "width",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"mixanalysis.{_MODULES[name]}")
    if name in _ROOMS:
        return getattr(importlib.import_module(f"mixanalysis.{_ROOMS[name]}"), name)
    msg = f"module 'mixanalysis' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return __all__
