"""Effective width as a section: lines at fixed Omega, and networks as points on them."""

from __future__ import annotations

from functools import partial

from mixanalysis.report.cells import grouped
from mixanalysis.report.section import Drawing, Interactive, Printed, ResultTable, Section
from mixanalysis.report.style import TEXT
from mixanalysis.report.width import figures
from mixanalysis.report.width.findings import finding
from mixanalysis.results import records
from mixanalysis.width import WIDTH_POINTS, WidthResult


def section(result: WidthResult) -> Section:
    """p(m) and m(C) at the Omega of every network."""
    caption = "The networks and the widest Mixer of the same Ω"
    drawn = tuple(drawings(result))
    return Section(
        "width",
        "Effective width",
        tables=(
            ResultTable.shown(WIDTH_POINTS, result.points, caption),
            ResultTable("width_line", result.lines),
            ResultTable("width_channels", result.channels),
        ),
        figures=drawn,
        finding=finding(result.points),
        printed=partial(Printed, figures=drawn),
        interactive=partial(_interactive, result),
    )


def drawings(result: WidthResult) -> list[Drawing]:
    """p(m) with the networks as points, and m(C) and p(C) of Mixers."""
    caption = (
        "Density p against effective width m. Each line holds Omega, the average number of connections of a "
        "layer, fixed; each network is a point on the line of its own Omega."
    )
    mixers = "Effective width and density of all Mixers with a given Omega, by their channels."
    return [
        Drawing("width", (TEXT, 3.0), figures.width_lines, (result.lines, result.points), caption),
        Drawing("width_channels", (TEXT, 2.7), figures.channel_lines, (result.channels,), mixers),
    ]


def _interactive(result: WidthResult) -> Interactive:
    data = {
        "channels": grouped(result.channels, ("omega", "expansion_token", "expansion_channel")),
        "lines": grouped(result.lines, ("omega", "expansion")),
        "points": records(result.points),
    }
    return Interactive("width/page.html", {"width": data})
