"""Figures of CKA: what the artists hold is what the tables say."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import colors
from matplotlib.collections import PolyCollection

from mixanalysis.report.names import slugs
from mixanalysis.report.similarity import figures
from mixanalysis.report.similarity.drawings import PAIRS
from mixanalysis.report.similarity.section import drawings
from mixanalysis.report.style import colour
from mixanalysis.similarity.schemas import CKA_LAYERS
from report.drawing import cells_of, diagonal_of, drawn, labelled, texts


class TestHeatmap:
    VALUES = np.array([[0.9, 0.2, -0.1], [0.3, 0.8, 0.4]])

    def test_cells_hold_the_values(self):
        ax = drawn(figures.cka_heatmap, cells_of(self.VALUES)).axes[0]
        (mesh,) = ax.collections
        np.testing.assert_array_equal(mesh.get_array().reshape(2, 3), self.VALUES)
        assert mesh.get_clim() == (0, 1)
        assert texts(ax) == ["0.90", "0.20", "-0.10", "0.30", "0.80", "0.40"]

    def test_rows_are_the_first_network_from_below(self):
        ax = drawn(figures.cka_heatmap, cells_of(self.VALUES)).axes[0]
        assert labelled(ax) == ["block of two", "block of one"]
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.channel", "1.channel", "2.channel"]
        assert [tick.get_text() for tick in ax.get_yticklabels()] == ["0.token", "1.token"]
        assert ax.get_ylim() == (0, 2)
        assert ax.figure.get_suptitle() == "one against two\nblock outputs"

    def test_order_of_the_rows_of_the_table_does_not_count(self):
        shuffled = cells_of(self.VALUES).sample(frac=1, random_state=0)
        ax = drawn(figures.cka_heatmap, shuffled).axes[0]
        np.testing.assert_array_equal(ax.collections[0].get_array().reshape(2, 3), self.VALUES)
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.channel", "1.channel", "2.channel"]

    def test_undefined_cells_stay_empty(self):
        values = self.VALUES.copy()
        values[0] = np.nan
        ax = drawn(figures.cka_heatmap, cells_of(values)).axes[0]
        assert np.ma.getmaskarray(ax.collections[0].get_array()).reshape(2, 3).tolist() == [[True] * 3, [False] * 3]
        assert texts(ax) == ["0.30", "0.80", "0.40"]

    def test_all_cells_undefined(self):
        ax = drawn(figures.cka_heatmap, cells_of(np.full((2, 2), np.nan))).axes[0]
        assert ax.collections[0].get_array().size == 4

    def test_large_maps_have_thinned_labels_and_no_numbers(self):
        ax = drawn(figures.cka_heatmap, cells_of(np.full((30, 30), 0.5))).axes[0]
        assert texts(ax) == []
        shown = [tick.get_text() for tick in ax.get_xticklabels() if tick.get_text()]
        assert shown == [f"{index}.channel" for index in range(0, 30, 2)]

    def test_what_a_layer_mixes_is_said_once(self):
        cells = cells_of(self.VALUES, role_a="token", role_b="dense", features="module outputs")
        ax = drawn(figures.cka_heatmap, cells).axes[0]
        assert [tick.get_text() for tick in ax.get_yticklabels()] == ["0.token", "1.token"]
        assert ax.get_xticklabels()[0].get_text() == "0.channel (dense)"
        assert labelled(ax) == ["module of two", "module of one"]

    def test_colours_over_the_values_that_there_are(self):
        fig = drawn(figures.cka_heatmap, cells_of(self.VALUES), "auto")
        assert fig.axes[0].collections[0].get_clim() == (-0.1, 0.9)
        assert fig.axes[1].get_ylim() == (-0.1, 0.9)

    @pytest.mark.parametrize(("lowest", "extends"), [(-0.1, "min"), (0.1, "neither")])
    def test_values_below_the_colours_are_pointed_at(self, lowest, extends):
        values = self.VALUES.copy()
        values[0, 2] = lowest
        (mesh,) = drawn(figures.cka_heatmap, cells_of(values)).axes[0].collections
        assert mesh.colorbar.extend == extends

    def test_what_a_biased_estimator_gives_for_nothing(self):
        cells = cells_of(self.VALUES)
        cells["independent"] = [0.75, 0.8, 0.9, 0.75, 0.8, 0.9]
        last = drawn(figures.cka_heatmap, cells).get_suptitle().splitlines()[-1]
        assert last == "independent Gaussian features would give 0.75 to 0.90"
        cells["independent"] = 0.75
        last = drawn(figures.cka_heatmap, cells).get_suptitle().splitlines()[-1]
        assert last == "independent Gaussian features would give 0.75"

    def test_long_names_stay_inside(self):
        long = "a-checkpoint-with-a-name-that-goes-on-and-on-and-on"
        fig = drawn(figures.cka_heatmap, cells_of(np.full((3, 20), 0.5), long, f"{long}-2"), size=(3.6, 3.3))
        width, height = fig.get_size_inches() * fig.dpi
        for ax in fig.axes:
            box = ax.get_tightbbox()
            assert box.x0 >= 0
            assert box.x1 <= width
        title = fig._suptitle.get_window_extent()
        assert (title.x0 >= 0, title.x1 <= width, title.y1 <= height) == (True, True, True)
        assert title.y0 >= max(ax.get_window_extent().y1 for ax in fig.axes)

    def test_several_pairs_two_in_a_row(self):
        pairs = [cells_of(self.VALUES, "one", name) for name in ("two", "three", "four")]
        parts = drawn(figures.cka_heatmaps, pairs).subfigs
        assert len(parts) == 4
        assert [part.axes[0].get_xlabel() for part in parts[:3]] == [f"block of {n}" for n in ("two", "three", "four")]
        assert parts[3].axes == []


class TestMeans:
    TABLE = diagonal_of(
        ("mixer", "mlp", "", 0.4, 0.35, 0.5),
        ("mixer", "mixer-1", "other seed", 0.8, 0.75, 0.85),
        ("mixer", "untrained", "untrained", 0.1, -0.2, 0.2),
        ("mixer", "deep", "", np.nan, np.nan, np.nan),
    )

    def test_means_and_intervals_largest_on_top(self):
        fig = drawn(figures.cka_means, self.TABLE)
        ax = fig.axes[0]
        means, intervals = [], []
        for container in ax.containers:
            means.append((float(container[0].get_xdata()[0]), int(container[0].get_ydata()[0])))
            (segment,) = container[2][0].get_segments()
            intervals.append(segment[:, 0].tolist())
        assert means == [(0.1, 0), (0.4, 1), (0.8, 2)]
        np.testing.assert_allclose(intervals, [(-0.2, 0.2), (0.35, 0.5), (0.75, 0.85)])
        names = [tick.get_text() for tick in ax.get_yticklabels()]
        assert names == ["mixer – untrained (untrained)", "mixer – mlp", "mixer – mixer-1 (other seed)"]

    def test_axis_and_legend(self):
        fig = drawn(figures.cka_means, self.TABLE)
        ax = fig.axes[0]
        assert ax.get_xlabel() == (
            "mean CKA of blocks at the same position\n(95% delete-one-group jackknife over batches)"
        )
        assert ax.get_xlim() == (-0.2, 1)
        assert [text.get_text() for text in fig.legends[0].get_texts()] == ["untrained: floor", "other seed: ceiling"]

    def test_declared_controls_look_like_recorded_ones(self):
        rows = [("a", "b", relation, 0.5, 0.4, 0.6) for relation in ("floor", "ceiling")]
        ax = drawn(figures.cka_means, diagonal_of(*rows)).axes[0]
        # from the lowest to the highest, where the first stands
        assert [container[0].get_color() for container in ax.containers] == [colour(2), colour(1)]
        assert len(ax.figure.legends[0].get_texts()) == 2

    def test_without_intervals(self):
        table = diagonal_of(("a", "b", "", 0.4, np.nan, np.nan))
        fig = drawn(figures.cka_means, table)
        (segment,) = fig.axes[0].containers[0][2][0].get_segments()
        np.testing.assert_allclose(segment[:, 0], [0.4, 0.4])
        assert fig.legends == []


class TestProfile:
    DIAGONAL = diagonal_of(
        ("one", "two", "", 0.8, 0.7, 0.9),
        ("one", "three", "", 0.4, 0.3, 0.5),
        ("one", "start", "floor", 0.1, 0.0, 0.2),
        ("one", "seed", "other seed", 0.9, 0.85, 0.95),
    )

    def test_the_diagonal_of_each_pair(self):
        first, second = cells_of([[0.9, 0.1], [0.2, 0.7]], "one", "two"), cells_of([[0.5, 0], [0, 0.3]], "one", "three")
        other = cells_of([[0.99, 0], [0, 0.99]], "two", "three")
        ax = drawn(figures.cka_profile, pd.concat([first, second, other]), self.DIAGONAL, "one").axes[0]
        found = {container.get_label(): container[0].get_ydata().tolist() for container in ax.containers}
        assert found == {"two": [0.9, 0.7], "three": [0.5, 0.3]}
        for container, values in zip(ax.containers, found.values(), strict=True):
            for segment, value in zip(container[2][0].get_segments(), values, strict=True):
                np.testing.assert_allclose(segment[:, 1], [value - 0.1, value + 0.2])
        assert labelled(ax) == ["block of one", "CKA at the same position"]
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.token", "1.token"]
        assert ax.get_legend().get_title().get_text() == "one against"

    def test_floor_and_ceiling_are_bands(self):
        names = ("two", "start", "seed", "three")
        cells = pd.concat([cells_of([[0.9 - i / 4, 0], [0, 0.8 - i / 4]], "one", name) for i, name in enumerate(names)])
        ax = drawn(figures.cka_profile, cells, self.DIAGONAL, "one").axes[0]
        assert [container.get_label() for container in ax.containers] == ["two", "three"]
        floor, ceiling = (each for each in ax.collections if isinstance(each, PolyCollection))
        for band, kind, first in ((floor, 1, 0.65), (ceiling, 2, 0.4)):
            assert colors.to_hex(band.get_facecolor()[0]) == colour(kind).lower()
            corners = band.get_paths()[0].vertices[:, 1]
            assert (corners.min(), corners.max()) == pytest.approx((first - 0.2, first + 0.2))
        labels = [text.get_text() for text in ax.get_legend().get_texts()]
        assert labels == ["start (floor)", "seed (ceiling)", "two", "three"]
        shades = {colors.to_hex(container[0].get_color()) for container in ax.containers}
        assert not shades & {colour(1).lower(), colour(2).lower()}

    def test_negative_values_are_seen(self):
        ax = drawn(figures.cka_profile, cells_of([[-0.3, 0], [0, 0.2]]), self.DIAGONAL, "one").axes[0]
        assert ax.get_ylim()[0] == pytest.approx(-0.4)

    def test_what_a_biased_estimator_gives_for_nothing(self):
        cells = cells_of([[0.9, 0], [0, 0.8]], independent=0.7)
        ax = drawn(figures.cka_profile, cells, self.DIAGONAL, "one").axes[0]
        dotted = [line for line in ax.lines if line.get_linestyle() == ":" and len(line.get_xdata())]
        assert [line.get_ydata().tolist() for line in dotted] == [[0.7, 0.7]]
        assert "independent Gaussian" in [text.get_text() for text in ax.get_legend().get_texts()]


class TestDensity:
    TABLE = diagonal_of(
        ("mixer", "mlp", "", 0.5, 0.45, 0.55, 1.0),
        ("mixer", "sparse", "", 0.7, 0.6, 0.75, 1 / 16),
        ("mixer", "sparse-1", "", 0.6, 0.5, 0.65, 1 / 16),
        ("mixer", "deep", "", np.nan, np.nan, np.nan, 0.5),
        ("mixer", "rp-mixer", "", 0.8, 0.7, 0.9, 1 / 16),
        ("mixer", "start", "floor", 0.1, 0.05, 0.15, 1 / 16),
        ("mixer", "seed", "ceiling", 0.9, np.nan, np.nan, 1 / 16),
        ("mlp", "sparse", "", 0.2, 0.1, 0.3, 1 / 16),
    )

    def test_points_against_the_inverse_of_their_density(self):
        ax = drawn(figures.cka_density, self.TABLE, "mixer", ["mlp", "sparse", "sparse-1", "deep"]).axes[0]
        (container,) = ax.containers
        points = sorted(zip(*(values.tolist() for values in container[0].get_data()), strict=True))
        assert points == [(1, 0.5), (16, 0.6), (16, 0.7)]
        segments = [segment[:, 1].tolist() for segment in container[2][0].get_segments()]
        assert sorted(segments) == [pytest.approx(b) for b in ([0.45, 0.55], [0.5, 0.65], [0.6, 0.75])]
        line = next(line for line in ax.lines if line.get_color() == colour(0) and line not in container)
        np.testing.assert_allclose(sorted(zip(*line.get_data(), strict=True)), [(1, 0.5), (16, 0.65)])
        assert ax.get_xscale() == "log"
        assert labelled(ax) == ["1/p of the sparse MLP", "mean CKA of blocks\nat the same position"]

    def test_floor_ceiling_and_its_own_density(self):
        ax = drawn(figures.cka_density, self.TABLE, "mixer", ["mlp", "sparse"]).axes[0]
        bands = {colors.to_hex(patch.get_facecolor()): patch.get_extents() for patch in ax.patches}
        heights = {
            shade: ax.transData.inverted().transform(box.get_points())[:, 1].tolist() for shade, box in bands.items()
        }
        assert heights[colour(1).lower()] == pytest.approx([0.05, 0.15])
        assert heights[colour(2).lower()] == pytest.approx([0.9, 0.9])
        found = {line.get_label(): line.get_ydata()[0] for line in ax.lines if "(" in line.get_label()}
        assert found == {"start (floor)": 0.1, "seed (ceiling)": 0.9}
        own = next(line for line in ax.lines if line.get_label() == "1/p of mixer")
        assert own.get_xdata()[0] == 16

    def test_a_reference_of_unknown_density(self):
        table = self.TABLE.assign(density_a=np.nan)
        labels = [line.get_label() for line in drawn(figures.cka_density, table, "mixer", ["mlp"]).axes[0].lines]
        assert "1/p of mixer" not in labels


def test_many_pairs_are_drawn_on_several_figures():
    values = np.linspace(0.1, 0.9, PAIRS + 3)
    rows = [("one", f"net{index}", "", value, value - 0.1, value + 0.1) for index, value in enumerate(values)]
    diagonal = diagonal_of(*rows, ("one", "deep", "", np.nan, np.nan, np.nan))
    cells = pd.concat([cells_of([[value]], "one", name) for _, name, _, value, *_ in rows])
    result = SimpleNamespace(cells=cells, diagonal=diagonal, layers=CKA_LAYERS.frame([]))
    means = [drawing for drawing in drawings(result) if drawing.name.startswith("cka_means")]
    assert [drawing.name for drawing in means] == ["cka_means_1", "cka_means_2"]
    labels = []
    for drawing in means:
        assert drawing.size[1] < 9.5, "higher than a page"
        (ax,) = drawn(drawing.draw, *drawing.arguments).axes
        labels += [tick.get_text() for tick in ax.get_yticklabels()][::-1]
    assert labels == [f"one – net{index}" for index in reversed(range(PAIRS + 3))]


def test_different_labels_have_files_of_their_own():
    names = slugs(["a_b", "a-b", "A_B", "a b", "a_b", "x.1"])
    assert names == {"a_b": "a-b", "a-b": "a-b-2", "A_B": "A-B-3", "a b": "a-b-4", "x.1": "x.1"}
