"""Effective width and density at a fixed number of connections Omega (HK 13-15)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mixanalysis import representation
from mixanalysis.errors import UsageError
from mixanalysis.network import Network
from mixanalysis.results import NETWORK, Schema, records

Expansion = float | tuple[float, float]
"""gamma, or (gamma_S, gamma_C) where token and channel mixing expand differently."""

WIDTH_LINE = Schema.of(
    "width_line",
    ("omega", "connections", "fixed average connections of a layer, Omega"),
    ("expansion", "", "gamma"),
    ("width", "features", "effective width m"),
    ("density", "", "p(m) = Omega / (gamma m^2)"),
    ("mixer", "", "whether a Mixer of this width exists at this Omega"),
    keys=("omega", "expansion", "width"),
)

WIDTH_CHANNELS = Schema.of(
    "width_channels",
    ("omega", "connections", "fixed average connections of a layer, Omega"),
    ("expansion_token", "", "gamma_S"),
    ("expansion_channel", "", "gamma_C"),
    ("channels", "", "C"),
    ("tokens", "", "S(C), a real number"),
    ("width", "features", "effective width m = S C"),
    ("density", "", "(1/S + 1/C) / 2"),
    keys=("omega", "expansion_token", "expansion_channel", "channels"),
)

WIDTH_OPTIMA = Schema.of(
    "width_optima",
    ("omega", "connections", "fixed average connections of a layer, Omega"),
    ("expansion_token", "", "gamma_S"),
    ("expansion_channel", "", "gamma_C"),
    ("tokens", "", "S of the widest Mixer, a real number"),
    ("channels", "", "C of it"),
    ("width", "features", "its effective width m*"),
    ("density", "", "its density p*"),
    ("narrowest_mixer", "features", "width of the narrowest Mixer, of one token or one channel"),
    ("narrowest_sparse", "features", "width of the narrowest SW-MLP, at p = 1"),
    keys=("omega", "expansion_token", "expansion_channel"),
)

WIDTH_POINTS = Schema.of(
    "width_points",
    NETWORK,
    ("family", "", "kind of network"),
    ("width", "features", "effective width m"),
    ("density", "", "mean density p of the mixing layers"),
    ("expansion", "", "gamma for which Omega = p gamma m^2"),
    ("omega", "connections", "average connections of a mixing layer, Omega"),
    ("widest_mixer", "features", "width m* = (Omega/gamma)^(2/3) of the widest Mixer at this Omega"),
    keys=("network",),
)

SCHEMAS = (WIDTH_LINE, WIDTH_CHANNELS, WIDTH_OPTIMA, WIDTH_POINTS)


@dataclass(frozen=True)
class Optimum:
    """The widest Mixer at a fixed Omega; real numbers.

    Attributes:
        S: tokens.
        C: channels.
        m: effective width S C.
        p: density (1/S + 1/C)/2.
    """

    S: float
    C: float
    m: float
    p: float


def optimum(omega: float, expansion: Expansion = 1.0) -> Optimum:
    """The widest Mixer with Omega connections per layer.

    gamma_S S = gamma_C C = (Omega gamma_S gamma_C)^(1/3); for one gamma, S = C = (Omega/gamma)^(1/3) and
    m* = (Omega/gamma)^(2/3) (HK 15).

    Returns:
        S, C, m and p of the widest Mixer, real numbers.

    Raises:
        UsageError: Omega or an expansion is not positive.

    Examples:
        >>> optimum(2**19, 2.0)
        Optimum(S=64.0, C=64.0, m=4096.0, p=0.015625)
    """
    gamma_s, gamma_c = _pair(omega, expansion)
    hidden = math.cbrt(omega * gamma_s * gamma_c)
    tokens, channels = hidden / gamma_s, hidden / gamma_c
    return Optimum(tokens, channels, tokens * channels, (1 / tokens + 1 / channels) / 2)


def tokens(omega: float, expansion: Expansion, channels: float) -> float:
    """S(C): tokens of the Mixer with C channels and Omega = (gamma_S C S^2 + gamma_C C^2 S)/2 connections.

    For one gamma this is (sqrt(C^2 + 8 Omega/(gamma C)) - C)/2 (HK 14).

    Returns:
        S, a real number.

    Raises:
        UsageError: Omega, an expansion or the channels are not positive.

    Examples:
        >>> tokens(2**19, 2.0, 64)
        64.0
    """
    gamma_s, gamma_c = _pair(omega, expansion)
    if not channels > 0:
        raise UsageError(f"channels must be positive, got {channels}")
    half = gamma_c * channels / (2 * gamma_s)
    constant = 2 * omega / (gamma_s * channels)
    # the larger of half and the root cancels in half + root - 2 half; this form doesn't
    return constant / (math.sqrt(half * half + constant) + half)


def connections(tokens: float, channels: float, expansion: Expansion = 1.0) -> float:
    """Omega of a Mixer, (gamma_S C S^2 + gamma_C C^2 S)/2."""
    gamma_s, gamma_c = _pair(1.0, expansion)
    return (gamma_s * channels * tokens**2 + gamma_c * channels**2 * tokens) / 2


def density(omega: float, expansion: float, width: float) -> float:
    """p(m) = Omega/(gamma m^2), for Mixer and SW-MLP alike (HK 13)."""
    return omega / (expansion * width**2)


def mixer_range(omega: float, expansion: Expansion = 1.0) -> tuple[float, float]:
    """Narrowest (one channel or one token) and widest effective width of a Mixer."""
    gamma_s, gamma_c = _pair(omega, expansion)
    one_channel = tokens(omega, (gamma_s, gamma_c), 1.0)
    one_token = tokens(omega, (gamma_c, gamma_s), 1.0)
    return min(one_channel, one_token), optimum(omega, expansion).m


def narrowest_sparse(omega: float, expansion: float = 1.0) -> float:
    """Narrowest SW-MLP, at p = 1: sqrt(Omega/gamma)."""
    _pair(omega, expansion)
    return math.sqrt(omega / expansion)


def expansion_at(omega: float, channels: float, width: float) -> float:
    """Gamma of the Mixer of width m with C channels: 2 Omega/(m (C + m/C))."""
    return 2 * omega / (width * (channels + width / channels))


def line(omega: float, expansion: float = 1.0, widths: Iterable[float] | None = None) -> pd.DataFrame:
    """The line p(m) at fixed Omega, slope -2 on log axes.

    Args:
        omega: average connections of a layer.
        expansion: gamma.
        widths: effective widths; by default 100 of them, evenly spaced in log m, from the dense SW-MLP to four
            times the widest Mixer, and that of the widest Mixer.

    Returns:
        `WIDTH_LINE`, a row per width.

    Raises:
        UsageError: Omega or gamma is not positive, or a width is so small that p would pass 1.

    Examples:
        >>> line(1000.0, 1.0, [40, 50])["density"].tolist()
        [0.625, 0.4]
    """
    low, high = mixer_range(omega, expansion)
    dense = narrowest_sparse(omega, expansion)
    if widths is None:
        widths = np.union1d(np.geomspace(dense, max(4 * high, 2 * dense), 100), [max(high, dense)])
    rows = []
    for width in map(float, widths):
        p = density(omega, expansion, width) if width > 0 else math.inf
        if p > 1 + 1e-12:
            raise UsageError(
                f"width {width:g} can't hold Omega = {omega:g} connections at gamma = {expansion:g}: "
                f"it must be at least {dense:g}"
            )
        mixer = low * (1 - 1e-12) <= width <= high * (1 + 1e-12)
        rows.append({"omega": omega, "expansion": expansion, "width": width, "density": min(p, 1.0), "mixer": mixer})
    return WIDTH_LINE.frame(rows)


def channel_line(omega: float, expansion: Expansion = 1.0, channels: Iterable[float] | None = None) -> pd.DataFrame:
    """The lines S(C), m(C) and p(C) of Mixers at fixed Omega (HK Fig. 3).

    Args:
        omega: average connections of a layer.
        expansion: gamma, or (gamma_S, gamma_C).
        channels: channels C; by default 101 of them, evenly spaced in log C, over all C with at least one token.

    Returns:
        `WIDTH_CHANNELS`, a row per C.
    """
    gamma_s, gamma_c = _pair(omega, expansion)
    if channels is None:
        most = tokens(omega, (gamma_c, gamma_s), 1.0)
        channels = np.geomspace(1.0, max(most, 1.0), 101)
    rows = []
    for count in map(float, channels):
        token_count = tokens(omega, expansion, count)
        rows.append(
            {
                "omega": omega,
                "expansion_token": gamma_s,
                "expansion_channel": gamma_c,
                "channels": count,
                "tokens": token_count,
                "width": token_count * count,
                "density": (1 / token_count + 1 / count) / 2,
            }
        )
    return WIDTH_CHANNELS.frame(rows)


def points(networks: Iterable[Network]) -> pd.DataFrame:
    """Each network as a point (m, p) with its own Omega: `WIDTH_POINTS`."""
    return WIDTH_POINTS.frame(
        {
            "network": network.label,
            "family": network.family,
            "width": network.width,
            "density": network.density,
            "expansion": network.expansion,
            "omega": network.omega,
            "widest_mixer": optimum(network.omega, network.expansion).m,
        }
        for network in networks
    )


@dataclass(frozen=True, eq=False)
class WidthResult:
    """Lines at fixed Omega, their optima, and networks as points.

    Attributes:
        lines: p(m) for each Omega (`WIDTH_LINE`).
        channels: S(C), m(C) and p(C) for each Omega (`WIDTH_CHANNELS`).
        optima: a row per Omega (`WIDTH_OPTIMA`).
        points: a row per network (`WIDTH_POINTS`).
    """

    lines: pd.DataFrame
    channels: pd.DataFrame
    optima: pd.DataFrame
    points: pd.DataFrame

    def _repr_html_(self) -> str:
        optima = representation.table("Widest Mixer at fixed Omega", self.optima)
        return optima + representation.table("Networks", self.points)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready data."""
        return {
            "width_optima": records(self.optima),
            "width_points": records(self.points),
            "width_line": records(self.lines),
            "width_channels": records(self.channels),
        }


def analyse(networks: Sequence[Network] = (), omegas: Sequence[float] = (), expansion: Expansion = 1.0) -> WidthResult:
    """Lines p(m) and m(C) for each Omega and for that of each network.

    Args:
        networks: points; their own Omegas give lines too.
        omegas: average connections of a layer.
        expansion: gamma, or (gamma_S, gamma_C), of the lines of `omegas`.

    Returns:
        Lines and optima of the different Omegas in the order given, those of networks last.

    Raises:
        UsageError: neither networks nor Omegas, or an Omega or expansion that isn't a positive number.
    """
    gammas = expansion if isinstance(expansion, tuple) else (expansion, expansion)
    wanted: list[tuple[float, tuple[float, float]]] = [(omega, gammas) for omega in omegas]
    if not wanted and not networks:
        raise UsageError("give --omega, or checkpoints whose own Omega to use")
    wanted += [(network.omega, (network.expansion, network.expansion)) for network in networks]
    wanted = distinct(wanted)
    return WidthResult(
        pd.concat([line(omega, mean_expansion(gammas)) for omega, gammas in wanted], ignore_index=True),
        pd.concat([channel_line(omega, gammas) for omega, gammas in wanted], ignore_index=True),
        WIDTH_OPTIMA.frame(optimum_row(omega, gammas) for omega, gammas in wanted),
        points(networks),
    )


def optimum_row(omega: float, expansion: Expansion) -> dict[str, float]:
    """A row of `WIDTH_OPTIMA`."""
    gamma_s, gamma_c = _pair(omega, expansion)
    best = optimum(omega, expansion)
    return {
        "omega": omega,
        "expansion_token": gamma_s,
        "expansion_channel": gamma_c,
        "tokens": best.S,
        "channels": best.C,
        "width": best.m,
        "density": best.p,
        "narrowest_mixer": mixer_range(omega, expansion)[0],
        "narrowest_sparse": narrowest_sparse(omega, mean_expansion(expansion)),
    }


def mean_expansion(expansion: Expansion) -> float:
    """The gamma of the line p(m) of an SW-MLP whose layers expand by gamma_S and gamma_C in turn."""
    return sum(expansion) / 2 if isinstance(expansion, tuple) else expansion


def distinct(
    lines: Iterable[tuple[float, tuple[float, float]]], tolerance: float = 0.02
) -> list[tuple[float, tuple[float, float]]]:
    """(Omega, expansions) without those that a figure couldn't tell from an earlier one."""
    kept: list[tuple[float, tuple[float, float]]] = []
    for omega, gammas in lines:
        if not any(np.allclose((omega, *gammas), (other, *rest), rtol=tolerance) for other, rest in kept):
            kept.append((omega, gammas))
    return kept


def _pair(omega: float, expansion: Expansion) -> tuple[float, float]:
    pair = expansion if isinstance(expansion, tuple) else (expansion, expansion)
    if not (omega > 0 and math.isfinite(omega)):
        raise UsageError(f"Omega must be a positive number, got {omega}")
    if not all(gamma > 0 and math.isfinite(gamma) for gamma in pair):
        raise UsageError(f"an expansion must be a positive number, got {expansion}")
    return float(pair[0]), float(pair[1])
