"""The layouts of MLP-Mixers: every project's dialect, and fly's matrices of blocks."""

from __future__ import annotations

from dataclasses import replace

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.families.layout import Layout
from mixanalysis.families.mixer import fly
from mixanalysis.families.mixer.projects import DIALECTS, TIMM


def _timm_objection(checkpoint: Checkpoint) -> str:
    first, second = (checkpoint.shape(f"blocks.0.mlp_tokens.{fc}.weight") for fc in ("fc1", "fc2"))
    channel = checkpoint.shape("blocks.0.mlp_channels.fc1.weight")
    if 3 in (len(first), len(second), len(channel)):
        return "its matrices are kept as blocks, as fly's are"
    if len(checkpoint.shape("blocks.0.norm1.weight")) == 2:
        return "its norms are over tokens and channels, as in vanillamixer_*"
    gated = len(first) == len(second) == 2 and first[0] == 2 * second[1]
    return "its fc1 gives value and gate, as in a gated gmixer_*" if gated else ""


LAYOUTS: tuple[Layout, ...] = (
    replace(TIMM.layout(), objection=_timm_objection),
    *(dialect.layout() for dialect in DIALECTS if dialect is not TIMM),
    fly.LAYOUT,
)
