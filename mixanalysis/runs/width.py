"""Effective width with its folder of tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mixanalysis import width
from mixanalysis.network import Network
from mixanalysis.report.style import PAPER, FigureStyle
from mixanalysis.report.width.section import section
from mixanalysis.runs.folder import Invocation, opened
from mixanalysis.width import WidthResult


def width_report(
    networks: Sequence[Network],
    omegas: Sequence[float],
    expansions: tuple[float, float],
    out: Path,
    request: Invocation,
    *,
    look: FigureStyle = PAPER,
    force: bool = False,
) -> WidthResult:
    """Lines p(m) and m(C) for each Omega and for that of each network, written to `out`.

    Args:
        networks: drawn as points; their own Omegas give lines too.
        omegas: average connections of a layer.
        expansions: (gamma_S, gamma_C) of the lines of `omegas`.
        out: the folder.
        request: what was asked for.
        look: file format and style of the figures.
        force: also write into a folder that holds files of others.

    Returns:
        The result that was written.

    Raises:
        UsageError: neither networks nor Omegas, or an Omega or expansion that isn't a positive number.
    """
    result = width.analyse(networks, omegas, expansions)
    with opened(out, request, networks=networks, look=look, force=force) as folder:
        folder.section(section(result))
        folder.table("width_optima", result.optima)
    return result
