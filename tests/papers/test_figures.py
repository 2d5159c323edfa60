"""The experiments' figures show their tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mixanalysis import width
from mixanalysis.papers.hayase_2024 import figures as paper_figures
from mixanalysis.report.style import figure
from mixanalysis.results import SEED_INTERVAL
from mixanalysis.width import WIDTH_OPTIMA


def points(panels=("one",)):
    return pd.DataFrame(
        [
            {
                "panel": panel,
                "series": series,
                "x_name": "1/p",
                "x": x,
                "y_name": "test error",
                "mean": 0.1 * x + shift,
                "low": 0.1 * x + shift - 0.02,
                "high": 0.1 * x + shift + 0.03,
            }
            for panel in panels
            for series, shift in (("Mixer", 0.0), ("SW-MLP", 0.3))
            for x in (1.0, 2.0, 4.0)
        ]
    )


def texts(fig):
    return [text.get_text() for legend in fig.legends for text in legend.get_texts()]


def drawn(draw, *arguments):
    return figure(draw, (5.0, 3.0), *arguments)


class TestCurves:
    def test_means_with_their_intervals(self):
        table = points(("a", "b"))
        fig = drawn(paper_figures.curves, table, "log2", {"b": [(2.0, "C = S")]})
        assert [ax.get_title() for ax in fig.axes] == ["a", "b"]
        for ax in fig.axes:
            assert ax.get_xlabel() == "1/p"
            assert ax.get_xscale() == "log"
            for container, (_, rows) in zip(ax.containers, table[table["panel"] == "a"].groupby("series"), strict=True):
                line, _, (bars,) = container.lines
                assert line.get_xdata().tolist() == rows["x"].tolist()
                assert line.get_ydata().tolist() == rows["mean"].tolist()
                ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
                assert np.array(ends) == pytest.approx(rows[["low", "high"]].to_numpy())
        assert SEED_INTERVAL in fig.axes[0].get_ylabel()
        assert texts(fig) == ["Mixer", "SW-MLP", "C = S"]

    def test_colours_are_of_the_series_in_every_panel(self):
        table = points(("a", "b"))
        table = table[(table["panel"] == "a") | (table["series"] == "SW-MLP")]
        first, second = drawn(paper_figures.curves, table).axes
        assert second.containers[0].lines[0].get_color() == first.containers[1].lines[0].get_color()

    def test_unknown_means_and_intervals(self):
        table = points()
        table.loc[0, ["mean", "low", "high"]] = np.nan
        table.loc[1, ["low", "high"]] = np.nan
        ax = drawn(paper_figures.curves, table).axes[0]
        assert np.isnan(ax.containers[0].lines[0].get_ydata()[0])
        assert ax.containers[0].lines[0].get_ydata()[1] == pytest.approx(0.2)

    def test_few_places_are_labelled(self):
        ax = drawn(paper_figures.curves, points(), "log").axes[0]
        assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "4"]


def test_similarity_shows_every_seed():
    table = pd.concat([points().assign(seed=seed) for seed in (0, 1)])
    fig = drawn(paper_figures.similarity, table, points(), {"one": [(2.0, "1/p = C")]})
    (ax,) = fig.axes
    lines = [container.lines[0] for container in ax.containers]
    assert [len(line.get_xdata()) for line in lines] == [6, 6, 3, 3]
    assert lines[2].get_ydata().tolist() == points()["mean"].tolist()[:3]
    # beside the means, and apart from one another
    assert len(set(lines[0].get_xdata())) == 6
    assert not set(lines[0].get_xdata()) & set(lines[2].get_xdata())
    assert texts(fig) == ["Mixer", "SW-MLP", "1/p = C"]


def test_trials_show_every_run():
    runs = pd.DataFrame({"panel": "one", "series": ["Mixer"] * 3, "test_error": [0.1, 0.2, np.nan]})
    means = points().query("x == 1")
    (ax,) = drawn(paper_figures.trials, runs, means).axes
    dots, empty = ax.lines[0], ax.lines[2]
    assert dots.get_ydata().tolist() == [0.1, 0.2]
    assert empty is not None
    assert [label.get_text() for label in ax.get_xticklabels()] == ["Mixer", "SW-MLP"]
    means_drawn = [container.lines[0].get_ydata().tolist() for container in ax.containers]
    assert means_drawn == [[value] for value in means["mean"]]


def test_width_against_channels():
    lines = [(2.0**19, (2.0, 2.0)), (1e6, (1.0, 4.0))]
    channels = pd.concat([width.channel_line(*line).assign(line=i) for i, line in enumerate(lines)])
    sparse = pd.concat([width.line(omega, 2.0).assign(line=i) for i, (omega, _) in enumerate(lines)])
    optima = WIDTH_OPTIMA.frame(width.optimum_row(*line) for line in lines)
    fig = drawn(paper_figures.width_against_channels, channels, sparse, optima)
    against_c, density, against_m = fig.axes
    first = channels[channels["line"] == 0]
    assert against_c.lines[0].get_ydata().tolist() == first["width"].tolist()
    assert against_c.lines[1].get_xydata().tolist() == [[64.0, 4096.0]]
    assert density.lines[0].get_ydata().tolist() == first["density"].tolist()
    assert against_m.lines[0].get_xdata().tolist() == first["width"].tolist()
    assert texts(fig) == ["Ω = 524,288, γ = 2", "Ω = 1e+06, γ = (1, 4)"]


def test_costs_are_over_the_mixers():
    table = pd.DataFrame({"family": ["sw-mlp", "mixer"], "width": 64, "batch_size": 8, "device": "cpu"})
    for index, name in enumerate(paper_figures.COSTS):
        table[name] = [10.0 * (index + 1), 5.0]
    (ax,) = drawn(paper_figures.costs, table).axes
    heights = [[bar.get_height() for bar in container] for container in ax.containers]
    assert heights == [[2.0, 4.0, 6.0, 8.0, 10.0], [1.0] * 5]
    assert ax.get_title() == "m = 64, batches of 8 images, cpu"
