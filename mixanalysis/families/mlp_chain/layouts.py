"""MLPs under anybody's own names: what every tensor belongs to, and which order its shapes allow, says what it is.

Any file of linear layers and norms alone whose shapes make one chain, that no other layout knows, and whose names don't
speak of attention, mixing, experts, skips or adapters: square matrices of any network make a chain. The activation is
assumed, as is the place of norms where module numbers don't tell it: in an `nn.Sequential`, a number without tensors
between a linear layer and its norm is the activation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.families import LAYOUTS as EVERY
from mixanalysis.families.assemble import assemble
from mixanalysis.families.assume import GUESSED
from mixanalysis.families.layout import Layout
from mixanalysis.families.mlp_chain.network import ChainLayer, MLPChainConfig
from mixanalysis.families.mlp_chain.order import Link, Module, chain, modules
from mixanalysis.families.tensor_shapes import colours_of, square_root
from mixanalysis.network import Network, Patches

NAME = "mlp-chain"

SOUGHT = "weights of linear layers, BatchNorm1d and LayerNorm alone"

SQUARE_OR_ROW = "square, or one row of pixels where that is impossible"
"""Images whose number of pixels alone is known."""

TOLD = "before-activation, unless numbers of modules tell"
"""Norms."""


def _chain(checkpoint: Checkpoint) -> tuple[Module | None, list[Link]]:
    return chain(modules(checkpoint), ordered="safetensors" not in checkpoint.format)


def _objection(checkpoint: Checkpoint) -> str:
    others = (layout for name, layout in EVERY.items() if name != NAME)
    if other := next((layout.name for layout in others if layout.recognise(checkpoint)), None):
        return f"it is in the {other} layout"
    try:
        _chain(checkpoint)
    except ValueError as error:
        return str(error)
    return ""


def _network(checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> Network:
    norm, links = _chain(checkpoint)
    numbered = _has_silent_numbers(_modules(norm, links))
    config = MLPChainConfig(
        patches=_patches(links[0].linear.inputs, assumed["image"], assumed["colours"]),
        layers=tuple(
            ChainLayer(
                name=link.linear.name,
                outputs=link.linear.outputs,
                bias=link.linear.bias,
                norm=link.norm.kind if link.norm else "none",  # type: ignore[arg-type]  # of a norm, never "linear"
                norm_last=_norm_last(link, assumed["norms"], numbered=numbered),
                activated=index < len(links) - 1 and not (numbered and _adjacent(link, links[index + 1])),
            )
            for index, link in enumerate(links)
        ),
        input_norm=norm.kind if norm else "none",  # type: ignore[arg-type]  # as above
        activation=assumed["activation"],
        norm_eps=assumed["norm_eps"],
    )
    theirs = {f"layers.{index}.linear": link.linear.name for index, link in enumerate(links)}
    theirs |= {f"layers.{index}.norm": link.norm.name for index, link in enumerate(links) if link.norm}
    theirs |= {"norm": norm.name} if norm else {}

    def renamed(ours: str) -> str:
        module, _, leaf = ours.rpartition(".")
        return f"{theirs[module]}.{leaf}" if theirs[module] else leaf

    return assemble(checkpoint, config, layout=NAME, rename=renamed)


def _varies(checkpoint: Checkpoint) -> tuple[str, ...]:
    norm, links = _chain(checkpoint)
    told = not any(link.norm for link in links[:-1]) or _has_silent_numbers(_modules(norm, links))
    return ("activation",) if told else ("activation", "norms")


def _modules(norm: Module | None, links: list[Link]) -> list[Module]:
    return [module for module in (norm, *(part for link in links for part in link)) if module is not None]


def _has_silent_numbers(known: list[Module]) -> bool:
    """True where modules are numbered, and some numbers have no tensors, as activations of an `nn.Sequential`."""
    numbers = sorted(module.numbers for module in known)
    if len({module.pattern for module in known}) > 1 or not all(numbers):
        return False
    return any(after != _next(before) for before, after in pairwise(numbers))


def _next(numbers: tuple[int, ...]) -> tuple[int, ...]:
    return (*numbers[:-1], numbers[-1] + 1)


def _adjacent(link: Link, after: Link) -> bool:
    """True where the next linear layer follows at once, without room for an activation."""
    between = [link.linear, *([link.norm] if link.norm else []), after.linear]
    return all(b.numbers == _next(a.numbers) for a, b in pairwise(between))


def _norm_last(link: Link, norms: str, *, numbered: bool) -> bool:
    """True where the norm comes after the activation."""
    if link.norm is None:
        return False
    if norms != TOLD:
        return norms == "after-activation"
    return numbered and link.norm.numbers != _next(link.linear.numbers)


def _patches(inputs: int, image: tuple[int, int] | str, colours: int | str) -> Patches:
    """Images of so many numbers.

    Returns:
        One patch a pixel; one row of pixels where nothing is assumed and no square is possible.

    Raises:
        ValueError: what is assumed of them contradicts their number.
    """
    if isinstance(image, tuple):
        pixels = math.prod(image)
        if inputs % pixels or colours not in (GUESSED, inputs // pixels):
            msg = f"its first layer takes {inputs} numbers, which are no image of {image[0]} x {image[1]} pixels"
            raise ValueError(msg if colours == GUESSED else f"{msg} and {colours} colours")
        return Patches(*image, inputs // pixels, 1)
    try:
        channels = colours_of(inputs, colours)
    except ValueError:
        if image == "square" or colours != GUESSED:
            raise
        return Patches(1, inputs, 1, 1)
    side = square_root(inputs // channels) or 0
    return Patches(side, side, channels, 1)


LAYOUTS = (
    Layout(
        NAME,
        (SOUGHT,),
        _network,
        {"activation": "relu", "norms": TOLD, "norm_eps": 1e-5, "image": SQUARE_OR_ROW, "colours": GUESSED},
        _objection,
        lambda checkpoint, _sought: bool(modules(checkpoint)),
        varies=_varies,
        presumes="one layer behind another without skips",
    ),
)
