"""The registry of papers: another paper is reproduced by the engine as it is, and names cost no torch."""

from __future__ import annotations

import math
import subprocess
import sys
import types

import pandas as pd
import pytest

from mixanalysis.errors import UsageError
from mixanalysis.papers import Ledger, chosen, reproduce
from mixanalysis.papers.experiment import Experiment
from mixanalysis.papers.paper import Paper
from mixanalysis.papers.registry import PAPERS, default, figures
from mixanalysis.papers.schemas import PAPER_POINTS, tables
from mixanalysis.papers.statistics import mean
from mixanalysis.papers.tables import claim, exact, means_table, reference
from mixanalysis.results import Column, Schema
from papers.tiny import PAPER

TITLE = "Circles and Squares"
AREAS = Schema("paper_areas", (Column("side", "", "side of the square"),))


def squares(_spec, _context):
    place = {"figure": "fig1", "panel": "all", "series": "square", "x_name": "side"}
    return {
        "paper_points": means_table(pd.DataFrame([{**place, "x": x, "y": x**2} for x in (1.0, 2.0, 2.0)]), "y", "area")
    }


def draw(fig, points):
    fig.subplots().plot(points["x"], points["mean"])


def claims(found):
    twice = mean([row.mean / row.x**2 for row in found["paper_points"].itertuples()])
    return [
        claim("fig1", "An area is a square", "squares", "area over side^2", twice, "is 1", twice.decides(above=0.5))
    ]


@pytest.fixture(name="circles")
def _circles(monkeypatch):
    """A second paper, with a figure of formulas and one whose name the first paper has too."""
    areas = Experiment(
        name="fig1",
        title="Areas",
        notes="Drawn by hand.",
        presets={"demo": Paper("spec", "", "", {})},
        tables=squares,
        drawings=lambda found: [("fig1", (3.0, 2.0), draw, (found["paper_points"],))],
        claims=claims,
        values=lambda _found: [reference("fig1", "area of the unit circle", "3.14", exact(math.pi))],
    )
    folder = types.ModuleType("circles_2025")
    figure = types.ModuleType("circles_2025.areas")
    figure.FIG1, figure.FIG2 = areas, Experiment("fig2", "More", "", {}, squares, lambda _found: [])
    schemas = types.ModuleType("circles_2025.schemas")
    schemas.TABLES = {AREAS.name: AREAS}
    for module in (folder, figure, schemas):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    paper = Paper(
        "circles_2025", TITLE, "Euclid 2025", {"fig1": "areas:FIG1", "fig2": "areas:FIG2"}, "Exact.\n", has_schemas=True
    )
    monkeypatch.setitem(PAPERS, "circles_2025", paper)
    return paper


def test_a_second_paper_is_reproduced(circles, tmp_path):
    experiments = chosen(["fig1"])
    assert [(each.name, each.paper) for each in experiments] == [("fig1", "circles_2025")]
    found = reproduce(experiments, tmp_path / "out", Ledger(tmp_path / "runs"))
    text = found.page.read_text(encoding="utf-8")
    assert f"# {TITLE}, reproduced\n\nEuclid 2025. Intervals: " in text
    assert "decided by chance.\nExact.\n" in text
    assert PAPER.title not in text
    assert found.claims["verdict"].tolist() == ["agrees"]
    assert "| fig1 | area of the unit circle | 3.14 | 3.142 |" in text
    points = pd.read_csv(tmp_path / "out" / "fig1" / "tables" / "paper_points.csv")
    assert list(points.columns) == [column.name for column in PAPER_POINTS.columns]
    assert points["mean"].tolist() == [1.0, 4.0]
    assert (tmp_path / "out" / "fig1" / "figures" / "fig1.png").exists()


def test_its_tables_are_known(circles):
    names = list(tables())
    assert names.index("paper_points") < names.index(AREAS.name) < names.index("paper_claims")


def test_names_of_figures(circles):
    assert [each.paper for each in chosen(["hayase_2024/fig2", "fig3"])] == ["hayase_2024"] * 2
    assert [each.name for each in chosen(["circles_2025/all"])] == ["fig1", "fig2"]
    assert {each.paper for each in chosen(["all"])} == {default().name} == {"hayase_2024"}
    assert {"fig1", "fig3", "hayase_2024/fig2", "circles_2025/fig2"} < set(figures())
    assert "fig2" not in figures()
    with pytest.raises(UsageError, match=r"'fig2' is of several papers; name one as hayase_2024/fig2 or circ"):
        chosen(["fig2"])
    with pytest.raises(UsageError, match=r"figures of several papers \(hayase_2024, circles_2025\); run them one"):
        chosen(["fig3", "fig1"])
    with pytest.raises(UsageError, match=r"unknown 'euler/fig1', 'fig99'; known are hayase_2024/fig2, fig2d, "):
        chosen(["euler/fig1", "fig99"])
    with pytest.raises(UsageError, match=r"no figure; known are "):
        chosen([])


def test_experiments_of_two_papers_make_no_page(circles, tmp_path):
    both = [*chosen(["fig1"]), *chosen(["fig3"])]
    with pytest.raises(UsageError, match=r"must be those of one registered paper; see `chosen`"):
        reproduce(both, tmp_path, Ledger(tmp_path / "runs"))


def test_an_experiment_is_listed_under_its_own_name(circles):
    wrong = Paper("circles_2025", "", "", {"fig7": "areas:FIG1"})
    with pytest.raises(ValueError, match=r"circles_2025: the experiment fig1 is listed as fig7"):
        wrong.experiments  # noqa: B018


def test_names_cost_no_torch():
    code = (
        "import sys; from mixanalysis.papers.registry import figures; "
        "print(figures()[0], [m for m in ('torch', 'numpy', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "fig2 []"
