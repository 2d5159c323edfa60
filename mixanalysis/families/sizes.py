"""The few numbers that one names a network by, and the configuration that follows from them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

from mixanalysis.errors import UsageError
from mixanalysis.families import FAMILIES, SIZES, TRAINABLE
from mixanalysis.selection import did_you_mean

if TYPE_CHECKING:
    from mixanalysis.network import Config, Patches

T = TypeVar("T")

CHANNELS = 16
"""Default C."""


@dataclass(frozen=True)
class Sizes:
    """The numbers that name a network; None where the family's default is wanted.

    Attributes:
        channels: C of a Mixer; an MLP's default width is S0 C. A Monarch or Kronecker MLP takes the pixels themselves
            unless a number is given.
        tokens: S of a Mixer; the number of patches by default.
        expansion: gamma; 2 by default (1 for a Monarch or Kronecker MLP), always 1 for an S-Mixer.
        expansion_token: gamma_S of a Mixer, `expansion` by default.
        expansion_channel: gamma_C of a Mixer, `expansion` by default.
        depth: base blocks of a Mixer (3), or blocks of an MLP (6; 1 with Monarch or Kronecker weights).
        width: m of an MLP; S0 C by default.
        density: p of an SW-MLP; by default the Mixer's own, (1/S0 + 1/C)/2.
        block: "mlp" (default) or "fc" blocks of an MLP.
        mask: "bernoulli" (default) or "exact".
        mask_value: "inverse-root" (default) or "one".
        permutations: of a PK network, for each base block; "normal" by default, see `PKConfig`.
        blocks: k of a Monarch or Kronecker MLP; by default near sqrt(m).
        skip: whether the blocks of a Monarch or Kronecker MLP have a LayerNorm and a skip; they have none by default.
        activation: "relu" (default) or "gelu", of a Monarch or Kronecker MLP.
    """

    channels: int | None = None
    tokens: int | None = None
    expansion: float | None = None
    expansion_token: float | None = None
    expansion_channel: float | None = None
    depth: int | None = None
    width: int | None = None
    density: float | None = None
    block: str | None = None
    mask: str | None = None
    mask_value: str | None = None
    permutations: str | None = None
    blocks: int | None = None
    skip: bool | None = None
    activation: str | None = None


def configure(family: str, patches: Patches, classes: int, sizes: Sizes) -> Config:
    """The configuration of a network of that family.

    Args:
        family: one of `TRAINABLE`.
        patches: the images and their patches.
        classes: outputs.
        sizes: the numbers that name the network.

    Returns:
        A configuration whose family has that name.

    Raises:
        UsageError: the family is unknown or isn't made from sizes, a number doesn't apply to it, or is out of range.
    """
    accepted = SIZES.get(family)
    if accepted is None:
        known = ", ".join(TRAINABLE)
        if family in SIZES:
            raise UsageError(f"a {family} is read from checkpoints, not made anew; made are {known}")
        raise UsageError(f"unknown family {family!r}; known are {known}{did_you_mean(family, TRAINABLE)}")
    for field in fields(sizes):
        if getattr(sizes, field.name) is not None and field.name not in accepted:
            option = field.name.replace("_", "-")
            raise UsageError(f"--{option} doesn't apply to the family {family}")
    made = FAMILIES[family].configure
    assert made is not None
    try:
        return made(patches, classes, sizes)
    except ValueError as error:
        raise UsageError(f"{family}: {error}") from None


def otherwise(value: T | None, default: T) -> T:
    """The value, or the default where none was given."""
    return default if value is None else value
