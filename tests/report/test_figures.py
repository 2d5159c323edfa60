"""Figures: what the artists hold is what the tables say."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib import colors, rcParams
from matplotlib.figure import Figure
from matplotlib.image import imread
from scipy.integrate import trapezoid

from mixanalysis import width
from mixanalysis.report.similarity import figures as cka_figures
from mixanalysis.report.spectra import figures
from mixanalysis.report.style import (
    COLUMN,
    MARKERS,
    PALETTE,
    PAPER,
    SHEETS,
    TEXT,
    FigureStyle,
    colour,
    figure,
    marker,
    save_figure,
    sized,
    styled,
    width_of,
)
from mixanalysis.report.width import figures as width_figures
from mixanalysis.spectra.nulls import Null
from mixanalysis.spectra.schemas import SINGULAR_VALUES, SPECTRUM
from mixanalysis.width import WIDTH_POINTS
from report.drawing import cells_of, diagonal_of, drawn, filled, labelled


def layer_of(name="blocks.0.token.mlp.fc1", **values):
    return (
        filled(
            SPECTRUM,
            network="net",
            layer=name,
            factor_rows=60,
            factor_columns=30,
            variance=1 / 30,
            variance_source="measured",
            edge=1 + np.sqrt(2),
            null_edge=1 + np.sqrt(2),
            copies=3,
            method="exact",
            outliers=0,
            s_max=2.9,
            p_value=1e-5,
        )
        | values
    )


def values_of(layer, values, multiplicity=1):
    return SINGULAR_VALUES.frame(
        {"network": layer["network"], "layer": layer["layer"], "singular_value": value, "multiplicity": multiplicity}
        for value in values
    )


PROFILE = (
    cells_of(np.full((3, 3), 0.5)),
    diagonal_of(("one", "two", "", 0.5, 0.4, 0.6)),
    "one",
)


def laws_of(*layers):
    """The Marchenko-Pastur null of each layer's row."""
    return {
        (layer["network"], layer["layer"]): Null(
            "Marchenko-Pastur",
            layer["variance"],
            "fitted",
            layer["edge"],
            layer["bulk_edge"],
            layer["null_edge"],
            layer["threshold"],
        )
        for layer in layers
    }


def bars(ax):
    """Left and right ends and areas of a histogram's bars."""
    (patch,) = ax.patches
    heights, edges, _ = patch.get_data()
    return edges[:-1], edges[1:], heights * np.diff(edges)


class TestHistograms:
    SINGULAR = np.random.default_rng(0).uniform(0.5, 2.9, 120)

    def panel(self, **values):
        layer = layer_of(**values)
        fig = drawn(
            figures.spectrum_histograms, SPECTRUM.frame([layer]), values_of(layer, self.SINGULAR, 3), laws_of(layer)
        )
        return fig, fig.axes[0]

    def test_bars_have_area_one_and_count_the_values(self):
        _, ax = self.panel()
        left, right, areas = bars(ax)
        assert sum(areas) == pytest.approx(1, rel=1e-12)
        for low, high, area in zip(left, right, areas, strict=True):
            assert area == pytest.approx(((low <= self.SINGULAR) & (high > self.SINGULAR)).mean(), abs=1e-9)

    def test_multiplicities_weigh(self):
        layer = layer_of(s_max=2.0, null_edge=2.0)
        table = pd.concat([values_of(layer, [0.1], 3), values_of(layer, [1.9], 1)])
        ax = drawn(figures.spectrum_histograms, SPECTRUM.frame([layer]), table, laws_of(layer)).axes[0]
        _, _, areas = bars(ax)
        assert (areas[0], areas[-1]) == pytest.approx((0.75, 0.25))

    def test_law_edge_and_largest_value(self):
        fig, ax = self.panel(null_edge=2.6)
        law, edge, outliers, largest = ax.lines
        assert len(outliers.get_xdata()) == 0
        assert trapezoid(law.get_ydata(), law.get_xdata()) == pytest.approx(1, abs=0.01)
        support = law.get_xdata()[law.get_ydata() > 0]
        assert (support.min(), support.max()) == pytest.approx((np.sqrt(2) - 1, np.sqrt(2) + 1), abs=0.02)
        assert list(edge.get_xdata()) == [2.6, 2.6]
        assert (list(largest.get_xdata()), list(largest.get_ydata())) == ([2.9], [0])
        assert labelled(ax) == ["singular value", "density"]
        assert ax.get_title() == "0.token.fc1\np = 1e-05"
        assert [text.get_text() for text in fig.legends[0].get_texts()] == [
            "singular values",
            "Marchenko-Pastur",
            "edge of the null",
            "outliers",
            "largest value",
        ]

    def test_everything_is_inside(self):
        for values in ({"s_max": 5.0}, {"null_edge": 5.0}):
            assert self.panel(**values)[1].get_xlim() == (0, pytest.approx(5.25))

    def test_a_layer_without_null(self):
        missing = {"variance": 0.0, "null_edge": np.nan, "edge": np.nan, "p_value": np.nan, "s_max": 0.0}
        layer = layer_of(**missing)
        ax = drawn(figures.spectrum_histograms, SPECTRUM.frame([layer]), values_of(layer, [0.0] * 5), {}).axes[0]
        assert len(ax.lines) == 2
        assert ax.get_title() == "0.token.fc1\nno p-value"
        assert sum(bars(ax)[2]) == pytest.approx(1)

    def test_the_legend_is_complete_where_the_first_layer_has_no_null(self):
        missing = {"variance": 0.0, "null_edge": np.nan, "edge": np.nan, "p_value": np.nan, "s_max": 0.0}
        layers = [layer_of("first", **missing), layer_of("second")]
        values = pd.concat([values_of(layers[0], [0.0]), values_of(layers[1], [1.0, 2.9])])
        fig = drawn(figures.spectrum_histograms, SPECTRUM.frame(layers), values, laws_of(layers[1]))
        assert len(fig.legends[0].get_texts()) == 5

    def test_each_panel_has_its_own_layer(self):
        layers = [layer_of(f"blocks.{index}.mlp.fc1", s_max=2 + index) for index in range(6)]
        tables = [values_of(layer, np.full(10, index / 2)) for index, layer in enumerate(layers)]
        other = values_of(layers[0] | {"network": "other"}, np.full(10, 0.7))
        fig = drawn(figures.spectrum_histograms, SPECTRUM.frame(layers), pd.concat([*tables, other]), laws_of(*layers))
        assert len(fig.axes) == 6
        for index, ax in enumerate(fig.axes):
            left, right, areas = bars(ax)
            (occupied,) = np.flatnonzero(areas)
            assert left[occupied] <= index / 2 < right[occupied]
            assert ax.lines[-1].get_xdata()[0] == 2 + index
        assert [bool(ax.get_ylabel()) for ax in fig.axes] == [True, False, False, False, True, False]
        assert [bool(ax.get_xlabel()) for ax in fig.axes] == [False, False, True, True, True, True]

    @pytest.mark.parametrize("style", SHEETS)
    @pytest.mark.parametrize("count", [1, 4, 7, 12])
    def test_panels_do_not_overlap(self, count, style):
        layers = [layer_of(f"blocks.{index}.channel.mlp.fc1", s_max=300.0 + index) for index in range(count)]
        tables = [values_of(layer, np.linspace(0, 300, 40)) for layer in layers]
        rows = -(-count // 4)
        arguments = (SPECTRUM.frame(layers), pd.concat(tables), laws_of(*layers))
        fig = figure(figures.spectrum_histograms, (TEXT, 0.7 + 1.3 * rows), *arguments, style=style)
        fig.draw_without_rendering()
        renderer = fig.canvas.get_renderer()
        boxes = [ax.get_tightbbox(renderer) for ax in fig.axes]
        boxes += [fig.legends[0].get_window_extent(renderer)]
        for index, box in enumerate(boxes):
            assert fig.bbox.x0 <= box.x0 <= box.x1 <= fig.bbox.x1
            assert fig.bbox.y0 <= box.y0 <= box.y1 <= fig.bbox.y1
            assert not any(box.overlaps(other) for other in boxes[:index])


class TestEdges:
    def test_ratios_and_which_are_significant(self):
        layers = [
            layer_of("a", s_max=3.0, null_edge=2.0, p_value=1e-5),
            layer_of("b", s_max=2.0, null_edge=2.5, p_value=0.6),
            layer_of("c", s_max=1.0, null_edge=np.nan, p_value=np.nan),
            layer_of("d", network="other", s_max=1.0, null_edge=1.0, p_value=0.0099),
        ]
        ax = drawn(figures.spectrum_edges, SPECTRUM.frame(layers)).axes[0]
        line, significant, others, _, second = ax.lines[:5]
        assert line.get_ydata().tolist() == [1.5, 0.8]
        assert line.get_xdata().tolist() == [1, 2]
        assert significant.get_ydata().tolist() == [1.5]
        assert others.get_ydata().tolist() == [0.8]
        assert others.get_markerfacecolor() == "white"
        assert significant.get_markerfacecolor() == colour(0)
        assert second.get_ydata().tolist() == [1.0]
        assert ax.lines[-1].get_ydata() == [1, 1]
        assert labelled(ax) == ["layer, in forward order", "largest singular value\nover the edge of the null"]
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["net", "other"]
        assert ax.get_legend().get_title().get_text() == "filled: Tracy-Widom p < 0.01 / layers"

    def test_no_layer_with_a_null(self):
        ax = drawn(figures.spectrum_edges, SPECTRUM.frame([layer_of(null_edge=np.nan, p_value=np.nan)])).axes[0]
        assert ax.get_legend() is None
        assert len(ax.lines) == 1


class TestWidth:
    LINES = pd.concat([width.line(2**19, 2.0), width.line(1e6, 1.0)])
    POINTS = WIDTH_POINTS.frame(
        filled(WIDTH_POINTS, network=name, width=m, density=p)
        for name, m, p in (("mixer", 4096, 1 / 64), ("sparse", 1000, 1.0))
    )

    def test_lines_and_points(self):
        ax = drawn(width_figures.width_lines, self.LINES, self.POINTS).axes[0]
        first, first_mixers, first_widest = ax.lines[:3]
        table = width.line(2**19, 2.0)
        assert first.get_xdata().tolist() == table["width"].tolist()
        assert first.get_ydata().tolist() == table["density"].tolist()
        assert first_mixers.get_xdata().tolist() == table["width"][table["mixer"]].tolist()
        assert first_widest.get_xdata().tolist() == [pytest.approx(4096)]
        points = [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in ax.lines[6:]]
        assert points == [([4096], [1 / 64]), ([1000], [1.0])]
        assert labelled(ax) == ["effective width m", "density p"]
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
        assert [text.get_text() for text in ax.get_legend().get_texts()] == [
            "Ω = 524,288, γ = 2",
            "Ω = 1e+06, γ = 1",
            "mixer (m = 4096, p = 0.0156)",
            "sparse (m = 1000, p = 1)",
        ]

    def test_a_point_lies_on_the_line_of_its_omega(self):
        ax = drawn(width_figures.width_lines, width.line(2**19, 2.0), self.POINTS.head(1)).axes[0]
        line, point = ax.lines[0], ax.lines[-1]
        height = np.interp(np.log(point.get_xdata()), np.log(line.get_xdata()), np.log(line.get_ydata()))
        assert np.exp(height) == pytest.approx(point.get_ydata(), rel=1e-9)

    def test_no_networks(self):
        assert len(drawn(width_figures.width_lines, self.LINES, self.POINTS.head(0)).axes[0].lines) == 6

    def test_channels(self):
        table = pd.concat([width.channel_line(1e8), width.channel_line(2**19, (0.5, 4.0))])
        fig = drawn(width_figures.channel_lines, table)
        left, right = fig.axes
        for ax, column in ((left, "width"), (right, "density")):
            assert ax.lines[0].get_xdata().tolist() == table["channels"].head(101).tolist()
            assert ax.lines[0].get_ydata().tolist() == table[column].head(101).tolist()
            assert ax.lines[1].get_ydata().tolist() == table[column].tail(101).tolist()
        assert labelled(left) == ["channels C", "effective width m"]
        assert labelled(right) == ["channels C", "density p"]
        assert [text.get_text() for text in fig.legends[0].get_texts()] == [
            "Ω = 1e+08, γ = 1",
            "Ω = 524,288, γ = (0.5, 4)",
        ]


@pytest.mark.parametrize(
    ("p", "text"),
    [(np.nan, "no p-value"), (0.0, "p < 1e-12"), (3e-13, "p < 1e-12"), (0.0123, "p = 0.012"), (1.0, "p = 1")],
)
def test_p_values_in_few_characters(p, text):
    assert figures.p_text(p) == text


class TestStyle:
    def test_the_user_s_own_settings_come_back(self):
        before = {name: value for name, value in rcParams.items() if name != "backend"}
        with styled():
            assert rcParams["font.size"] == 8
        figure(cka_figures.cka_heatmap, (4, 3), cells_of(np.eye(2)))
        assert {name: value for name, value in rcParams.items() if name != "backend"} == before

    def test_and_do_not_change_the_figures(self, tmp_path):
        contents = []
        for size in (8.0, 20.0):
            before = rcParams["font.size"]
            rcParams["font.size"] = size
            save_figure(figure(cka_figures.cka_heatmap, (4, 3), cells_of(np.eye(2))), tmp_path / "a.png", PAPER)
            rcParams["font.size"] = before
            contents.append((tmp_path / "a.png").read_bytes())
        assert contents[0] == contents[1]

    @pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
    def test_equal_figures_are_equal_files_without_dates(self, kind, tmp_path):
        for name in ("a", "b"):
            save_figure(
                figure(cka_figures.cka_heatmap, (4, 3), cells_of(np.eye(2))), tmp_path / name, FigureStyle(kind)
            )
        content = (tmp_path / "a").read_bytes()
        assert content == (tmp_path / "b").read_bytes()
        for trace in (b"CreationDate", b"Matplotlib v", b"<dc:date>", b"Software"):
            assert trace not in content

    def test_colours_tell_neighbours_apart(self):
        assert len({colors.to_hex(name) for name in PALETTE}) == len(PALETTE) == len(MARKERS)
        # and networks of one colour have different markers
        assert len({(colour(index), marker(index)) for index in range(64)}) == 64

    def test_positions_have_no_digits_of_the_solver(self):
        pairs = [cells_of(np.eye(2), "one", name) for name in ("two", "three")]
        result = figure(cka_figures.cka_heatmaps, (7, 3), pairs)
        boxes = [part.bbox_relative for part in result.subfigs]
        boxes += [ax.get_position(original=True) for ax in result.axes]
        assert len(boxes) == 2 + 4
        for box in boxes:
            np.testing.assert_array_equal(box.get_points(), box.get_points().round(9))
        before = [box.get_points().copy() for box in boxes]
        result.savefig(io.BytesIO(), format="pdf")
        np.testing.assert_array_equal([box.get_points() for box in boxes], before)

    def test_figures_are_of_the_wanted_size(self):
        result = figure(cka_figures.cka_heatmap, (4, 3), cells_of(np.eye(2)))
        assert isinstance(result, Figure)
        assert result.get_size_inches().tolist() == [4, 3]

    def test_papers_have_300_dots_an_inch_and_columns(self, tmp_path):
        save_figure(figure(cka_figures.cka_heatmap, (COLUMN, 3), cells_of(np.eye(2))), tmp_path / "a.png", PAPER)
        assert imread(tmp_path / "a.png").shape[:2] == (900, round(300 * COLUMN))
        assert 3 < COLUMN < 3.5
        assert 2 * COLUMN < TEXT < 7.1
        assert [width_of(panels) for panels in (1, 2, 3)] == [COLUMN, TEXT, TEXT]

    @pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
    def test_slides_show_the_same_larger(self, kind, tmp_path):
        paper = figure(cka_figures.cka_profile, (TEXT, 2.7), *PROFILE)
        slides = figure(cka_figures.cka_profile, (TEXT, 2.7), *PROFILE, style="slides")
        save_figure(slides, tmp_path / "slides", FigureStyle(kind, "slides"))
        larger = SHEETS["slides"].font / SHEETS["paper"].font
        assert slides.get_size_inches() == pytest.approx(paper.get_size_inches() * SHEETS["slides"].enlarged)
        # a wide slide of 13.33 inches
        assert 11 < slides.get_size_inches()[0] < 13.33
        (small,), (large,) = paper.axes, slides.axes
        assert large.xaxis.label.get_fontsize() == pytest.approx(small.xaxis.label.get_fontsize() * larger)
        for one, other in zip(small.lines, large.lines, strict=True):
            np.testing.assert_array_equal(other.get_xydata(), one.get_xydata())
            assert other.get_markersize() == pytest.approx(one.get_markersize() * larger)
        # nothing is cut off
        slides.draw_without_rendering()
        whole = slides.bbox
        for artist in (large.xaxis.label, large.yaxis.label, large.get_legend()):
            box = artist.get_window_extent()
            assert whole.x0 <= box.x0 <= box.x1 <= whole.x1
            assert whole.y0 <= box.y0 <= box.y1 <= whole.y1

    def test_sizes_follow_the_text(self):
        with styled("slides"):
            assert sized(8) == SHEETS["slides"].font
        with styled():
            assert sized(0.7) == pytest.approx(0.7)
            rcParams["font.size"] = 12
            assert sized(2) == pytest.approx(3)
