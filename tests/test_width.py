"""Effective width at fixed Omega: the reference points of the paper, and its formulas against counting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixanalysis as mx
import naive
from cases import NETWORKS, network_of
from mixanalysis import width
from mixanalysis.errors import UsageError
from mixanalysis.families.mixer.network import MixerConfig
from mixanalysis.network import Patches
from mixanalysis.width import WIDTH_CHANNELS, WIDTH_LINE, WIDTH_OPTIMA, WIDTH_POINTS

laws = settings(deadline=None, max_examples=100)
omegas = st.floats(1.0, 1e12)
gammas = st.floats(0.05, 20.0)
sizes = st.floats(1.0, 1e4)


def names(schema):
    return [column.name for column in schema.columns]


class TestReferencePoints:
    def test_hundred_million_connections(self):
        best = width.optimum(1e8)
        assert pytest.approx(464.16, abs=0.005) == best.S == best.C
        assert best.m == pytest.approx(2.154e5, rel=3e-4)
        assert best.p == pytest.approx(2.154e-3, rel=3e-4)

    def test_the_paper_s_experiment(self):
        best = width.optimum(2**19, 2)
        assert (best.S, best.C, best.m, best.p) == pytest.approx((64, 64, 4096, 1 / 64), rel=1e-14)

    @pytest.mark.parametrize(("channels", "tokens"), [(4, 360), (8, 252), (12, 203), (16, 173)])
    def test_its_pairs_of_tokens_and_channels(self, channels, tokens):
        # S(C) is 360.04, 252.03, 203.11 and 173.20: rounding down and to the nearest agree
        assert math.floor(width.tokens(2**19, 2, channels)) == tokens
        assert round(width.tokens(2**19, 2, channels)) == tokens
        assert width.connections(tokens, channels, 2.0) == pytest.approx(2**19, rel=2.5e-3)

    def test_mixer_b16(self):
        expansion = (384 / 196, 3072 / 768)
        assert width.connections(196, 768, expansion) == pytest.approx(2.601e8, rel=2e-4)
        counted = (768 * 384 * 196 + 196 * 768 * 3072) / 2
        assert width.connections(196, 768, expansion) == pytest.approx(counted, rel=1e-14)
        assert width.tokens(counted, expansion, 768) == pytest.approx(196, rel=1e-13)

    def test_mixer_b16_as_a_network(self, tmp_path):
        # one base block of it, on patches of one pixel
        config = MixerConfig(Patches(14, 14, 1, 1), 0, 196, 768, 384, 3072, 1)
        network = network_of(config, tmp_path / "b16.safetensors")
        assert network.width == 150528
        assert network.omega == pytest.approx(2.601e8, rel=2e-4)
        assert network.density == pytest.approx((1 / 196 + 1 / 768) / 2, rel=1e-13)

    def test_ends_of_the_range(self):
        assert width.mixer_range(1e8) == pytest.approx(((math.sqrt(1 + 8e8) - 1) / 2, 2.1544346900319e5), rel=1e-12)
        assert width.narrowest_sparse(1e8) == 1e4
        assert width.narrowest_sparse(2**19, 2) == 512


@pytest.mark.parametrize(("tokens", "channels", "hidden"), [(6, 5, (9, 15)), (4, 4, (8, 8)), (3, 7, (3, 7))])
def test_connections_are_the_non_zeros_of_the_effective_matrices(tokens, channels, hidden):
    counted = naive.mixer_nonzeros(tokens, channels, *hidden)
    expansion = (hidden[0] / tokens, hidden[1] / channels)
    assert width.connections(tokens, channels, expansion) == pytest.approx(np.mean([n for n, _ in counted]), rel=1e-14)
    assert np.mean([n / cells for n, cells in counted]) == pytest.approx((1 / tokens + 1 / channels) / 2, rel=1e-14)


@laws
@given(omega=omegas, gamma=gammas, channels=sizes)
def test_density_of_a_mixer_is_on_the_line(omega, gamma, channels):
    tokens = width.tokens(omega, gamma, channels)
    expected = (1 / tokens + 1 / channels) / 2
    assert width.density(omega, gamma, tokens * channels) == pytest.approx(expected, rel=1e-10)


@laws
@given(omega=omegas, gamma_s=gammas, gamma_c=gammas, channels=sizes)
def test_tokens_invert_connections(omega, gamma_s, gamma_c, channels):
    expansion = (gamma_s, gamma_c)
    tokens = width.tokens(omega, expansion, channels)
    assert width.connections(tokens, channels, expansion) == pytest.approx(omega, rel=1e-11)
    assert width.tokens(omega, (gamma_c, gamma_s), tokens) == pytest.approx(channels, rel=1e-9)


def test_tokens_keep_their_digits_where_channels_are_many():
    # S = 2 Omega/(gamma C^2) (1 - ...): the textbook form loses all digits here
    assert width.tokens(1.0, 1.0, 1e9) == pytest.approx(2e-18, rel=1e-12)


@laws
@given(omega=omegas, gamma=gammas, channels=sizes)
def test_expansion_at_fixed_width(omega, gamma, channels):
    tokens = width.tokens(omega, gamma, channels)
    assert width.expansion_at(omega, channels, tokens * channels) == pytest.approx(gamma, rel=1e-10)


EXPANSIONS = {"one": (1.0, 1.0), "two": (2.0, 2.0), "unequal": (0.5, 4.0), "unequal the other way": (3.0, 0.25)}


@pytest.mark.parametrize("expansion", EXPANSIONS.values(), ids=EXPANSIONS)
@pytest.mark.parametrize("omega", [50.0, 2.0**19, 1e8])
def test_the_optimum_is_the_widest_of_a_fine_grid(omega, expansion):
    best = width.optimum(omega, expansion)
    tokens, channels, m = naive.widest_mixer(omega, *expansion)
    assert pytest.approx((tokens, channels), rel=1e-3) == (best.S, best.C)
    assert best.m == pytest.approx(m, rel=1e-8)
    assert best.m >= m * (1 - 1e-14)
    assert expansion[0] * best.S == pytest.approx(expansion[1] * best.C, rel=1e-14)
    assert best.p == pytest.approx((1 / best.S + 1 / best.C) / 2, rel=1e-14)
    assert width.connections(best.S, best.C, expansion) == pytest.approx(omega, rel=1e-13)


@laws
@given(omega=omegas, gamma_s=gammas, gamma_c=gammas, channels=sizes)
def test_no_mixer_is_wider_than_the_optimum(omega, gamma_s, gamma_c, channels):
    m = channels * width.tokens(omega, (gamma_s, gamma_c), channels)
    assert m <= width.mixer_range(omega, (gamma_s, gamma_c))[1] * (1 + 1e-12)


@laws
@given(omega=st.floats(100.0, 1e12), gamma_s=gammas, gamma_c=gammas)
def test_the_ends_of_the_range_are_attained(omega, gamma_s, gamma_c):
    low, high = width.mixer_range(omega, (gamma_s, gamma_c))
    best = width.optimum(omega, (gamma_s, gamma_c))
    assert width.connections(best.S, best.C, (gamma_s, gamma_c)) == pytest.approx(omega, rel=1e-11)
    assert pytest.approx(high, rel=1e-12) == best.S * best.C
    ends = [width.connections(low, 1.0, (gamma_s, gamma_c)), width.connections(1.0, low, (gamma_s, gamma_c))]
    # the narrower of the two has Omega connections; the other one would need more width for them
    assert max(ends) == pytest.approx(omega, rel=1e-11)


class TestLine:
    @pytest.mark.parametrize(("omega", "gamma"), [(1e8, 1.0), (2**19, 2.0), (300.0, 0.5)])
    def test_slope_is_minus_two(self, omega, gamma):
        line = mx.width.line(omega, gamma)
        assert list(line.columns) == names(WIDTH_LINE)
        slopes = np.diff(np.log(line["density"])) / np.diff(np.log(line["width"]))
        np.testing.assert_allclose(slopes, -2, rtol=1e-7)
        np.testing.assert_allclose(line["density"] * gamma * line["width"] ** 2, omega, rtol=1e-12)

    @pytest.mark.parametrize(("omega", "gamma"), [(1e8, 1.0), (2**19, 2.0), (300.0, 0.5)])
    def test_from_the_dense_network_over_the_widest_mixer(self, omega, gamma):
        line = width.line(omega, gamma)
        low, high = width.mixer_range(omega, gamma)
        first, last = line.iloc[0], line.iloc[-1]
        assert first["width"] == pytest.approx(math.sqrt(omega / gamma), rel=1e-12)
        assert first["density"] == 1.0
        assert last["width"] == pytest.approx(4 * high, rel=1e-12)
        assert high in line["width"].to_numpy()
        mixers = line[line["mixer"]]["width"]
        assert mixers.max() == high
        assert mixers.min() >= low * (1 - 1e-9)
        assert not line[~line["mixer"]]["width"].between(low, high).any()

    @laws
    @given(omega=omegas, gamma=gammas)
    def test_densities_are_at_most_one(self, omega, gamma):
        density = width.line(omega, gamma)["density"]
        assert 0 < density.iloc[-1] < density.iloc[0] <= 1

    def test_chosen_widths(self):
        line = width.line(2**19, 2.0, widths=[1024, 512, 4096, 5000])
        assert line["width"].tolist() == [1024, 512, 4096, 5000]
        assert line["density"].tolist() == [0.25, 1.0, 1 / 64, 2**19 / (2 * 5000**2)]
        assert line["mixer"].tolist() == [True, False, True, False]
        assert line["omega"].tolist() == [2**19] * 4

    def test_fewer_connections_than_a_mixer_of_one_channel_has(self):
        line = width.line(0.5)
        assert line["density"].between(0, 1).all()
        assert not line["mixer"].any()

    @pytest.mark.parametrize("narrow", [511.0, 0.0, -4096.0, math.nan])
    def test_a_width_that_cannot_hold_the_connections(self, narrow):
        message = rf"width {narrow:g} can't hold Omega = 524288 connections at gamma = 2: it must be at least 512"
        with pytest.raises(UsageError, match=message):
            width.line(2**19, 2.0, widths=[4096, narrow])


class TestChannelLine:
    @pytest.mark.parametrize("expansion", [2.0, (0.5, 4.0)])
    def test_each_row_is_a_mixer(self, expansion):
        line = width.channel_line(2**19, expansion)
        assert list(line.columns) == names(WIDTH_CHANNELS)
        for row in line.itertuples():
            assert width.connections(row.tokens, row.channels, expansion) == pytest.approx(2**19, rel=1e-10)
            assert row.width == pytest.approx(row.tokens * row.channels, rel=1e-14)
            assert row.density == pytest.approx((1 / row.tokens + 1 / row.channels) / 2, rel=1e-14)
        pair = expansion if isinstance(expansion, tuple) else (expansion, expansion)
        assert (line["expansion_token"] == pair[0]).all()
        assert (line["expansion_channel"] == pair[1]).all()

    def test_from_one_channel_to_one_token(self):
        line = width.channel_line(2**19, (0.5, 4.0))
        assert line["channels"].iloc[0] == 1
        assert line["tokens"].iloc[-1] == pytest.approx(1, rel=1e-9)
        assert len(line) == 101
        assert line["width"].max() == pytest.approx(width.optimum(2**19, (0.5, 4.0)).m, rel=2e-3)

    def test_chosen_channels(self):
        line = width.channel_line(2**19, 2.0, [4, 64])
        assert line["channels"].tolist() == [4, 64]
        assert line["width"].tolist() == pytest.approx([1440.18, 4096], rel=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_lie_on_the_line_of_their_own_omega(name, tmp_path):
    network = network_of(NETWORKS[name], tmp_path / f"{name}.safetensors")
    table = width.points([network])
    assert list(table.columns) == names(WIDTH_POINTS)
    (point,) = table.itertuples()
    assert (point.network, point.family, point.width) == (name, network.family, NETWORKS[name].width)
    assert width.density(point.omega, point.expansion, point.width) == pytest.approx(point.density, rel=1e-13)
    line = width.line(point.omega, point.expansion, [point.width])
    assert line["density"].tolist() == pytest.approx([point.density], rel=1e-13)
    assert point.widest_mixer == pytest.approx((point.omega / point.expansion) ** (2 / 3), rel=1e-13)
    # beyond it are Mixers whose matrices are not dense
    if "mixer" in name and "resized" not in name and "structured" not in name:
        assert point.width <= point.widest_mixer * (1 + 1e-12)


@pytest.mark.parametrize("name", ["mixer", "mixer-square", "rp-mixer", "s-mixer", "mixer-bare"])
def test_density_of_mixers(name, tmp_path):
    config = NETWORKS[name]
    network = network_of(config, tmp_path / "a.safetensors")
    assert network.density == pytest.approx((1 / config.tokens + 1 / config.channels) / 2, rel=1e-14)


def test_points_of_several_networks_keep_their_order(tmp_path):
    networks = [network_of(NETWORKS[name], tmp_path / f"{name}.safetensors") for name in ("sw-mlp", "mixer")]
    assert width.points(networks)["network"].tolist() == ["sw-mlp", "mixer"]
    assert width.points([]).empty


@pytest.mark.parametrize("expansion", [2.0, (0.5, 4.0)])
def test_a_row_of_optima(expansion):
    row = width.optimum_row(1e6, expansion)
    assert list(row) == names(WIDTH_OPTIMA)
    best = width.optimum(1e6, expansion)
    assert (row["tokens"], row["channels"], row["width"], row["density"]) == (best.S, best.C, best.m, best.p)
    assert row["narrowest_mixer"] == width.mixer_range(1e6, expansion)[0]
    gamma = 2.0 if expansion == 2.0 else 2.25
    assert row["narrowest_sparse"] == pytest.approx(math.sqrt(1e6 / gamma), rel=1e-14)
    assert width.mean_expansion(expansion) == gamma


def test_distinct_lines():
    lines = [(100.0, (2.0, 2.0)), (101.0, (2.0, 2.0)), (103.0, (2.0, 2.0)), (100.0, (2.0, 2.5)), (100.0, (2.0, 2.0))]
    assert width.distinct(lines) == [lines[0], lines[2], lines[3]]
    assert width.distinct([]) == []


BAD = {
    "zero": (0.0, 1.0, r"Omega must be a positive number, got 0.0"),
    "negative": (-2.0, 1.0, r"Omega must be a positive number, got -2.0"),
    "infinite": (math.inf, 1.0, r"Omega must be a positive number, got inf"),
    "NaN": (math.nan, 1.0, r"Omega must be a positive number, got nan"),
    "zero gamma": (10.0, 0.0, r"an expansion must be a positive number, got 0.0"),
    "infinite gamma": (10.0, math.inf, r"an expansion must be a positive number, got inf"),
    "one bad of two": (10.0, (2.0, -1.0), r"an expansion must be a positive number, got \(2.0, -1.0\)"),
}
PAIRED = {
    "optimum": width.optimum,
    "tokens": lambda omega, gamma: width.tokens(omega, gamma, 4.0),
    "mixer_range": width.mixer_range,
    "channel_line": width.channel_line,
    "optimum_row": width.optimum_row,
}
SINGLE = {"narrowest_sparse": width.narrowest_sparse, "line": width.line}


@pytest.mark.parametrize("function", [*PAIRED.values(), *SINGLE.values()], ids=[*PAIRED, *SINGLE])
@pytest.mark.parametrize(("omega", "gamma", "message"), BAD.values(), ids=BAD)
def test_numbers_out_of_range(function, omega, gamma, message):
    with pytest.raises(UsageError, match=message):
        function(omega, gamma)


@pytest.mark.parametrize("channels", [0.0, -3.0, math.nan])
def test_channels_out_of_range(channels):
    with pytest.raises(UsageError, match=rf"channels must be positive, got {channels}"):
        width.tokens(100.0, 1.0, channels)


def test_connections_check_the_expansion():
    with pytest.raises(UsageError, match=r"an expansion must be a positive number, got -1"):
        width.connections(3, 4, -1)


def test_a_module_of_the_package():
    assert mx.width is width
