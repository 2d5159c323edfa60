"""The page says what the tables say."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from mixanalysis.errors import UsageError
from mixanalysis.papers import Ledger, Options, page, reproduce
from mixanalysis.papers.schemas import PAPER_CLAIMS, PAPER_VALUES
from mixanalysis.papers.statistics import Estimate
from mixanalysis.papers.tables import claim, exact, reference
from papers.tiny import EXPERIMENTS, PAPER, SPECS

CLAIM = claim("fig7", "Deep is | good", "digits", "a difference", Estimate(0.1, 0.05, 0.15, 3), "above 0", "agrees")
UNKNOWN = claim("fig7", "Wide", "digits", "b", Estimate(math.nan, math.nan, math.nan, 0), "above 0", "can't be told")
VALUES = [reference("fig3", "m", "4096", exact(4096.0)), reference("fig3", "s", "2", Estimate(1.9, 1.8, 2.0, 3))]
RUNS = pd.DataFrame(
    [
        {"series": "Mixer", "panel": "digits", "x": 1.0, "seed": 0, "data": "digits", "status": "ok", "run": "a"},
        {"series": "Mixer", "panel": "digits", "x": 1.5, "seed": 1, "data": "digits", "status": "failed", "run": "b"},
    ]
).assign(error=["", "CheckFailedError: no"])


def section(name="fig7", **changes):
    found = page.Section(
        EXPERIMENTS[name],
        "demo",
        [("channels", "16")],
        PAPER_CLAIMS.frame([CLAIM, UNKNOWN]),
        PAPER_VALUES.frame(VALUES),
        RUNS,
        ["fig7/figures/fig7.png"],
    )
    return replace(found, **changes)


def test_claims_and_values():
    lines = page.text(PAPER, [section()]).splitlines()
    assert lines[0] == page.FIRST_LINE
    row = next(line for line in lines if "Deep" in line)
    assert row == (
        "| fig7 | Deep is \\| good | digits | a difference | 0.1 (0.05 to 0.15) | 3 | above 0 | **agrees** |"
    )
    assert "| fig7 | Wide | digits | b | no value | 0 | above 0 | **can't be told** |" in lines
    assert "| fig3 | m | 4096 | 4096 |" in lines
    assert "| fig3 | s | 2 | 1.9 (1.8 to 2) |" in lines


def test_what_was_run_and_what_failed():
    lines = page.text(PAPER, [section()]).splitlines()
    assert "## fig7: Test error against depth" in lines
    assert "Scale: demo. 2 training runs on digits, 2 seeds, 1 failed." in lines
    assert "![fig7.png](fig7/figures/fig7.png)" in lines
    assert "- channels: 16" in lines
    assert "| Mixer | digits | 1.5 | 1 | CheckFailedError: no |" in lines
    assert EXPERIMENTS["fig7"].notes.splitlines()[0] in lines


def test_without_claims_and_runs():
    lines = page.text(PAPER, [section("fig3", claims=pd.DataFrame(), runs=None, values=pd.DataFrame())]).splitlines()
    assert "None of these figures has a claim that is examined." in lines
    assert "Scale: demo. No training." in lines
    assert "## Printed values" not in lines


def test_nothing_failed():
    assert "Failed runs" not in page.text(PAPER, [section(runs=RUNS.head(1))])


def tiny(*names):
    return [replace(EXPERIMENTS[name], presets={"demo": SPECS[name]}) for name in names]


def test_figures_made_one_after_the_other_share_the_page(tmp_path):
    out = tmp_path / "out"
    reproduce(tiny("fig3"), out, Ledger(out / "runs"))
    first = (out / "README.md").read_text(encoding="utf-8")
    assert "## table-s3" not in first
    found = reproduce(tiny("table-s3"), out, Ledger(out / "runs"))
    text = found.page.read_text(encoding="utf-8")
    assert "## fig3: " in text
    assert "## table-s3: " in text
    assert "| table-s3 | An RP-Mixer costs as many operations as a Mixer | m = 64 |" in text
    for line in text.splitlines():
        if line.startswith("!["):
            assert (out / line.partition("(")[2].rstrip(")")).exists()
    assert found.claims["verdict"].tolist() == ["agrees", "agrees"]


def test_a_page_of_somebody_else_stays(tmp_path):
    (tmp_path / "README.md").write_text("# Mine\n")
    with pytest.raises(UsageError, match=r"README.md: is not a page of this command; choose another --output, or use"):
        reproduce(tiny("fig3"), tmp_path, Ledger(tmp_path / "runs"))
    assert not (tmp_path / "fig3").exists()
    reproduce(tiny("fig3"), tmp_path, Ledger(tmp_path / "runs"), force=True)
    assert (tmp_path / "README.md").read_text(encoding="utf-8").startswith(page.FIRST_LINE)


def test_a_folder_of_somebody_else_stays(tmp_path):
    (tmp_path / "fig3").mkdir()
    (tmp_path / "fig3" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"fig3: holds files, but no manifest of an earlier run"):
        reproduce(tiny("fig3"), tmp_path, Ledger(tmp_path / "runs"))


def test_options_reach_the_presets(tmp_path):
    found = reproduce(tiny("fig3"), tmp_path, Ledger(tmp_path / "runs"), Options(lines=((2.0**19, (2.0, 2.0)),)))
    assert found.values["value"].tolist() == pytest.approx([64.0, 4096.0, 1 / 64])
    found.check()
