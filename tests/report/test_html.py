"""The page, read as text: one file, well formed, labelled, escaped, small, and the same for the same contents."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from made_up import contents
from mixanalysis.report.cells import short, text_of
from mixanalysis.report.html import page, write_html
from mixanalysis.report.html.page import MOST_ROWS, embedded
from mixanalysis.report.similarity import charts as similarity_charts
from mixanalysis.report.similarity.charts import chosen_pairs
from mixanalysis.report.similarity.section import SHOWN as PAIR_COLUMNS
from mixanalysis.report.spectra import charts as spectra_charts
from mixanalysis.report.spectra.charts import RATIO
from mixanalysis.report.spectra.section import SHOWN as LAYER_COLUMNS
from mixanalysis.report.style import PALETTE
from mixanalysis.runs.schemas import SCHEMAS

VOID = {"meta", "link", "input", "br"}
NAMESPACE = "http://www.w3.org/2000/svg"
MEGABYTE = 1_000_000
NASTY = '</script><script>alert("1")</script>&amp;\u2028'


SHOWN = {
    "networks": (),
    "cka_diagonal": PAIR_COLUMNS,
    "spectrum": LAYER_COLUMNS,
    "spectrum_outliers": (),
    "width_points": (),
}
"""Columns of the page's tables; all where none are named."""


def render(made):
    return page.render(made.report())


def payload(made):
    report = made.report()
    return page.payload(report, [section.interactive() for section in report.sections])


class Reader(HTMLParser):
    """Elements in order, as (tag, attributes, text, ancestors); raises where they are not nested."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag}: an attribute twice"
        element = {"tag": tag, "attrs": dict(attrs), "text": "", "inside": [each["tag"] for each in self.open]}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open
        assert self.open[-1]["tag"] == tag, f"{tag} ends within {self.open[-1]['tag']}"
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag):
        return [element for element in self.elements if element["tag"] == tag]


def data_of(reader):
    (script,) = [each for each in reader.all("script") if each["attrs"].get("id") == "data"]

    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(script["text"], parse_constant=refuse)


@pytest.fixture(scope="module")
def text():
    return render(contents())


@pytest.fixture(scope="module")
def reader(text):
    return Reader(text)


@pytest.fixture(scope="module")
def nasty():
    return Reader(render(contents((NASTY, "b"), warnings=(NASTY,), files=(f"figures/{NASTY}.png",))))


@pytest.fixture(scope="module")
def schemes(text):
    """Colours by name, of the light page and of the dark one."""
    found = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", text)
    return [{name: pair[index] for name, *pair in found} for index in (0, 1)]


class TestOneFile:
    def test_nothing_is_fetched(self, text, reader):
        assert re.findall(r"\w*://[^\"'\s)]*", text) == [NAMESPACE]
        assert [each["attrs"] for each in reader.all("link")] == [{"rel": "icon", "href": "data:,"}]
        assert {tag for tag in ("img", "iframe", "object", "embed", "base") if reader.all(tag)} == set()
        assert all("src" not in each["attrs"] for each in reader.elements)
        assert "@import" not in text
        assert "url(" not in text

    def test_links_lead_to_places_of_the_page_or_to_files_beside_it(self, reader):
        places = {each["attrs"].get("id") for each in reader.elements}
        made = {*contents().files, *(f"tables/{name}.csv" for name in contents().tables)}
        links = [each["attrs"]["href"] for each in reader.all("a")]
        assert len(links) > 20
        for link in links:
            assert link[1:] in places if link.startswith("#") else link in made, link

    def test_the_policy_allows_its_own_script_and_style_alone(self, reader):
        (policy,) = [
            each["attrs"]["content"]
            for each in reader.all("meta")
            if each["attrs"].get("http-equiv") == "Content-Security-Policy"
        ]
        (script,) = [each["text"] for each in reader.all("script") if "id" not in each["attrs"]]
        (style,) = [each["text"] for each in reader.all("style")]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        for kind, source in (("script", script), ("style", style)):
            digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
            assert f"{kind}-src 'sha256-{digest}'" in policy
        for each in reader.elements:
            assert not [name for name in each["attrs"] if name == "style" or name.startswith("on")]

    def test_same_contents_same_bytes(self, text, tmp_path):
        write_html(tmp_path / "report.html", contents().report())
        assert (tmp_path / "report.html").read_bytes() == text.encode()
        assert not re.search(r"\b20\d\d-\d\d-\d\d", text)

    @pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
    def test_the_script_is_well_formed(self, reader, tmp_path):
        (script,) = [each["text"] for each in reader.all("script") if "id" not in each["attrs"]]
        (tmp_path / "script.js").write_text(script, encoding="utf-8")
        done = subprocess.run(
            ["node", "--check", "script.js"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")

    def test_keys_are_sorted(self, reader):
        (script,) = [each["text"] for each in reader.all("script") if each["attrs"].get("id") == "data"]
        assert script == json.dumps(data_of(reader), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @pytest.mark.parametrize(
        ("networks", "layers", "limit"), [(2, 48, 0.5), (4, 48, 1.0), (20, 48, 3.0)], ids=["pair", "four", "twenty"]
    )
    def test_size(self, networks, layers, limit):
        labels = tuple(f"network-of-long-name-{index}" for index in range(networks))
        assert len(render(contents(labels, layers)).encode()) < limit * MEGABYTE


class TestStructure:
    def test_language_and_landmarks(self, reader):
        assert reader.all("html")[0]["attrs"]["lang"] == "en"
        for tag in ("header", "nav", "main", "footer", "h1", "title"):
            assert len(reader.all(tag)) == 1, tag
        first = next(each for each in reader.elements if "body" in each["inside"])
        assert (first["attrs"]["class"], first["attrs"]["href"]) == ("skip", "#main")

    def test_ids_are_unique_and_named_ones_exist(self, reader):
        ids = [each["attrs"]["id"] for each in reader.elements if "id" in each["attrs"]]
        assert sorted(ids) == sorted(set(ids))
        for each in reader.elements:
            assert each["attrs"].get("aria-labelledby", ids[0]) in ids

    def test_headings_skip_no_level(self, reader):
        levels = [int(each["tag"][1]) for each in reader.elements if re.fullmatch(r"h\d", each["tag"])]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))

    def test_summary_first_provenance_last(self, reader):
        titles = [each["text"] for each in reader.all("h2")]
        assert titles == ["Summary", "Similarity (CKA)", "Spectra", "Effective width", "Provenance"]

    def test_charts_and_inputs_are_named(self, reader):
        charts = [each for each in reader.elements if "data-chart" in each["attrs"]]
        assert {each["attrs"]["data-chart"] for each in charts} == {
            *("means", "profile", "maps", "edges", "width", "channels"),
        }
        assert all(each["attrs"]["data-label"] for each in charts)
        for each in reader.all("input") + reader.all("select"):
            assert "label" in each["inside"]
        for tag in ("svg", "canvas"):
            assert reader.all(tag) == []

    def test_a_chart_needs_its_figure(self):
        charts = [each["attrs"].get("data-chart") for each in Reader(render(contents(figures=False))).elements]
        assert [chart for chart in charts if chart] == ["maps"]

    @pytest.mark.parametrize("name", sorted(SHOWN))
    def test_tables_have_captions_and_their_schema_s_columns(self, name, reader):
        start = next(i for i, each in enumerate(reader.elements) if each["attrs"].get("data-table") == name)
        part = reader.elements[start:]
        (caption, *_) = [each for each in part if each["tag"] == "caption"]
        assert f"({name}.csv)" in caption["text"]
        known = {column.name: column for column in (*SCHEMAS[name].columns, RATIO)}
        names = SHOWN[name] or [column.name for column in SCHEMAS[name].columns]
        heads = [each for each in part if each["tag"] == "th" and "thead" in each["inside"]][: len(names)]
        buttons = [each for each in part if each["tag"] == "button" and "thead" in each["inside"]][: len(names)]
        assert all(each["attrs"]["scope"] == "col" for each in heads)
        for column, button in zip(names, buttons, strict=True):
            unit = f" [{known[column].unit}]" if known[column].unit else ""
            assert button["text"] == column + unit
            assert button["attrs"]["title"] == known[column].meaning + unit
        told = [each["text"] for each in part if each["tag"] == "dd"]
        assert told[: len(names)] == [known[column].meaning for column in names]

    def test_cells_hold_text_and_the_number_to_sort_by(self, reader):
        rows = contents().tables["networks"]
        cells = reader.all("td")[: 8 * len(rows)]
        accuracy = cells[7::8]
        assert [(each["text"], each["attrs"]["data-v"]) for each in accuracy] == [("0.9", "0.9"), ("–", ""), ("–", "")]
        assert [each["text"] for each in cells[5::8]] == ["12,345"] * 3
        assert [each["text"] for each in reader.all("th") if each["attrs"]["scope"] == "row"][:3] == list(
            rows["network"]
        )

    def test_an_empty_table_says_so(self):
        made = contents()
        made.tables["spectrum_outliers"] = made.tables["spectrum_outliers"].head(0)
        assert "none" in [each["text"] for each in Reader(render(made)).all("td")]

    def test_findings_warnings_and_provenance(self, reader):
        titles = [each["text"] for each in reader.all("h3")]
        assert titles[:3] == [
            "mlp is most similar to mixer, floor least",
            "3 of 12 layers reach beyond the edge of noise, 1.fc1 of mixer furthest",
            "No network is wider than the widest Mixer of its Ω; mixer comes closest, at 39.7%",
        ]
        body = reader.all("body")[0]["text"]
        for part in ("Note: a made-up warning.", "mlp.pt (torch, layout own)", "0" * 64, "1" * 64, "python 3.11"):
            assert part in body, part

    def test_undefined_means_are_told(self):
        made = contents(("a", "b"))
        made.tables["cka_diagonal"].loc[0, ["mean", "status"]] = [math.nan, "6 against 4 blocks"]
        assert "a – b: 6 against 4 blocks." in Reader(render(made)).all("main")[0]["text"]

    def test_one_network(self):
        body = Reader(render(contents(("alone",)))).all("main")[0]["text"]
        assert "1 network (alone)" in body
        assert "are compared with" not in body


class TestEscaping:
    def test_a_label_is_text_everywhere(self, nasty, reader):
        assert len(nasty.all("script")) == len(reader.all("script")) == 2
        assert NASTY in nasty.all("title")[0]["text"]
        assert f"Note: {NASTY}." in nasty.all("main")[0]["text"]
        assert all("alert" not in name for each in nasty.elements for name in each["attrs"])

    def test_a_label_in_the_data_ends_no_script(self, nasty):
        assert data_of(nasty)["networks"][0] == NASTY

    def test_a_file_s_name_in_a_link(self, nasty):
        links = [each["attrs"]["href"] for each in nasty.all("a")]
        assert any(link.startswith("figures/%3C/script%3E%3Cscript%3E") for link in links)

    @pytest.mark.parametrize("text", ["</script>", "<!--", "&lt;", "\u2028\u2029", "a & b"])
    def test_embedded_json(self, text):
        found = str(embedded({"key": text}))
        assert json.loads(found) == {"key": text}
        assert not re.search("[<>&\u2028\u2029]", found)

    def test_embedded_json_has_no_nan(self):
        with pytest.raises(ValueError, match="not JSON compliant"):
            embedded({"value": math.nan})


class TestData:
    def test_heat_maps_hold_the_cells(self, reader):
        (pair, *_) = data_of(reader)["pairs"]
        cells = contents().tables["cka"].query("network_a == 'mixer' and network_b == 'mlp'")
        assert (pair["rows"][1], pair["columns"][2]) == ("1.token", "2.channel")
        for row in cells.itertuples():
            at = (row.index_a, row.index_b)
            for name in ("value", "low", "high"):
                assert pair[name][at[0]][at[1]] == pytest.approx(getattr(row, name), abs=1e-4)

    def test_order_of_the_rows_does_not_count(self):
        made = contents()
        mixed = made.tables | {"cka": made.tables["cka"].sample(frac=1, random_state=0)}
        assert payload(replace(made, tables=mixed))["pairs"] == payload(made)["pairs"]

    def test_undefined_cells_tell_why(self):
        made = contents(("a", "b"))
        made.tables["cka"].loc[5, ["value", "low", "high"]] = math.nan
        made.tables["cka"].loc[5, "status"] = "constant features"
        (pair,) = payload(made)["pairs"]
        assert pair["status"] == {"1,1": "constant features"}
        assert pair["value"][1][1] is pair["low"][1][1] is None

    def test_histograms_count_every_value(self):
        made = contents(("a", "b"), values=50)
        for label, layers in payload(made)["layers"].items():
            summary = made.tables["spectrum"]
            summary = summary[summary["network"] == label]
            for layer, (_, row) in zip(layers, summary.iterrows(), strict=True):
                assert sum(layer["counts"]) == 50
                assert len(layer["counts"]) == 14
                values = made.tables["singular_values"]
                own = values[(values["network"] == label) & (values["layer"] == row["layer"])]
                half = layer["top"] / len(layer["counts"]) * 7
                assert sum(layer["counts"][:7]) == (own["singular_value"] < half).sum()
                assert layer["top"] == pytest.approx(1.05 * max(row["s_max"], row["null_edge"]))
                assert layer["ratio"] == pytest.approx(row["s_max"] / row["null_edge"], rel=1e-3)
                assert layer["outliers"] == pytest.approx([row["s_max"]] * row["outliers"], rel=1e-3)
                assert len(layer["law"]) == 100
                assert np.sum(layer["law"]) * layer["top"] / 100 == pytest.approx(1, abs=0.02)

    def test_facts_are_texts_of_the_columns(self):
        found = payload(contents())
        layer = found["layers"]["mixer"][1]
        facts = dict(zip(found["facts"], layer["facts"], strict=True))
        told = {name: facts[name] for name in ("s_max", "ratio", "p_value", "ks", "null")}
        assert told == {"s_max": "3.2", "ratio": "1.6", "p_value": "1e-09", "ks": "", "null": "Marchenko-Pastur"}

    def test_a_layer_without_null(self):
        made = contents(("a", "b"))
        made.tables["spectrum"].loc[0, ["null_edge", "bulk_edge", "threshold", "p_value"]] = math.nan
        found = payload(replace(made, laws={}))["layers"]["a"][0]
        assert [found[name] for name in ("null_edge", "ratio", "p", "law", "p_text")] == [
            None,
            None,
            None,
            [],
            "no p-value",
        ]
        assert Reader(render(replace(made, laws={})))

    def test_a_layer_without_singular_values(self):
        made = contents(("a", "b"))
        values = made.tables["singular_values"]
        few = values[(values["network"] == "b") | (values["layer"] != "blocks.0.mlp.fc1")]
        found = payload(replace(made, tables=made.tables | {"singular_values": few}))["layers"]["a"][0]
        assert (set(found["counts"]), found["outliers"]) == ({0}, [])

    def test_layers_beyond_the_edge(self):
        found = payload(contents())["layers"]["mlp"]
        assert [layer["beyond"] for layer in found] == [False, True, False, False]

    def test_means_know_floor_and_ceiling(self):
        relations = {("a", "b"): "untrained", ("a", "c"): "other seed", ("b", "c"): ""}
        found = payload(contents(("a", "b", "c"), relations=relations))["means"]
        assert [(mean["b"], mean["kind"]) for mean in found] == [("b", 1), ("c", 2), ("c", 0)]

    def test_lines_and_points_are_those_of_the_tables(self):
        made = contents()
        found = payload(made)["width"]
        (line,), (channel,) = found["lines"], found["channels"]
        assert (line["omega"], channel["expansion_token"]) == (4096.0, 2.0)
        assert line["width"] == pytest.approx(made.tables["width_line"]["width"].tolist(), rel=1e-3)
        assert [point["network"] for point in found["points"]] == ["mixer", "mlp", "floor"]

    @pytest.mark.parametrize(
        ("value", "rounded"),
        [(0.123456, 0.1235), (12345.6, 12350.0), (7, 7), ("a", "a"), (math.nan, None), (True, True)],
    )
    def test_rounding(self, value, rounded):
        assert short(value) == rounded

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            *((0.123456, "0.1235"), (12345.6, "12,346"), (9999, "9999"), (398482, "398,482"), (1e-20, "1e-20")),
            *((math.nan, ""), ("mask", "mask"), (True, "True"), (np.float64(2.0), "2"), (3e12, "3e+12")),
        ],
    )
    def test_texts(self, value, told):
        assert text_of(value) == told


class TestLimits:
    def test_pairs_of_the_reference_come_first(self, monkeypatch):
        made = contents(("a", "b", "c", "d"))
        diagonal = made.tables["cka_diagonal"].iloc[[3, 0, 4, 1, 2, 5]]
        monkeypatch.setattr(similarity_charts, "MOST_CELLS", 16 * 4)
        kept = chosen_pairs(diagonal, made.tables["cka"])
        assert list(zip(kept["network_a"], kept["network_b"], strict=True)) == [
            *(("b", "c"), ("b", "d"), ("a", "b"), ("a", "c")),
        ]

    def test_what_is_left_out_is_told(self, monkeypatch):
        monkeypatch.setattr(similarity_charts, "MOST_PAIRS", 2)
        monkeypatch.setattr(spectra_charts, "MOST_LAYERS", 5)
        monkeypatch.setattr(page, "MOST_ROWS", 7)
        reader = Reader(render(contents()))
        body = reader.all("main")[0]["text"]
        assert "Charts of CKA show 2 of 3 pairs of networks, those of the reference first." in body
        assert "The layer picker holds the first 5 of 12 layers." in body
        assert "(spectrum.csv): the first 7 of 12 rows" in body
        found = data_of(reader)
        assert (len(found["pairs"]), sum(map(len, found["layers"].values()))) == (2, 5)

    def test_one_pair_is_shown_however_large(self, monkeypatch):
        monkeypatch.setattr(similarity_charts, "MOST_CELLS", 3)
        assert len(payload(contents())["pairs"]) == 1

    def test_nothing_is_left_out_of_small_ones(self, text):
        assert "Charts of CKA show" not in text
        assert "The layer picker holds" not in text
        assert len(contents().tables["spectrum"]) < MOST_ROWS


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


class TestColours:
    @pytest.mark.parametrize("dark", [0, 1], ids=["light", "dark"])
    def test_text_can_be_read(self, schemes, dark):
        for text in ("ink", "soft", "link"):
            for paper in ("paper", "panel"):
                assert contrast(schemes[dark][text], schemes[dark][paper]) >= 4.5, (text, paper)

    @pytest.mark.parametrize("dark", [0, 1], ids=["light", "dark"])
    def test_controls_and_focus_can_be_seen(self, schemes, dark):
        for mark in ("focus", "soft"):
            for paper in ("paper", "panel"):
                assert contrast(schemes[dark][mark], schemes[dark][paper]) >= 3, (mark, paper)

    def test_networks_have_the_figures_colours(self, text):
        for index, colour in enumerate(PALETTE):
            wanted = f"light-dark({colour}, #FFFFFF)" if colour == "#000000" else colour
            assert f"--s{index}: {wanted};" in text

    def test_lines_can_be_seen_in_the_dark(self, schemes):
        for colour in PALETTE:
            for paper in ("paper", "panel"):
                assert contrast(colour.replace("#000000", "#FFFFFF"), schemes[1][paper]) >= 3, colour

    def test_shades_are_viridis(self, reader):
        shades = data_of(reader)["shades"]
        assert (len(shades), shades[0], shades[-1]) == (64, "#440154", "#fde725")
        # black or white, whichever stands out more, can be read on every one of them
        assert min(max(contrast(shade, "#000000"), contrast(shade, "#ffffff")) for shade in shades) >= 4.5


def test_frames_are_left_as_they_are():
    made = contents()
    before = {name: frame.copy() for name, frame in made.tables.items()}
    render(made)
    for name, frame in made.tables.items():
        pd.testing.assert_frame_equal(frame, before[name])
