"""An analysis that this file alone makes up: it gets a section of its own in the folder, the PDF and the page."""

from __future__ import annotations

import base64
import html
import json
import re
from dataclasses import dataclass
from functools import partial

import pandas as pd
import pypdfium2
import pytest
from matplotlib.image import imread

import mixanalysis as mx
from cases import NETWORKS, network_of
from mixanalysis.report.section import Drawing, Finding, ResultTable, Section
from mixanalysis.report.style import axes_of
from mixanalysis.results import NETWORK, Schema
from mixanalysis.runs.analyses import ANALYSES, Analysis

DEPTHS = Schema.of("depths", NETWORK, ("depth", "blocks", "how many blocks it has"), keys=("network",))


@dataclass(frozen=True, eq=False)
class Depths:
    table: pd.DataFrame


def run(given):
    advance = given.stage("depths")
    rows = [{"network": network.label, "depth": len(network.taps)} for network in given.networks]
    if advance is not None:
        advance(1, 1)
    given.finished.append(partial(CLEARED.append, given.out))
    return Depths(DEPTHS.frame(rows))


def bars(figure, table):
    axes_of(figure).bar(range(len(table)), table["depth"])


def section(result):
    deepest = result.table.loc[result.table["depth"].idxmax()]
    return Section(
        "made-up",
        "Depth of networks",
        tables=(ResultTable.shown(DEPTHS, result.table, "The depths"), ResultTable("depths_again", result.table)),
        figures=(Drawing("depths", (3.25, 2.0), bars, (result.table,), "Blocks of each network."),),
        finding=Finding(f"{deepest['network']} is deepest", (f"It has {deepest['depth']} blocks.",)),
        notes=("Depth was counted, not measured.",),
    )


CLEARED = []


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    return [network_of(NETWORKS["mixer"], tmp_path_factory.mktemp("checkpoint") / "mixer.safetensors")]


@pytest.fixture(scope="module")
def report(networks, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "out"
    stages = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mixanalysis.runs.report.ANALYSES", (*ANALYSES, Analysis(run, section)))
        mx.write_report(networks, "noise", out, limit=8, batch_size=4, stage=stages.append)
    assert stages == ["CKA", "spectra", "depths", "figures"]
    assert [out] == CLEARED
    return out


@pytest.fixture(scope="module")
def pages(report):
    document = pypdfium2.PdfDocument(report / "report.pdf")
    texts = []
    for page in document:
        text = page.get_textpage()
        texts.append(" ".join(text.get_text_range().split()))
        text.close()
        page.close()
    document.close()
    return texts


@pytest.fixture(scope="module")
def page(report):
    return (report / "report.html").read_text(encoding="utf-8")


def test_the_folder_has_its_tables_and_its_figure(report):
    table = pd.read_csv(report / "tables" / "depths.csv")
    assert list(table) == ["network", "depth"]
    assert (report / "tables" / "depths_again.csv").exists()
    assert imread(report / "figures" / "depths.png").std() > 0.02
    outputs = json.loads((report / "manifest.json").read_text(encoding="utf-8"))["outputs"]
    assert {"tables/depths.csv", "figures/depths.png"} < set(outputs)


def test_the_pdf_has_its_finding_first_and_a_section_last(report, pages):
    (depth,) = pd.read_csv(report / "tables" / "depths.csv")["depth"]
    assert "is deepest" in pages[0]
    assert f"It has {depth} blocks." in pages[0]
    assert "Depth was counted, not measured." in pages[0]
    (own,) = [text for text in pages if text.startswith("Depth of networks")]
    assert "Blocks of each network." in own
    assert re.search(rf"Table \d+\. The depths\. network depth \S+ {depth}\b", own)
    assert pages.index(own) == len(pages) - 2, "before where all of it came from"


def test_the_page_has_a_section_with_all_of_it(report, page):
    text = html.unescape(page)
    (own,) = re.findall(r'<section id="made-up".*?</section>', text, re.DOTALL)
    assert '<h2 id="h-made-up">Depth of networks</h2>' in own
    assert '<p class="note">Depth was counted, not measured.</p>' in own
    assert own.count('data-table="') == 1
    assert "<dd>how many blocks it has</dd>" in own
    assert "<figcaption>Blocks of each network.</figcaption>" in own
    assert '<a href="#made-up">Made-up</a>' in text
    assert '<h3 id="finding-made-up">' in text
    ids = re.findall(r' id="([^"]+)"', page.split("<script", 1)[0])
    assert len(ids) == len(set(ids))


def test_a_figure_without_a_chart_is_in_the_page_itself(report, page, tmp_path):
    (image,) = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="Blocks of each network.">', page)
    (tmp_path / "image.png").write_bytes(base64.b64decode(image))
    assert (tmp_path / "image.png").read_bytes() == (report / "figures" / "depths.png").read_bytes()


def test_other_sections_are_as_without_it(networks, report, page, tmp_path):
    out = tmp_path / "out"
    mx.write_report(networks, "noise", out, limit=8, batch_size=4)
    for path in out.rglob("*.csv"):
        assert path.read_bytes() == (report / path.relative_to(out)).read_bytes(), path.name
    other = (out / "report.html").read_text(encoding="utf-8")
    for topic in ("similarity", "spectra", "width"):
        ours, theirs = (re.findall(rf'<section id="{topic}".*?</section>', text, re.DOTALL) for text in (page, other))
        assert ours == theirs
