"""The page: claim by claim, what the paper says, what was run, what was found, and whether it agrees.

It is written from the tables of every experiment's folder, so that figures made one after the other share it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mixanalysis.errors import UsageError
from mixanalysis.files import write_text
from mixanalysis.papers.experiment import Experiment, Options, described
from mixanalysis.papers.paper import Paper
from mixanalysis.papers.schemas import PAPER_CLAIMS, PAPER_VALUES
from mixanalysis.results import SEED_INTERVAL, to_json
from mixanalysis.runs.folder import OutputFolder

PAGE = "README.md"
FIRST_LINE = "<!-- written by mixanalysis reproduce -->"
SETTINGS = "settings.json"

HEADER = """# {title}, reproduced

{reference}. Intervals: {interval}. A claim *agrees* if the whole
interval of the number that decides lies where the rule says, *disagrees* if none of it does, and *can't be told*
otherwise. Numbers, places and rules were chosen before the runs, settings for the training to work; neither was changed
for the outcome. Claims are taken one by one: among so many, one in twenty may be decided by chance.
{caveats}"""


@dataclass(frozen=True, eq=False)
class Section:
    """What the page says of one experiment.

    Attributes:
        experiment: title and notes.
        scale: of its preset.
        settings: names and values of the preset.
        claims: rows of `schemas.PAPER_CLAIMS`.
        values: rows of `schemas.PAPER_VALUES`.
        runs: rows of `schemas.PAPER_RUNS`; None without runs.
        figures: paths of the figures, from the page.
    """

    experiment: Experiment
    scale: str
    settings: Sequence[tuple[str, str]]
    claims: pd.DataFrame
    values: pd.DataFrame
    runs: pd.DataFrame | None
    figures: Sequence[str]


def check(out: Path, *, force: bool) -> None:
    """Make sure that the page in `out` may be written.

    Raises:
        UsageError: there is one by somebody else, and `force` is not given.
    """
    path = out / PAGE
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(FIRST_LINE) and not force:
        raise UsageError(f"{path}: is not a page of this command; choose another --output, or use --force")


def describe(folder: OutputFolder, spec: Any, options: Options) -> None:
    """Write an experiment's preset into its folder."""
    settings = {"scale": options.scale, "settings": dict(described(spec))}
    folder.path(SETTINGS).write_text(to_json(settings) + "\n", encoding="utf-8", newline="\n")


def write(out: Path, paper: Paper) -> Path:
    """Write the page of all experiments of a paper that have a folder in `out`."""
    sections = [
        section
        for name, experiment in paper.experiments.items()
        if (section := _read(out / name, experiment)) is not None
    ]
    write_text(out / PAGE, text(paper, sections))
    return out / PAGE


def _read(folder: Path, experiment: Experiment) -> Section | None:
    if not (folder / SETTINGS).exists():
        return None
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    runs = folder / "tables" / "paper_runs.csv"
    return Section(
        experiment,
        settings["scale"],
        list(settings["settings"].items()),
        _table(folder, PAPER_CLAIMS.name),
        _table(folder, PAPER_VALUES.name),
        pd.read_csv(runs, keep_default_na=False, na_values=[""]) if runs.exists() else None,
        [f"{folder.name}/figures/{path.name}" for path in sorted((folder / "figures").glob("*"))],
    )


def _table(folder: Path, name: str) -> pd.DataFrame:
    path = folder / "tables" / f"{name}.csv"
    return pd.read_csv(path, dtype={"paper": str}) if path.exists() else pd.DataFrame()


def text(paper: Paper, sections: Sequence[Section]) -> str:
    """The page in Markdown, a pure function of the tables."""
    said = {"title": paper.title, "reference": paper.reference, "caveats": paper.caveats}
    parts = [FIRST_LINE, "", HEADER.format(interval=SEED_INTERVAL, **said)]
    parts += ["## Claims", "", *_claims(sections), ""]
    rows = [row for section in sections for row in section.values.to_dict(orient="records")]
    if rows:
        lines = [(row["figure"], row["quantity"], row["paper"], _with_interval(row)) for row in rows]
        parts += ["## Printed values", "", *_markdown(("figure", "quantity", "paper", "ours"), lines), ""]
    for section in sections:
        parts += _section(section)
    return "\n".join(parts).rstrip() + "\n"


def _claims(sections: Sequence[Section]) -> list[str]:
    header = ("figure", "the paper", "examined on", "number", "found", "n", "rule", "verdict")
    lines = [
        (
            row["figure"],
            row["claim"],
            row["where"],
            row["quantity"],
            _with_interval(row),
            str(row["n"]),
            row["rule"],
            f"**{row['verdict']}**",
        )
        for section in sections
        for row in section.claims.to_dict(orient="records")
    ]
    return _markdown(header, lines) if lines else ["None of these figures has a claim that is examined."]


def _section(section: Section) -> list[str]:
    name, title = section.experiment.name, section.experiment.title
    parts = [f"## {name}: {title}", "", f"Scale: {section.scale}. {_counts(section)}", ""]
    parts += [f"![{path.rpartition('/')[2]}]({path})" for path in section.figures]
    parts += ["", section.experiment.notes, "", "Run with:", ""]
    parts += [f"- {name}: {value}" for name, value in section.settings]
    if section.runs is not None:
        failed = section.runs[section.runs["status"] == "failed"].drop_duplicates("run")
        if len(failed):
            parts += ["", "Failed runs, left out of every mean:", ""]
            header = ("series", "panel", "x", "seed", "error")
            parts += _markdown(
                header, [tuple(_cell(getattr(row, column)) for column in header) for row in failed.itertuples()]
            )
    return [*parts, ""]


def _counts(section: Section) -> str:
    if section.runs is None:
        return "No training."
    distinct = section.runs.drop_duplicates("run")
    failed = int((distinct["status"] == "failed").sum())
    data = ", ".join(dict.fromkeys(distinct["data"]))
    return f"{len(distinct)} training runs on {data}, {distinct['seed'].nunique()} seeds, {failed} failed."


def _with_interval(row: Mapping[str, Any]) -> str:
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    if math.isnan(value):
        return "no value"
    if math.isnan(low) or low == high:
        return f"{value:.4g}"
    return f"{value:.3g} ({low:.3g} to {high:.3g})"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
