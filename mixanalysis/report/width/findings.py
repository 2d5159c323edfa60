"""The finding of widths: networks against the widest Mixer of their Omega, in words and numbers."""

from __future__ import annotations

import pandas as pd

from mixanalysis.report.section import Finding
from mixanalysis.results import plain
from mixanalysis.selection import listed

WIDER = 1.005
"""A network is called wider than the widest Mixer from this ratio on, and as wide from its inverse on; whole tokens and
channels round below it."""


def finding(points: pd.DataFrame) -> Finding:
    """Where each network stands relative to the widest Mixer m* of its own Omega; `points`: `WIDTH_POINTS`."""
    known = points[points["width"].notna() & (points["widest_mixer"] > 0)]
    if known.empty:
        return Finding("No network has an effective width")
    ratio = (known["width"] / known["widest_mixer"]).to_numpy(dtype=float)
    first = int(ratio.argmax())
    widest = known.iloc[first]
    if ratio[first] >= WIDER:
        title = f"{widest['network']} is {ratio[first]:.3g} times as wide as the widest Mixer of its Ω"
    elif len(level := known.loc[ratio > 1 / WIDER, "network"].astype(str)) > 0:
        title = f"{listed([*level])} {'is' if len(level) == 1 else 'are'} as wide as the widest Mixer of the same Ω"
    elif len(known) == 1:
        title = f"{widest['network']} has {_percent(ratio[first])} of the width of the widest Mixer of its Ω"
    else:
        title = (
            f"No network is wider than the widest Mixer of its Ω; {widest['network']} comes closest, "
            f"at {_percent(ratio[first])}"
        )
    told = [
        f"{row.network} has m = {row.width:,.6g} and p = {row.density:.3g}, {_percent(share)} of m* = "
        f"{row.widest_mixer:,.6g} at Ω = {row.omega:,.0f}"
        for row, share in zip(known.itertuples(), ratio, strict=True)
    ]
    sentences = [f"{listed(told, '; ')}."]
    sentences.append("m* is the width of the widest Mixer with the same average number of connections Ω.")
    if len(known) < len(points):
        missing = points.loc[points.index.difference(known.index), "network"]
        sentences.append(f"Without an effective width: {listed([*map(str, missing)])}.")
    numbers = {name: plain(widest[name]) for name in ("network", "width", "density", "widest_mixer")}
    return Finding(title, tuple(sentences), numbers | {"ratio": float(ratio[first])})


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 9.995 else f"{share:.3g} times"
