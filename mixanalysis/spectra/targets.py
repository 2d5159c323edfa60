"""What of a network is analysed: its layers, their differences from the initial ones, or products of a block's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mixanalysis.errors import NothingToAnalyseError, UsageError
from mixanalysis.network import MixingLayer, Network
from mixanalysis.operators import Operator
from mixanalysis.selection import Selection, closest_names
from mixanalysis.spectra.difference import difference


@dataclass(frozen=True)
class Target:
    """One matrix to analyse: a layer, or the product of a block's layers.

    Attributes:
        network: label of its network.
        layer: its name.
        block: index of its mixing block.
        role: what it mixes, or "product".
        layers: the layers, in forward order; one unless it is a product.
        initial: for W - W0, the layers of the initial network.
    """

    network: str
    layer: str
    block: int
    role: str
    layers: tuple[MixingLayer, ...]
    initial: tuple[MixingLayer, ...] = ()

    def operators(self) -> list[Operator]:
        """The layers' operators, read now."""
        if not self.initial:
            return [layer.operator for layer in self.layers]
        try:
            return [difference(a.operator, b.operator) for a, b in zip(self.layers, self.initial, strict=True)]
        except ValueError as error:
            raise UsageError(f"{self.network} {self.layer}: W - W0: {error}") from None


def chosen(
    networks: Sequence[Network], keep: Callable[[str], bool], *, products: bool = False, initial: Network | None = None
) -> list[Target]:
    """The layers, or products, of all networks that are kept by their names.

    Returns:
        Targets in the order of networks and layers.

    Raises:
        NothingToAnalyseError: none is kept, or none by one of the patterns of a `Selection`.
    """
    every = [
        target for network in networks for target in (of_products(network) if products else of_layers(network, initial))
    ]
    names = [target.layer for target in every]
    kept = [target for target in every if keep(target.layer)]
    idle = keep.idle(names) if isinstance(keep, Selection) else []
    if idle or not kept:
        wanted = f" for {', '.join(idle)}" * bool(idle)
        there = f"layers are {closest_names(names, keep)}" if names else "no block has layers that could be multiplied"
        raise NothingToAnalyseError(f"no layer left to analyse{wanted}; {there}")
    return kept


def of_layers(network: Network, initial: Network | None) -> Iterator[Target]:
    """Every layer, or what training added to it.

    Yields:
        A target per layer.

    Raises:
        UsageError: the initial network has no layer of that name.
    """
    before = {} if initial is None else {layer.name: layer for layer in initial.layers}
    for layer in network.layers:
        if initial is not None and layer.name not in before:
            raise UsageError(f"{initial.label} has no layer {layer.name}; W - W0 needs the same architecture")
        rest = (before[layer.name],) if initial is not None else ()
        yield Target(network.label, layer.name, layer.block, layer.role, (layer,), rest)


def of_products(network: Network) -> Iterator[Target]:
    """The linear products of a base block's token and channel mixing, or of an MLP block's layers.

    Yields:
        A target per product.

    Raises:
        NothingToAnalyseError: the layers of a mixing block are no chain.
    """
    mixing = network.mixing_layers
    roles: dict[int, set[str]] = {}
    for layer in mixing:
        roles.setdefault(layer.block, set()).add(layer.role)
    branched = [block for block, found in roles.items() if len(found) > 1]
    if branched:
        found = ", ".join(layer.name for layer in mixing if layer.block == branched[0])
        raise NothingToAnalyseError(
            f"{network.label}: a {network.family} has no products: its block {branched[0]} has branches "
            f"({found}), which are added or multiplied"
        )
    paired = {layer.role for layer in mixing} == {"token", "channel"}
    for index, group in itertools.groupby(mixing, lambda layer: layer.block // 2 if paired else layer.block):
        members = tuple(group)
        if len(members) > 1:
            yield Target(network.label, f"product.{index}", members[0].block, "product", members)
