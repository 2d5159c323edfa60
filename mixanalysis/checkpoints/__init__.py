"""From bytes to named tensors: containers, wrappers, masks, and our own format."""

from mixanalysis.checkpoints.checkpoint import Checkpoint, open_checkpoint, sha256_of
from mixanalysis.checkpoints.native_format import save_checkpoint
from mixanalysis.checkpoints.state_dicts import Weights

__all__ = ["Checkpoint", "Weights", "open_checkpoint", "save_checkpoint", "sha256_of"]
