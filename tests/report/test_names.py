"""Names that people give files and layers: every output tells them, and none obeys them."""

from __future__ import annotations

import io
import itertools
import json
import re
import warnings

import numpy as np
import pandas as pd
import pypdfium2
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from made_up import contents
from mixanalysis.report.html.page import render
from mixanalysis.report.names import DRAWN, IN_FILE, JOINER, legible, shortened, slugs
from mixanalysis.report.pdf import write_pdf
from mixanalysis.report.pdf_content import document
from mixanalysis.report.similarity import figures as cka_figures
from mixanalysis.report.spectra import figures as spectrum_figures
from mixanalysis.report.style import FigureStyle, drawn_onto, figure, save_figure
from mixanalysis.report.width import figures as width_figures
from mixanalysis.visible import UNSEEN, visible
from report.drawing import cells_of, diagonal_of

NAMES = {
    "two dollars": "Ba$$in",
    "a fraction": r"bad$\frac$",
    "a formula": r"lr=$\alpha$",
    "half a formula": r"$\frac{1}{$",
    "escaped dollars": r"\$5 and \$6",
    "indices": "a_{x^2}",
    "an underscore first": "_best",
    "only an underscore": "_",
    "another script": "模型",
    "an escape": "\x1b]0;title\x07",
    "a line break": "one\nof two",
    "text turned round": "\u202etxt.exe",
    "half a character": "\udcff",
    "a tag": "<b>&amp;",
    "5,000 characters": "start" + "n" * 5000 + "end",
    "5,000 dollars": "$" * 5000,
    "percent and braces": "%s {0} {name}",
}


def seen(name):
    """The name as figures have it."""
    return shortened(visible(name), DRAWN)


def drawn(name):
    (changed,) = legible((pd.DataFrame({"network": [name]}),))
    return changed["network"][0]


def words(fig):
    """All that is written in a figure."""
    return [text.get_text().replace(JOINER, "") for text in fig.findobj(Text)]


def saved(fig, kind):
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(fig, stream, FigureStyle(kind))
    return stream.getvalue()


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
class TestFigures:
    """Each figure with this name."""

    def test_every_section_draws_it_and_matplotlib_has_nothing_to_say(self, name):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for section in contents((name, "other"), layers=1).report().sections:
                for drawing in section.figures:
                    fig = figure(drawing.draw, drawing.size, *drawing.arguments)
                    assert saved(fig, "svg")
                    assert not any(UNSEEN.search(text.replace("\n", "")) for text in words(fig)), drawing.name

    @pytest.mark.parametrize("kind", ["png", "pdf"])
    def test_other_formats(self, name, kind):
        assert saved(figure(cka_figures.cka_means, (6, 3), diagonal_of((name, "other", "", 0.4, 0.35, 0.5))), kind)

    def test_legends_have_it(self, name):
        tables = contents((name, "other")).tables
        edges = figure(spectrum_figures.spectrum_edges, (6, 3), tables["spectrum"])
        widths = figure(width_figures.width_lines, (6, 3), tables["width_line"], tables["width_points"])
        assert any(text.startswith(f"{seen(name)} (m = 64") for text in words(widths))
        legend = [text.get_text().replace(JOINER, "") for text in edges.axes[0].get_legend().get_texts()]
        assert legend == [seen(name), "other"]

    def test_ticks_have_it(self, name):
        means = figure(cka_figures.cka_means, (6, 3), diagonal_of((name, "other", "", 0.4, 0.35, 0.5)))
        (tick,) = {text for text in words(means) if text.endswith(" – other")}
        assert tick == f"{shortened(drawn(name), cka_figures.LABEL)} – other".replace(JOINER, "")
        layers = cells_of(np.eye(2)).assign(layer_a=[name, name, "b", "b"], role_a="")
        assert shortened(seen(name), cka_figures.TICK) in words(figure(cka_figures.cka_heatmap, (4, 3), layers))

    def test_none_of_it_is_a_formula(self, name):
        fig = figure(spectrum_figures.spectrum_edges, (6, 3), contents((name, "other")).tables["spectrum"])
        named = [text for text in fig.findobj(Text) if seen(name) in text.get_text()]
        assert named
        assert not any(text.get_parse_math() for text in named)

    def test_on_the_reader_s_own_axes(self, name):
        fig = Figure()
        ax = fig.subplots()
        ax.text(0.5, 0.5, r"$\alpha$")
        drawn_onto(ax, spectrum_figures.spectrum_edges, contents((name, "other")).tables["spectrum"])
        (own,) = [text for text in fig.findobj(Text) if text.get_text() == r"$\alpha$"]
        assert own.get_parse_math(), "what was there stays what it was"
        assert seen(name) in words(fig)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")
            fig.savefig(io.BytesIO(), format="svg")


PARTS = [tuple(NAMES.values())[start : start + 6] for start in range(0, len(NAMES), 6)]


@pytest.mark.parametrize("names", PARTS, ids=range(len(PARTS)))
class TestPages:
    """The PDF and the page with all of these names."""

    def test_the_pdf_tells_them(self, names, tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            write_pdf(tmp_path / "report.pdf", document(contents(names, layers=1).report()))
        opened = pypdfium2.PdfDocument(tmp_path / "report.pdf")
        page = opened[0].get_textpage()
        text = page.get_text_range()
        page.close()
        opened.close()
        for name in names:
            if len(name) < 20 and name.isascii():
                assert "".join(visible(name).split()) in "".join(text.split())
        assert not any(UNSEEN.search(line) for line in text.splitlines())

    def test_the_page_of_html_tells_them(self, names):
        page = render(contents(names, layers=1).report())
        head, data = page.split('<script type="application/json" id="data">')
        assert not UNSEEN.search("".join(head.split("\n")))
        assert json.loads(data.split("</script>")[0])["networks"] == list(map(visible, names))
        page.encode()


class TestLegible:
    def test_names_that_can_be_drawn_stay_as_they_are(self):
        frame = pd.DataFrame({"network": ["a", "b"], "value": [1.0, 2.0], "status": ["ok", None]})
        laws = {("a", "x"): object()}
        (drawn, same, text) = legible((frame, laws, "block outputs"))
        pd.testing.assert_frame_equal(drawn, frame)
        assert (same, text) == (laws, "block outputs")

    def test_one_name_is_one_name_in_all_arguments(self):
        long = "n" * 5000
        frame = pd.DataFrame({"network": [long, "b"], "layer": ["_x", "y\x07"]})
        drawn, reference, keys, rows = legible((frame, long, {(long, "_x"): 1}, [frame]))
        assert drawn["network"].tolist() == [reference, "b"]
        assert keys == {(reference, f"{JOINER}_x"): 1}
        assert rows[0].equals(drawn)
        assert drawn["layer"].tolist() == [f"{JOINER}_x", "y\\x07"]

    def test_different_names_stay_different(self):
        ends = ["a" * 100 + middle + "z" * 100 for middle in "123"]
        spelled = ["bell\x07", "bell\\x07"]
        frame = pd.DataFrame({"network": [*ends, *spelled]})
        (drawn,) = legible((frame,))
        assert drawn["network"].nunique() == 5
        assert drawn["network"].str.len().max() <= DRAWN + 3

    def test_only_names_are_shortened(self):
        note = "w" * 300
        frame = pd.DataFrame({"network": ["a"], "status": [note]})
        assert legible((frame,))[0]["status"].tolist() == [note]


class TestFileNames:
    def test_a_long_label_loses_its_middle(self):
        for label in ("n" * 5000, "模" * 5000, "a" + "é" * 5000):
            name = slugs([label])[label]
            assert len(name.encode()) <= IN_FILE
            assert "--" in name
            assert (name[0], name[-1]) == (label[0], label[-1])

    def test_long_labels_of_equal_ends_have_files_of_their_own(self):
        labels = ["a" * 100 + str(number) + "z" * 100 for number in range(12)]
        names = slugs(labels)
        assert len({name.casefold() for name in names.values()}) == 12
        assert all(len(f"cka_{a}_{b}.png".encode()) < 240 for a, b in itertools.product(names.values(), repeat=2))

    @pytest.mark.parametrize("label", NAMES.values(), ids=NAMES)
    def test_nothing_but_letters_digits_hyphens_and_dots(self, label):
        assert re.fullmatch(r"[\w.-]+", slugs([label])[label])
        (f"spectrum_{slugs([label])[label]}.png").encode()
