"""Findings: which rows they pick, which numbers they tell, and what they don't claim."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from made_up import contents
from mixanalysis.report.similarity.findings import finding as similarity_finding
from mixanalysis.report.spectra.findings import finding as spectra_finding
from mixanalysis.report.spectra.findings import spectrum_table
from mixanalysis.report.width.findings import finding as width_finding
from mixanalysis.results import to_json
from mixanalysis.similarity.schemas import CKA_DIAGONAL
from mixanalysis.spectra.schemas import SPECTRUM
from mixanalysis.width import WIDTH_POINTS
from report.drawing import cells_of

NAN = math.nan


def filled(schema, **values):
    return dict.fromkeys((column.name for column in schema.columns), "") | values


def diagonal(*rows, status="ok"):
    """Pairs (network_a, network_b, relation, mean, low, high)."""
    return CKA_DIAGONAL.frame(
        filled(
            CKA_DIAGONAL,
            network_a=a,
            network_b=b,
            relation=relation,
            mean=mean,
            low=low,
            high=high,
            n=64,
            data="digits (test)",
            status=status,
        )
        for a, b, relation, mean, low, high in rows
    )


def layers(*rows):
    """Layers (network, layer, s_max, null_edge, p_value)."""
    return SPECTRUM.frame(
        filled(SPECTRUM, network=network, layer=layer, s_max=s_max, null_edge=edge, p_value=p)
        for network, layer, s_max, edge, p in rows
    )


def points(*rows):
    """Networks (label, width, widest_mixer)."""
    return WIDTH_POINTS.frame(
        filled(WIDTH_POINTS, network=network, width=width, widest_mixer=widest, density=0.25, omega=3000.0)
        for network, width, widest in rows
    )


class TestSimilarity:
    APART = (
        ("ref", "near", "", 0.8, 0.78, 0.82),
        ("ref", "far", "", 0.3, 0.28, 0.32),
        ("near", "far", "", 0.99, 0.9, 1.0),
    )

    def test_most_and_least_of_the_reference_alone(self):
        found = similarity_finding(diagonal(*self.APART))
        assert found.title == "near is most similar to ref, far least"
        assert found.sentences[0] == (
            "Mean CKA of blocks at the same position: near 0.800 (0.780 to 0.820), far 0.300 (0.280 to 0.320)."
        )
        assert found.numbers["most"] == {"network_b": "near", "mean": 0.8, "low": 0.78, "high": 0.82}
        assert found.numbers["least"]["network_b"] == "far"
        assert not any("open" in sentence for sentence in found.sentences)

    def test_order_of_the_rows_does_not_count(self):
        swapped = diagonal(self.APART[1], self.APART[0], self.APART[2])
        assert similarity_finding(swapped) == similarity_finding(diagonal(*self.APART))

    @pytest.mark.parametrize(
        ("high", "reason"),
        [(0.79, "The intervals overlap"), (0.78, "The intervals overlap"), (NAN, "There are no intervals")],
    )
    def test_what_the_intervals_leave_open_is_not_claimed(self, high, reason):
        found = similarity_finding(diagonal(("ref", "near", "", 0.8, 0.78, 0.82), ("ref", "far", "", 0.77, 0.75, high)))
        assert found.title == "near has the highest mean CKA with ref, far the lowest"
        assert f"{reason}: whether near or far is the more similar is open." in found.sentences

    @pytest.mark.parametrize(
        ("middle", "opened"),
        [
            ((0.78, 0.76, 0.81), ["near or middle is the more"]),
            ((0.5, 0.4, 0.6), []),
            ((0.31, 0.29, 0.33), ["middle or far is the less"]),
            ((0.5, 0.3, 0.79), ["near or middle is the more", "middle or far is the less"]),
        ],
        ids=["first", "none", "last", "both"],
    )
    def test_both_ends_are_claimed_where_the_intervals_tell_them_apart(self, middle, opened):
        found = similarity_finding(diagonal(*self.APART, ("ref", "middle", "", *middle)))
        told = [sentence for sentence in found.sentences if "is open" in sentence]
        assert told == [f"The intervals overlap: whether {names} similar is open." for names in opened]
        assert found.title == (
            "near has the highest mean CKA with ref, far the lowest"
            if opened
            else "near is most similar to ref, far least"
        )

    def test_says_what_the_intervals_cover(self):
        (*_, last) = similarity_finding(diagonal(*self.APART)).sentences
        assert last == (
            "Intervals: 95% delete-one-group jackknife over batches; they cover the choice of 64 images of "
            "digits (test), not that of the seed."
        )

    @pytest.mark.parametrize(
        ("bounds", "says"),
        [
            ((0.1, 0.2), "far lies above the floor (raw, the untrained network) of 0.150 (0.100 to 0.200)."),
            ((0.2, 0.3), "far has an interval that overlaps that of the floor (raw, the untrained network)"),
            ((0.4, 0.5), "far lies below the floor (raw, the untrained network) of 0.450 (0.400 to 0.500)."),
            ((NAN, NAN), "far can't be told, without intervals, from the floor (raw, the untrained network)"),
        ],
        ids=["above", "overlap", "below", "unknown"],
    )
    def test_the_least_similar_against_the_floor(self, bounds, says):
        mean = 0.4 if math.isnan(bounds[0]) else sum(bounds) / 2
        found = similarity_finding(diagonal(*self.APART, ("ref", "raw", "untrained", mean, *bounds)))
        assert any(sentence.startswith(says) for sentence in found.sentences), found.sentences
        assert "There is no ceiling: none of the networks is another seed of it or the ceiling." in found.sentences
        assert found.title == "near is most similar to ref, far least"

    def test_the_most_similar_against_the_ceiling(self):
        found = similarity_finding(diagonal(*self.APART, ("ref", "twin", "other seed", 0.9, 0.88, 0.92)))
        assert "near lies below the ceiling (twin, another seed of it) of 0.900 (0.880 to 0.920)." in found.sentences
        assert found.title.startswith("near is most similar")

    def test_without_floor_and_ceiling(self):
        found = similarity_finding(diagonal(*self.APART))
        assert (
            "Neither an untrained network (floor) nor another seed (ceiling) is among the networks." in found.sentences
        )

    def test_controls_alone_are_compared_too(self):
        rows = (("ref", "twin", "ceiling", 0.9, 0.88, 0.92), ("ref", "raw", "floor", 0.1, 0.0, 0.2))
        found = similarity_finding(diagonal(*rows))
        assert found.title == "twin is most similar to ref, raw least"
        assert {"twin itself is the ceiling.", "raw itself is the floor."} <= set(found.sentences)

    def test_one_other_network(self):
        found = similarity_finding(diagonal(("ref", "other", "", 0.5, 0.4, 0.6)))
        assert found.title == "other has a mean CKA of 0.500 with ref"

    def test_a_network_alone(self):
        found = similarity_finding(diagonal(("ref", "ref", "itself", 1.0, 1.0, 1.0)))
        assert found.title == "ref is alone: there is no other network to compare it with"
        assert (found.sentences, found.numbers) == ((), {})

    def test_no_mean_at_all(self):
        found = similarity_finding(diagonal(("ref", "deep", "", NAN, NAN, NAN), status="6 against 4 blocks"))
        assert found.title == "No network has a mean similarity to ref"
        assert found.sentences == ("deep: 6 against 4 blocks.",)

    def test_many_networks_are_not_all_listed(self):
        rows = [("ref", f"n{index:02d}", "", 0.9 - index / 100, 0.0, 1.0) for index in range(12)]
        first = similarity_finding(diagonal(*rows)).sentences[0]
        assert first.count("to 1.000") == 3
        assert "n00" in first
        assert "n11" in first


class TestSpectra:
    def test_counts_and_the_furthest(self):
        table = layers(
            ("a", "blocks.0.mlp.fc1", 3.0, 2.0, 1e-6),
            ("a", "blocks.1.mlp.fc1", 1.0, 2.0, 0.9),
            ("b", "blocks.0.mlp.fc1", 5.0, 2.0, 1e-20),
            ("b", "blocks.1.mlp.fc1", 2.2, 2.0, 0.004),
        )
        found = spectra_finding(table)
        assert found.title == "3 of 4 layers reach beyond the edge of noise, 0.fc1 of b furthest"
        assert found.sentences[:2] == (
            "The largest singular value of 0.fc1 of b is 2.5 times the edge that noise of the same structure and "
            "variance would have (p < 1e-12).",
            "Beyond, by network: a 1 of 2, b 2 of 2.",
        )
        assert dict(found.numbers) == {
            "layers": 4,
            "beyond": 3,
            "unknown": 0,
            "network": "b",
            "layer": "blocks.0.mlp.fc1",
            "ratio": 2.5,
            "p_value": 1e-20,
        }

    @pytest.mark.parametrize(("p", "beyond"), [(0.0049, 1), (0.005, 0), (0.0051, 0), (NAN, 0)])
    def test_level_is_divided_by_the_layers_of_the_network(self, p, beyond):
        table = layers(("a", "x", 3.0, 2.0, p), ("a", "y", 1.0, 2.0, 0.9), ("b", "z", 1.0, 2.0, 0.9))
        assert spectrum_table(table)["beyond"].tolist() == [beyond, 0]

    def test_the_furthest_is_one_that_is_beyond(self):
        # a small layer fluctuates more: a larger ratio may be noise
        table = layers(("a", "small", 4.0, 2.0, 0.3), ("a", "large", 3.0, 2.0, 1e-9))
        assert spectrum_table(table).loc[0, ["layer", "ratio"]].tolist() == ["large", 1.5]

    def test_one_beyond(self):
        found = spectra_finding(layers(("a", "x", 3.0, 2.0, 1e-9), ("a", "y", 1.9, 2.0, 0.6)))
        assert found.title == "1 of 2 layers reaches beyond the edge of noise, x of a furthest"

    def test_none_beyond(self):
        found = spectra_finding(layers(("a", "x", 2.1, 2.0, 0.2), ("a", "y", 1.9, 2.0, 0.6)))
        assert found.title == "No layer of 2 is shown to reach beyond the edge of noise"
        assert "largest singular value of x of a is 1.05 times" in found.sentences[0]
        assert "(p = 0.2)" in found.sentences[0]

    def test_layers_without_a_law(self):
        found = spectra_finding(layers(("a", "x", 3.0, 2.0, NAN), ("a", "y", 1.0, NAN, NAN), ("a", "z", 1.0, 0.0, 0.5)))
        assert "2 of the layers have no p-value: no law of the fluctuations is known for them." in found.sentences
        assert "(no p-value)" in found.sentences[0]

    def test_no_null_at_all(self):
        found = spectra_finding(layers(("a", "x", 0.0, NAN, NAN)))
        assert found.title == "None of the 1 layers has a null to be compared with"
        assert np.isnan(spectrum_table(layers(("a", "x", 0.0, NAN, NAN))).loc[0, "ratio"])


class TestWidth:
    def test_wider_than_any_mixer(self):
        found = width_finding(points(("mixer", 100, 200.0), ("wide", 500, 200.0)))
        assert found.title == "wide is 2.5 times as wide as the widest Mixer of its Ω"
        assert found.sentences[0] == (
            "mixer has m = 100 and p = 0.25, 50.0% of m* = 200 at Ω = 3,000; "
            "wide has m = 500 and p = 0.25, 250.0% of m* = 200 at Ω = 3,000."
        )
        assert dict(found.numbers) == {
            "network": "wide",
            "width": 500,
            "density": 0.25,
            "widest_mixer": 200.0,
            "ratio": 2.5,
        }

    def test_each_by_its_own_widest_mixer(self):
        assert width_finding(points(("a", 100, 110.0), ("b", 500, 1000.0))).title == (
            "No network is wider than the widest Mixer of its Ω; a comes closest, at 90.9%"
        )

    @pytest.mark.parametrize(
        ("rows", "title"),
        [
            ((("a", 256, 256.0),), "a is as wide as the widest Mixer of the same Ω"),
            ((("a", 255, 256.0), ("b", 100, 256.0)), "a is as wide as the widest Mixer of the same Ω"),
            ((("a", 256, 256.0), ("b", 257, 256.0)), "a, b are as wide as the widest Mixer of the same Ω"),
            ((("a", 254, 256.0),), "a has 99.2% of the width of the widest Mixer of its Ω"),
        ],
        ids=["alone", "one", "two", "almost"],
    )
    def test_as_wide_as_the_widest_mixer(self, rows, title):
        assert width_finding(points(*rows)).title == title

    def test_one_network(self):
        assert width_finding(points(("a", 150, 200.0))).title == "a has 75.0% of the width of the widest Mixer of its Ω"

    def test_unknown_widths(self):
        found = width_finding(points(("a", 150.0, 200.0), ("b", NAN, NAN)))
        assert found.sentences[-1] == "Without an effective width: b."
        assert width_finding(points(("b", NAN, NAN))).title == "No network has an effective width"

    def test_many_networks_are_not_all_listed(self):
        found = width_finding(points(*[(f"n{index}", 100, 200.0) for index in range(11)]))
        assert found.sentences[0].endswith("; and 3 more.")


def test_networks_of_other_depths_have_their_most_similar_blocks():
    rows = [diagonal(("ref", "deep", "", NAN, NAN, NAN)), diagonal(("ref", "flat", "", NAN, NAN, NAN))]
    table = pd.concat(rows).assign(status="2 against 1 blocks: there is no diagonal")
    cells = pd.concat([cells_of([[0.2, NAN], [0.75, 0.1]], "ref", "deep", 0.01), cells_of([[0.5]], "ref", "flat")])
    found = similarity_finding(table, cells)
    assert found.title == "The most similar blocks are 1.token of ref and 0.channel of deep"
    assert found.sentences[0].startswith("Their CKA is 0.750 (0.740 to 0.770); there is no mean")
    assert found.sentences[1:] == tuple(
        f"{name}: 2 against 1 blocks: there is no diagonal." for name in ("deep", "flat")
    )
    assert found.numbers["value"] == 0.75
    nothing = similarity_finding(table, cells.assign(value=NAN))
    assert nothing.title == similarity_finding(table).title == "No network has a mean similarity to ref"


def test_one_finding_a_topic_and_all_numbers_are_json():
    found = (
        similarity_finding(diagonal(*TestSimilarity.APART)),
        spectra_finding(layers(("a", "x", 3.0, 2.0, NAN))),
        width_finding(points(("a", np.int64(150), 200.0))),
    )
    assert [section.topic for section in contents().report().sections] == ["similarity", "spectra", "width"]
    assert to_json([dict(finding.numbers) for finding in found])
    assert isinstance(found[0].sentences, tuple)
    assert pd.notna(found[1].numbers["ratio"])
