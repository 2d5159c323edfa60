"""A network described in names and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixanalysis.network import UNKNOWN, Assumed, Network, to_dict
from mixanalysis.network.tables import layer_table
from mixanalysis.results import records
from mixanalysis.selection import listed


def describe(network: Network) -> dict[str, Any]:
    """Everything that is known about a network without running it, JSON-ready."""
    source = network.provenance
    known = network.family != UNKNOWN
    return {
        "label": network.label,
        "path": str(source.path),
        "format": source.format,
        "wrapper": source.wrapper,
        "layout": source.layout,
        "assumed": {name: assumed._asdict() for name, assumed in source.assumed.items()},
        "family": network.family,
        "config": to_dict(network.config),
        "width": network.width if known else None,
        "density": network.density if known else None,
        "expansion": network.expansion if known else None,
        "expansions": network.expansions() if known else {},
        "omega": network.omega if known else None,
        "parameters": network.parameters,
        "blocks": len(network.taps),
        "training": dict(source.training),
        "unused": list(source.unused),
        "layers": records(layer_table([network])),
    }


def facts(network: Network) -> list[tuple[str, str]]:
    """A network's description for reading, layers left out."""
    source = network.provenance
    known = describe(network)
    if network.family == UNKNOWN:
        return [
            ("file", known["path"]),
            ("format", f"{source.format}, wrapper {source.wrapper}"),
            ("family", "unknown: its matrices alone can be analysed (spectrum)"),
            ("not used", by_reason(source.unused) or "nothing: every tensor is a matrix"),
        ]
    lines = [
        ("file", known["path"]),
        ("format", f"{source.format}, wrapper {source.wrapper}, layout {source.layout}"),
        ("family", network.family),
        ("config", _pairs(known["config"])),
        ("effective width", f"m = {network.width}"),
        ("density", f"p = {network.density:.6g}"),
        ("expansion", f"γ = {network.expansion:.4g} ({_expansions(network)})"),
        ("connections", f"Ω = {network.omega:,.6g} per layer"),
        ("parameters", f"{network.parameters:,}"),
        ("blocks", ", ".join(tap.name for tap in network.taps)),
    ]
    if source.assumed:
        lines.append(("assumed", _assumed(source.assumed)))
    if source.training:
        hidden = ("key", "data_fingerprint", "expanded_from")
        shown = {name: value for name, value in source.training.items() if name not in hidden}
        lines.append(("training", _pairs(shown) or "no record"))
        if isinstance(origin := source.training.get("expanded_from"), dict):
            lines.append(("expanded from", _pairs(origin)))
    lines.append(("not used", ", ".join(source.unused) or "nothing: every tensor is used"))
    return lines


def _expansions(network: Network) -> str:
    """Each role's expansion, or from where to where its layers' go."""
    roles: dict[str, list[float]] = {}
    for layer in network.mixing_layers:
        roles.setdefault(layer.role, []).append(layer.expansion)
    told = []
    for role, gammas in roles.items():
        least, most = f"{min(gammas):.4g}", f"{max(gammas):.4g}"
        told.append(f"{role} {least}" + f" to {most}" * (least != most))
    return ", ".join(told)


def by_reason(unused: Sequence[str], most: int | None = None) -> str:
    """Tensors that aren't used, each "name (reason)", by their reasons.

    Args:
        unused: the tensors.
        most: names of a reason at most, before their number; all by default.

    Returns:
        Text with the reasons in parentheses.
    """
    names: dict[str, list[str]] = {}
    for text in unused:
        name, _, reason = text.removesuffix(")").partition(" (")
        names.setdefault(reason, []).append(name)
    told = []
    for reason, group in names.items():
        told.append(f"{listed(group, most=len(group) if most is None else most)} ({reason})")
    return "; ".join(told)


def _assumed(assumed: Mapping[str, Assumed]) -> str:
    """Facts that tensors don't tell, the user's word for them apart from the layout's."""
    who = {"user": "as you say", "file": "as its file says", "layout": "as this layout is"}
    parts = []
    for source, words in who.items():
        said = {name: _shown(value) for name, (value, by) in assumed.items() if by == source}
        parts += [f"{_pairs(said)} ({words})"] * bool(said)
    return "; ".join(parts)


def _shown(value: Any) -> Any:
    """An image's height and width, or the value itself."""
    return " x ".join(map(str, value)) if isinstance(value, tuple) else value


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in values.items())


def _value(value: Any) -> str:
    """A table in parentheses; a list of tables by its length; equal tables of a table once."""
    if isinstance(value, dict):
        same = list(value.values())
        if len(same) > 1 and isinstance(same[0], dict) and all(each == same[0] for each in same):
            return f"(each {_pairs(same[0])})"
        return f"({_pairs(value)})"
    tables = isinstance(value, list | tuple) and all(isinstance(each, dict) for each in value)
    return str(len(value)) if tables else str(value)
