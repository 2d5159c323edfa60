"""The small trainer that makes checkpoints for every family."""

from mixanalysis.training.plan import plan
from mixanalysis.training.settings import TrainingConfig
from mixanalysis.training.trainer import run_key, train

__all__ = ["TrainingConfig", "plan", "run_key", "train"]
