"""Figures of CKA: what the artists hold is what the tables say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mixanalysis.report import cka_figures as figures
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
        assert ax.get_title() == "one against two\nblock outputs"

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

    def test_without_intervals(self):
        table = diagonal_of(("a", "b", "", 0.4, np.nan, np.nan))
        fig = drawn(figures.cka_means, table)
        (segment,) = fig.axes[0].containers[0][2][0].get_segments()
        np.testing.assert_allclose(segment[:, 0], [0.4, 0.4])
        assert fig.legends == []


class TestProfile:
    def test_the_diagonal_of_each_pair(self):
        first, second = cells_of([[0.9, 0.1], [0.2, 0.7]], "one", "two"), cells_of([[0.5, 0], [0, 0.3]], "one", "three")
        other = cells_of([[0.99, 0], [0, 0.99]], "two", "three")
        ax = drawn(figures.cka_profile, pd.concat([first, second, other]), "one").axes[0]
        found = {container.get_label(): container[0].get_ydata().tolist() for container in ax.containers}
        assert found == {"two": [0.9, 0.7], "three": [0.5, 0.3]}
        for container, values in zip(ax.containers, found.values(), strict=True):
            for segment, value in zip(container[2][0].get_segments(), values, strict=True):
                np.testing.assert_allclose(segment[:, 1], [value - 0.1, value + 0.2])
        assert labelled(ax) == ["block of one", "CKA at the same position"]
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.token", "1.token"]
        assert ax.get_legend().get_title().get_text() == "one against"

    def test_negative_values_are_seen(self):
        ax = drawn(figures.cka_profile, cells_of([[-0.3, 0], [0, 0.2]]), "one").axes[0]
        assert ax.get_ylim()[0] == pytest.approx(-0.4)
