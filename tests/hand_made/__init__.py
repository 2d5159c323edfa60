"""Checkpoints of other projects, written by hand with formulas of their forward passes: `CASES`, by name."""

from hand_made import dimension_mixer, nested, paramixer, plain_mlp, timm_relatives, wide_sparse
from hand_made.parts import HandMade

CASES: dict[str, HandMade] = {
    **timm_relatives.CASES,
    **paramixer.CASES,
    **wide_sparse.CASES,
    **dimension_mixer.CASES,
    **nested.CASES,
    **plain_mlp.CASES,
}
