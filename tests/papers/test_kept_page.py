"""The reproduction that is kept in reports/paper: its page and its claims are those of its tables."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from mixanalysis.papers import page
from mixanalysis.papers.schemas import PAPER_CLAIMS
from papers.tiny import EXPERIMENTS, PAPER

KEPT = Path(__file__).parents[2] / "reports" / "paper"


def kept() -> list[Path]:
    return [path for path in KEPT.rglob("*") if path.is_file() and KEPT / "runs" not in path.parents]


def tables(name: str) -> dict[str, pd.DataFrame]:
    return {path.stem: pd.read_csv(path, keep_default_na=True) for path in (KEPT / name / "tables").glob("*.csv")}


def test_it_is_whole_and_small():
    assert {path.name for path in KEPT.iterdir()} - {"runs"} == {*EXPERIMENTS, "README.md"}
    assert sum(path.stat().st_size for path in kept()) < 3e6
    assert not [path for path in kept() if path.suffix in (".safetensors", ".partial")]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_claims_follow_from_the_tables(name):
    found = tables(name)
    expected = PAPER_CLAIMS.frame(EXPERIMENTS[name].claims(found))
    if len(expected):
        pd.testing.assert_frame_equal(found["paper_claims"], expected, check_dtype=False)
    else:
        assert "paper_claims" not in found


def test_at_least_three_seeds():
    for name in EXPERIMENTS:
        runs = tables(name).get("paper_runs")
        if runs is not None:
            seeds = runs.groupby(["panel", "series", "x"])["seed"].nunique()
            assert seeds.min() >= 3, name


def test_the_page_is_written_from_them(tmp_path):
    sections = [page._read(KEPT / name, experiment) for name, experiment in EXPERIMENTS.items()]
    assert page.text(PAPER, sections) == (KEPT / "README.md").read_text(encoding="utf-8")


def test_every_figure_is_on_the_page():
    text = (KEPT / "README.md").read_text(encoding="utf-8")
    figures = [path for path in kept() if path.suffix == ".png"]
    assert len(figures) == 17
    for path in figures:
        assert f"({path.relative_to(KEPT)})" in text


def test_manifests_name_no_place_of_one_machine():
    for name in EXPERIMENTS:
        manifest = json.loads((KEPT / name / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["argv"] == ["mixanalysis", "reproduce", "all", "--jobs", "2", "-o", "reports/paper"]
