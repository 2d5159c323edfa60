"""From bytes to named tensors: containers, wrappers, masks, and our own format."""

from mixanalysis.checkpoints.checkpoint import Checkpoint, open_checkpoint
from mixanalysis.checkpoints.own import save_checkpoint
from mixanalysis.checkpoints.wrappers import Weights

__all__ = ["Checkpoint", "Weights", "open_checkpoint", "save_checkpoint"]
