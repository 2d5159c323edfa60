"""From bytes to named tensors: containers, wrappers, masks, and our own format."""

from mixanalysis.checkpoints.checkpoint import Checkpoint, open_checkpoint
from mixanalysis.checkpoints.own import save_checkpoint

__all__ = ["Checkpoint", "open_checkpoint", "save_checkpoint"]
