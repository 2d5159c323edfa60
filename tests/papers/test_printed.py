"""What the paper prints exactly, and what the presets have of it."""

from __future__ import annotations

import math

import pytest

from mixanalysis import width
from mixanalysis.errors import UsageError
from mixanalysis.papers import Options, chosen
from mixanalysis.papers.experiment import specs
from mixanalysis.papers.hayase_2024 import fig2, fig4, fig5, fig7
from mixanalysis.papers.runs import Data
from papers.tiny import EXPERIMENTS


@pytest.mark.parametrize(("channels", "tokens"), [(4, 360), (8, 252), (12, 203), (16, 173)])
def test_tokens_of_mixers(channels, tokens):
    assert fig4.tokens_of(2.0**19, 2.0, channels) == tokens
    assert tokens == round((math.sqrt(channels**2 + 8 * 2**19 / (2 * channels)) - channels) / 2)
    assert fig4.PRINTED_TOKENS[channels] == tokens


@pytest.mark.parametrize(("channels", "tokens"), [(16, 173), (32, 113), (48, 83), (64, 64)])
def test_tokens_of_s_mixers(channels, tokens):
    assert round(width.tokens(2.0**18, 1.0, channels)) == tokens
    assert fig5.PRINTED_TOKENS.get(channels, 64) == tokens


@pytest.mark.parametrize(("density", "m"), [(0.9, 540), (0.7, 612), (0.5, 724), (0.3, 935), (0.1, 1619)])
def test_widths_of_sw_mlps(density, m):
    assert fig5.sparse_width(2.0**18, density) == m
    assert fig5.PRINTED_WIDTHS[density] == m


def test_the_widest_mixer():
    rows = {row["quantity"]: row for row in EXPERIMENTS["fig3"].values(EXPERIMENTS["fig3"].tables(fig3_spec(), None))}
    assert len(rows) == 6
    for row in rows.values():
        printed = row["paper"].rpartition("= ")[2]
        assert row["value"] == pytest.approx(float(printed), rel=3e-4), row["quantity"]


def fig3_spec():
    return EXPERIMENTS["fig3"].spec(Options())


def test_a_mixer_b16_is_on_its_own_line():
    omega, gammas = fig3_spec().lines[2]
    assert omega == pytest.approx(2.601e8, rel=1e-4)
    assert width.tokens(omega, gammas, 768) == pytest.approx(196)
    assert width.connections(196, 768, gammas) == omega


def sw_mlps(points):
    return [point for point in points if point.run.family in ("sw-mlp", "mlp")]


class TestPaperScale:
    def printed(self, name, **options):
        experiment = EXPERIMENTS[name]
        data = tuple(f"{kind}:DIR" for kind in experiment.kinds)
        return experiment.spec(Options(scale="paper", data=data, **options))

    def test_fig2(self):
        spec = self.printed("fig2")
        how = spec.training
        assert (how.optimizer, how.lr, how.batch_size, how.epochs) == ("adamw", 0.01, 128, 600)
        assert spec.data == (Data("cifar10:DIR", None, 4),)
        places = fig2.points(spec)
        sparse = sw_mlps(places)
        assert {point.x for point in sparse} == {2.0**n for n in range(11)}
        assert {point.run.sizes.width for point in sparse} == {1024, 4096}
        assert {point.run.sizes.depth for point in sparse} == {6}
        mixers = {(point.run.sizes.tokens, point.run.sizes.channels) for point in places if point.series == "Mixer"}
        assert mixers == {(32, 32), (64, 64)}
        assert {point.run.training.seed for point in places} == {0, 1, 2}

    def test_fig2d(self):
        spec = self.printed("fig2d")
        assert (spec.training.optimizer, spec.training.epochs, len(spec.seeds)) == ("adamw", 200, 5)
        assert spec.data[0].kind == "mnist"

    def test_fig4(self):
        spec = self.printed("fig4")
        assert (spec.omega, spec.noise_omega, spec.expansion) == (2.0**19, 2.0**19, 2.0)
        mixers = {(p.run.sizes.channels, p.run.sizes.tokens) for p in fig4.points(spec) if p.series == "Mixer"}
        assert {(4, 360), (8, 252), (12, 203), (16, 173), (64, 64)} <= mixers

    def test_fig5(self):
        spec = self.printed("fig5")
        how = spec.training
        assert (how.optimizer, how.lr, how.batch_size, how.epochs) == ("sgd", 0.02, 128, 200)
        assert [data.kind for data in spec.data] == ["cifar10", "cifar100", "stl10"]
        assert [data.image_size for data in spec.data] == [None, None, 32]
        assert [omega for omega, _ in spec.omegas] == [2.0**18, 2.0**21, 2.0**27]
        sparse = sw_mlps(fig5.points(spec))
        assert sorted({point.run.sizes.width for point in sparse}) == [540, 612, 724, 935, 1619]

    def test_fig7(self):
        spec = self.printed("fig7")
        assert (spec.channels, spec.depths[0], spec.depths[-1]) == (128, 4, 20)
        assert {point.run.sizes.width for point in sw_mlps(fig7.points(spec))} == {128**2}

    def test_what_is_missing_is_named_at_once(self):
        with pytest.raises(
            UsageError, match=r"^--scale paper needs the paper's data: fig2d --data mnist:DIR; fig5 --d"
        ):
            specs(chosen(["fig5", "fig2d", "fig3"]), Options(scale="paper", data=("digits",)))
        with pytest.raises(UsageError, match=r"^fig7 at --scale paper needs --data cifar10:DIR$"):
            EXPERIMENTS["fig7"].spec(Options(scale="paper"))

    def test_some_of_several_data_sets_do(self):
        spec = EXPERIMENTS["fig5"].spec(Options(scale="paper", data=("mnist:A", "cifar100:B")))
        assert [data.name for data in spec.data] == ["cifar100:B"]


class TestOptions:
    def test_seeds_and_limit(self):
        spec = EXPERIMENTS["fig7"].spec(Options(seeds=2, limit=50))
        assert spec.seeds == (0, 1)
        assert spec.data == (Data("digits", 16, 4, 50),)

    def test_lines(self):
        line = (100.0, (1.0, 2.0))
        assert EXPERIMENTS["fig3"].spec(Options(lines=(line,))).lines == (line,)

    def test_at_least_one_seed(self):
        with pytest.raises(UsageError, match=r"^--seeds must be at least 1, got 0$"):
            EXPERIMENTS["fig7"].spec(Options(seeds=0))

    def test_names(self):
        assert [experiment.name for experiment in chosen(["fig7", "fig3"])] == ["fig3", "fig7"]
        assert len(chosen(["all"])) == len(EXPERIMENTS) == 10
        with pytest.raises(UsageError, match=r"^unknown 'fig8'; known are fig2, fig2d, .* and all$"):
            chosen(["fig3", "fig8"])
        with pytest.raises(UsageError, match=r"^no figure; known are fig2, "):
            chosen([])
