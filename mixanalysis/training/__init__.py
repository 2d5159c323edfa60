"""The small trainer that makes checkpoints for every family."""

from mixanalysis.training.plan import plan, prepared
from mixanalysis.training.settings import TrainingConfig
from mixanalysis.training.trainer import run_key, train

__all__ = ["TrainingConfig", "plan", "prepared", "run_key", "train"]
