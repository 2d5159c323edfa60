"""Claims are decided by the tables alone: made-up ones that agree, disagree, or don't tell."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from mixanalysis.papers.hayase_2024 import fig2, fig2d, fig4, fig5, fig7, table_s3
from mixanalysis.papers.hayase_2024.fig2 import TRAINED

SPREAD = (-0.004, 0.0, 0.005)


def runs(levels, *, spread=SPREAD):
    """Rows of test errors around a level, three seeds, for each (series, x)."""
    return pd.DataFrame(
        [
            {"panel": "digits", "series": series, "x_name": "x", "x": x, "seed": seed, "test_error": level + change}
            for (series, x), level in levels.items()
            for seed, change in enumerate(spread)
        ]
    )


def verdicts(rows):
    return [row["verdict"] for row in rows]


GAPS = {
    "closes": (0.2, 0.1, 0.1, 0.1, ["agrees", "agrees"]),
    "opens": (0.11, 0.1, 0.3, 0.1, ["can't be told", "disagrees"]),
    "never there": (0.1, 0.1, 0.1, 0.1, ["can't be told", "can't be told"]),
    "stays": (0.2, 0.1, 0.2, 0.1, ["agrees", "can't be told"]),
    "the other way round": (0.1, 0.2, 0.1, 0.2, ["disagrees", "can't be told"]),
}


@pytest.mark.parametrize(("rp", "mixer", "rp_deep", "mixer_deep", "expected"), GAPS.values(), ids=GAPS)
def test_depth(rp, mixer, rp_deep, mixer_deep, expected):
    levels = {(fig7.PERMUTED, 1): rp, (fig7.MIXER, 1): mixer, (fig7.PERMUTED, 8): rp_deep, (fig7.MIXER, 8): mixer_deep}
    table = runs(levels | {(fig7.PERMUTED, 4): 0.9, (fig7.MIXER, 4): 0.0, (fig7.SPARSE, 1): 0.5})
    rows = fig7.claims({"paper_runs": table})
    assert verdicts(rows) == expected
    assert rows[1]["value"] == pytest.approx((rp - mixer) - (rp_deep - mixer_deep))
    assert rows[0]["n"] == 3


WIDTHS = {"better": (0.3, 0.1, "agrees"), "worse": (0.1, 0.3, "disagrees"), "as good": (0.1, 0.1, "can't be told")}


@pytest.mark.parametrize(("narrow", "wide", "expected"), WIDTHS.values(), ids=WIDTHS)
def test_width(narrow, wide, expected):
    table = runs({("S-Mixer", 200): 0.05, ("S-Mixer", 100): narrow, ("S-Mixer", 400): wide})
    (row,) = fig5.claims({"paper_runs": table})
    assert row["verdict"] == expected
    assert row["value"] == pytest.approx(narrow - wide)
    assert row["where"] == "digits, S-Mixer, x 100 and 400"


@pytest.mark.parametrize(("far", "square", "expected"), WIDTHS.values(), ids=WIDTHS)
def test_ratio(far, square, expected):
    table = runs({("S-Mixer", 0.1): 0.9, ("S-Mixer", 1.05): square, ("S-Mixer", 0.8): 0.0, ("S-Mixer", 9.0): far})
    (row,) = fig5.claims_by_ratio({"paper_runs": table})
    assert row["verdict"] == expected
    assert row["value"] == pytest.approx(far - square)


def test_nothing_beyond_square_is_no_claim():
    assert fig5.claims_by_ratio({"paper_runs": runs({("S-Mixer", 0.1): 0.9, ("S-Mixer", 1.0): 0.5})}) == []


STRUCTURES = {
    "similar": (0.02, 0.022, "agrees"),
    "worse": (0.02, 0.06, "disagrees"),
    "better": (0.06, 0.02, "disagrees"),
    "at the margin": (0.02, 0.03, "can't be told"),
}


@pytest.mark.parametrize(("monarch", "kronecker", "expected"), STRUCTURES.values(), ids=STRUCTURES)
def test_structures(monarch, kronecker, expected):
    table = runs({("Monarch", 0.0): monarch, ("Kronecker", 0.0): kronecker}, spread=(-0.001, 0.0, 0.001))
    (row,) = fig2d.claims({"paper_runs": table})
    assert row["value"] == pytest.approx(kronecker - monarch)
    assert row["verdict"] == expected


def similarity(curves):
    """Rows of CKA: a curve over n = log2(1/p) for each seed."""
    return pd.DataFrame(
        [
            {"panel": "C = 4", "series": TRAINED, "x": 2.0**n, "seed": seed, "mean": value}
            for seed, curve in enumerate(curves)
            for n, value in enumerate(curve)
        ]
    )


CURVES = {
    "rises to a peak": ([0.1, 0.2, 0.5, 0.4, 0.3, 0.2, 0.1], ["agrees", "agrees"]),
    "falls": ([0.5, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0], ["disagrees", "disagrees"]),
    "rises to the end": ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], ["agrees", "disagrees"]),
}


@pytest.mark.parametrize(("curve", "expected"), CURVES.values(), ids=CURVES)
def test_similarity(curve, expected):
    shifted = [[value + spread for value in curve] for spread in SPREAD]
    rows = fig2.claims({"paper_similarity": similarity(shifted)})
    assert verdicts(rows) == expected
    assert rows[0]["value"] == pytest.approx(curve[2] - curve[0])
    assert rows[1]["value"] == pytest.approx(curve.index(max(curve)))


def test_peaks_that_scatter_tell_nothing():
    table = similarity([[0.5, 0, 0, 0, 0, 0], [0, 0, 0.5, 0, 0, 0], [0, 0, 0, 0, 0, 0.5]])
    assert fig2.claims({"paper_similarity": table})[1]["verdict"] == "can't be told"
    peak = fig2.peak_position(similarity([[0.0, 1.0], [0.0, 1.0]]))
    assert (peak.value, peak.low, peak.high) == (1.0, 0.5, 1.5)


def noise(values, error=0.001):
    keys = ("omega", "width", "s_max", "standard_error", "seeds", "c_gamma")
    return pd.DataFrame([dict(zip(keys, (100.0, 2**n, s, error, 5, 2.0), strict=True)) for n, s in enumerate(values)])


EDGES = {
    "leaves": ([2.0, 2.01, 2.5, 3.0], ["agrees", "agrees"], "first beyond at m = 4"),
    "stays": ([2.0, 2.01, 2.0], ["agrees", "disagrees"], "first beyond at m = none"),
    "starts beyond": ([3.0, 3.0], ["disagrees", "agrees"], "first beyond at m = 1"),
}


@pytest.mark.parametrize(("values", "expected", "where"), EDGES.values(), ids=EDGES)
def test_edge(values, expected, where):
    table = runs({(fig4.MIXER, 8): 0.3, (fig4.MIXER, 32): 0.1, (fig4.SPARSE, 32): 0.1, (fig4.SPARSE, 64): 0.3})
    rows = fig4.claims({"paper_runs": table, "spectrum_sweep": noise(values)})
    assert verdicts(rows) == ["agrees", "agrees", *expected]
    assert rows[3]["where"].endswith(where)
    assert rows[1]["value"] == pytest.approx(0.2)
    # 2.776 standard errors of five matrices, over c_gamma
    assert rows[2]["high"] - rows[2]["value"] == pytest.approx(2.776 * 0.001 / 2, rel=1e-3)


def test_one_matrix_tells_nothing():
    table = noise([2.0, 3.0], math.nan).assign(seeds=1)
    rows = fig4.claims({"paper_runs": runs({(fig4.MIXER, 8): 0.3, (fig4.SPARSE, 8): 0.3}), "spectrum_sweep": table})
    assert verdicts(rows)[2:] == ["can't be told"] * 2


def test_costs():
    table = pd.DataFrame(
        {
            "family": ["sw-mlp", "rp-mixer", "mixer"],
            "width": 64,
            "step_bytes": [900, 110, 100],
            "flops": [500, 102, 100],
        }
    )
    rows = table_s3.claims({"paper_costs": table})
    assert verdicts(rows) == ["agrees", "disagrees"]
    assert [row["value"] for row in rows] == [9.0, 1.02]
