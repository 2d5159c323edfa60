"""What the tables of the tiny experiments hold, against the definitions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import mixanalysis as mx
from mixanalysis.papers import schemas
from mixanalysis.papers.experiment import Context, described, notes
from mixanalysis.papers.hayase_2024 import fig2, fig5, fig_s1, table_s3
from mixanalysis.spectra.sweep import masked_noise
from papers.tiny import EXPERIMENTS, SPECS

TABLES = schemas.tables()
RUN_TABLES = [name for name in SPECS if name not in ("fig3", "table-s3")]


@pytest.mark.parametrize("name", SPECS)
def test_tables_follow_their_schemas(made, name):
    for table, frame in made[0][name].items():
        assert len(frame), table
        if table in TABLES:
            assert list(frame.columns) == [column.name for column in TABLES[table].columns]


@pytest.mark.parametrize("name", RUN_TABLES)
def test_runs_are_as_asked_for(made, name):
    tables, context = made
    runs = tables[name]["paper_runs"]
    points = EXPERIMENTS[name].points(SPECS[name])
    assert len(runs) == len(points)
    assert (runs["status"] == "ok").all()
    by_key = {point.run.key[:20]: point.run for point in points}
    for row in runs.itertuples():
        run = by_key[row.run]
        network = context.book[run.key].network()
        assert row.test_error == pytest.approx(1 - network.provenance.training["test_accuracy"])
        assert (row.family, row.seed, row.epochs) == (run.family, run.training.seed, run.training.epochs)
        assert (row.width, row.density, row.omega) == (network.width, network.density, network.omega)


@pytest.mark.parametrize("name", [name for name in RUN_TABLES if name != "fig2"])
def test_means_are_over_seeds(made, name):
    runs, means = made[0][name]["paper_runs"], made[0][name]["paper_points"]
    assert means["n"].tolist() == [2] * len(means)
    row = means.iloc[-1]
    own = runs[(runs["panel"] == row["panel"]) & (runs["series"] == row["series"]) & (runs["x"] == row["x"])]
    assert row["mean"] == pytest.approx(own["test_error"].mean())
    assert row["sd"] == pytest.approx(own["test_error"].std(ddof=1))


class TestFig2:
    def test_each_pair_is_of_one_seed(self, made):
        tables, context = made
        table = tables["fig2"]["paper_similarity"]
        points = fig2.points(SPECS["fig2"])

        def network(series, x, seed):
            (run,) = {p.run for p in points if (p.series, p.x, p.run.training.seed) == (series, x, seed)}
            return replace(context.book[run.key].network(), label=f"{series} {seed}")

        data = points[0].run.datasets[1]
        for series, x, partner in ((fig2.TRAINED, 4.0, 1), (fig2.FLOOR, 2.0, 1), (fig2.CEILING, 4.0, 0)):
            other = "Mixer" if series == fig2.CEILING else series
            expected = mx.cka(network("Mixer", 4.0, 1), network(other, x, partner), data=data).diagonal.iloc[0]
            seed = 0 if series == fig2.CEILING else 1
            (row,) = table[(table["series"] == series) & (table["x"] == x) & (table["seed"] == seed)].itertuples()
            assert (row.mean, row.low, row.high) == pytest.approx((expected["mean"], expected.low, expected.high))

    def test_the_curve_is_whole(self, made):
        table = made[0]["fig2"]["paper_similarity"]
        assert table.groupby(["series", "x"]).size().to_dict() == {
            **{(series, 2.0**n): 2 for series in (fig2.TRAINED, fig2.FLOOR) for n in range(3)},
            (fig2.CEILING, 4.0): 1,
        }
        assert set(table["blocks"]) == {2}

    def test_heat_maps_of_dense_and_of_the_mixers_own_sparsity(self, made):
        names = [name for name, *_ in EXPERIMENTS["fig2"].drawings(made[0]["fig2"])]
        assert names == ["fig2a", "fig2b_C4", "fig2c_C4"]
        (*_, (dense,)), (*_, (sparse,)) = EXPERIMENTS["fig2"].drawings(made[0]["fig2"])[1:]
        assert (set(dense["network_b"]), set(sparse["network_b"])) == ({"SW-MLP p = 1"}, {"SW-MLP p = 0.25"})
        assert len(dense) == len(sparse) == 4

    def test_three_seeds_make_three_pairs(self):
        spec = replace(SPECS["fig2"], seeds=(0, 1, 2))
        pairs = [
            {point.run.training.seed, mixer.training.seed}
            for point, mixer in fig2._pairs(spec, fig2.points(spec))
            if point.series == fig2.CEILING
        ]
        assert sorted(map(sorted, pairs)) == [[0, 1], [0, 2], [1, 2]]

    def test_a_single_seed_has_no_ceiling(self, made):
        spec = replace(SPECS["fig2"], seeds=(0,))
        table = fig2.tables(spec, made[1])["paper_similarity"]
        assert set(table["series"]) == {fig2.TRAINED, fig2.FLOOR}


class TestFigS1:
    @pytest.mark.parametrize("exponent", [0.0, 0.5, 1.5])
    def test_scaled_spectrum(self, exponent):
        size, p = round(50 ** ((1 + exponent) / 2)), 50.0**-exponent
        noise = masked_noise(size, size, p, p, np.random.default_rng([3, size]))
        Z = np.zeros((size, size))
        Z[noise.rows.numpy(), noise.columns.numpy()] = noise.values.numpy()
        gram = Z @ Z.T
        expected = math.sqrt(np.linalg.eigvalsh(gram)[-1] / np.diag(gram).mean())
        assert fig_s1.scaled_singular_value(50.0, exponent, 3) == pytest.approx(expected, rel=1e-6)

    def test_entries_are_standard_gaussian(self):
        noise = masked_noise(300, 300, 0.1, 0.1, np.random.default_rng(0))
        assert float(noise.values.var()) == pytest.approx(1.0, abs=0.05)

    def test_nothing_to_scale(self):
        # m = 1, p = 1/2: without its only connection
        found = [fig_s1.scaled_singular_value(1.0000001, 1.0, seed) for seed in range(2)]
        assert found == pytest.approx([1.0, 1.0])

    def test_the_printed_ends(self):
        tables = {
            "masked_noise": pd.DataFrame({"series": [fig_s1.SINGULAR] * 3, "x": [0.0] * 3, "value": [1.8, 1.9, 2]})
        }
        (row,) = fig_s1.values(tables)
        assert (row["paper"], row["value"]) == ("about 1.9", pytest.approx(1.9))

    def test_eigenvalues_are_squares(self, made):
        spectra = made[0]["figS1"]["masked_noise"].pivot_table("value", ["x", "trial"], "series")
        assert spectra[fig_s1.EIGENVALUE].to_numpy() == pytest.approx(spectra[fig_s1.SINGULAR].to_numpy() ** 2)


class TestFig5:
    def test_the_figures_share_their_runs(self, made):
        fig5_runs, fig6_runs = (made[0][name]["paper_runs"] for name in ("fig5", "fig6"))
        narrow = fig6_runs[fig6_runs["channels"] <= fig6_runs["tokens"]]
        mixers = fig5_runs[fig5_runs["series"] != fig5.SPARSE]
        assert set(narrow["run"]) == set(mixers["run"])
        assert (fig6_runs["x"] > 1).any()
        assert fig6_runs["x"].tolist() == (fig6_runs["channels"] / fig6_runs["tokens"]).tolist()
        assert mixers["x"].tolist() == (mixers["channels"] * mixers["tokens"]).tolist()

    def test_omega_is_fixed(self, made):
        runs = made[0]["fig5"]["paper_runs"]
        sparse = runs[runs["series"] == fig5.SPARSE]
        # masks are drawn cell by cell
        assert sparse["omega"].mean() == pytest.approx(125.0, rel=0.1)
        square = runs[runs["channels"] == runs["tokens"]]
        assert set(square["channels"]) == {5}
        # the first token-mixing layer maps the 4 patches
        assert set(square["omega"]) == {(5 * 4 * 5 + 5 * 5 * 5) / 2}


class TestTableS3:
    def test_a_mixer_by_hand(self, made):
        row = made[0]["table-s3"]["paper_costs"].set_index("family").loc["mixer"]
        S, C, S0 = 8, 8, 64
        token = C * (2 * S * S0 + S * 2 * S)
        channel = S * 2 * (2 * C * C)
        assert row["connections"] == token + channel
        assert row["width"] == 64
        stem, carry, head = S0 * 48 * C, C * S0 * S, C * 10
        assert row["flops"] == 2 * (token + channel + stem + carry + head)
        biases, norms = 2 * S + S + 2 * C + C + C + 10, 4 * 2 * C
        matrices = 48 * C + S0 * S + (2 * S * S0 + 2 * S * S) + 4 * C * C + C * 10
        assert row["parameters"] == matrices + biases + norms
        assert row["stored_bytes"] == 4 * row["parameters"]
        assert row["step_bytes"] > 4 * row["stored_bytes"]
        assert row["step_seconds"] > 0

    def test_permutations_cost_memory_and_no_operations(self, made):
        costs = made[0]["table-s3"]["paper_costs"].set_index("family")
        assert costs.loc["rp-mixer", "flops"] == costs.loc["mixer", "flops"]
        assert costs.loc["rp-mixer", "parameters"] == costs.loc["mixer", "parameters"]
        assert costs.loc["rp-mixer", "stored_bytes"] > costs.loc["mixer", "stored_bytes"]

    def test_a_mask_is_stored_whole(self, made):
        row = made[0]["table-s3"]["paper_costs"].set_index("family").loc["sw-mlp"]
        cells = 2 * 2 * (128 * 64)
        assert row["connections"] == pytest.approx(cells / 8, rel=0.1)
        assert row["density"] == pytest.approx(row["connections"] / cells)
        # a weight and a byte of the mask
        assert row["stored_bytes"] > cells * 5
        assert row["parameters"] < cells

    def test_saved_for_the_backward_pass(self):
        import torch

        module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 5), torch.nn.GELU(), torch.nn.Linear(5, 3))
        found = table_s3._saved(module, torch.randn(7, 1, 2, 3))
        # input, what enters and leaves the GELU, log-probabilities; labels and the loss's total weight may be kept
        expected = 4 * 7 * (6 + 5 + 5 + 3)
        assert expected <= found <= expected + 8 * 7 + 8


def test_a_failed_run_is_in_the_tables(made):
    tables, context = made
    spec = SPECS["fig7"]
    points = EXPERIMENTS["fig7"].points(spec)
    book = dict(context.book)
    lost = points[0].run
    book[lost.key] = replace(book[lost.key], error="OSError: gone")
    found = EXPERIMENTS["fig7"].tables(spec, Context(book, context.ledger))
    row = found["paper_runs"].iloc[0]
    assert (row["status"], row["error"]) == ("failed", "OSError: gone")
    assert math.isnan(row["test_error"])
    mean = found["paper_points"].iloc[0]
    assert (mean["n"], mean["failed"]) == (1, 1)
    assert math.isnan(mean["low"])
    others = (frame.iloc[1:] for frame in (found["paper_runs"], tables["fig7"]["paper_runs"]))
    pd.testing.assert_frame_equal(*others, check_dtype=False)
    # and its pairs aren't compared
    mixer = next(p.run for p in EXPERIMENTS["fig2"].points(SPECS["fig2"]) if p.series == "Mixer")
    book[mixer.key] = replace(book[mixer.key], error="OSError: gone")
    table = fig2.tables(SPECS["fig2"], Context(book, context.ledger))["paper_similarity"]
    assert set(table["seed"]) == {1}
    assert fig2.CEILING not in set(table["series"])


def test_notes_are_the_docstring():
    assert notes("First.\n\nA line\nand another.\n\nAgain.\n") == "A line and another.\n\nAgain."
    assert notes(None) == ""
    for experiment in EXPERIMENTS.values():
        assert experiment.notes


def test_settings_in_words():
    words = dict(described(SPECS["fig7"]))
    assert words["channels"] == "4"
    assert words["depths"] == "1; 2"
    assert words["data"] == "digits at 8 pixels, patch 4, first 96"
    assert words["training"] == "epochs 2, optimizer adamw, lr 0.01, weight decay 0.01, batch size 48"
