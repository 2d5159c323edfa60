"""The layers of all networks in one batch, checked against those of the batches before."""

from __future__ import annotations

from collections.abc import Sequence

from mixanalysis.errors import DataError
from mixanalysis.similarity.estimators.kernels import NO_SCALE
from mixanalysis.similarity.sources.source import Layer, Observation, Source

INPUT = (Layer("input", "", 0),)
"""Stands last where the input is regressed out."""


def checked(
    sources: Sequence[Source],
    observations: Sequence[Observation],
    before: Sequence[Sequence[Layer]] | None,
    index: int,
) -> tuple[tuple[tuple[Layer, ...], ...], dict[int, str]]:
    """Layers of all networks in batch `index`, and for their positions among all why some have no features.

    Returns:
        The layers of each network, and a reason for each position without features.

    Raises:
        DataError: the layers aren't those of the batches before, or no layer of any network has finite features.
    """
    layers = tuple(observation.layers for observation in observations)
    for source, expected, now in zip(sources, layers if before is None else before, layers, strict=False):
        if [layer.name for layer in expected] != [layer.name for layer in now]:
            message = (
                f"{source.label}: its modules run in another order or number in batch {index} than before, so that "
                "their features can't be matched; choose modules that run once"
            )
            raise DataError(message)
    reasons: dict[int, str] = {}
    start = 0
    for observation in observations:
        reasons |= {start + position: reason for position, reason in observation.reasons.items()}
        start += len(observation.layers)
    if all(value is None for observation in observations for value in observation.values):
        source, first = sources[0], observations[0]
        if first.reasons[0] != NO_SCALE:
            layer = first.layers[0].name
            message = f"{source.label}: features of {layer} are {first.reasons[0]}, and no layer has better ones"
            raise DataError(message)
    return layers, reasons
