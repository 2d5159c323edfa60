"""The checks of an installation hold here, and fail where something is wrong."""

from __future__ import annotations

import math

import pytest

from mixanalysis.operators import Kronecker
from mixanalysis.runs import selfcheck


def test_all_hold():
    found = selfcheck.self_check()
    assert found["ok"].all(), found
    assert len(found) == len(selfcheck.CHECKED) == found["check"].nunique()


BROKEN = {
    "cka": ("mixanalysis.runs.selfcheck.linear_cka", lambda _x, _y: 0.5, [0, 1]),
    "edge": ("mixanalysis.runs.selfcheck.edge", lambda a, b, v: math.sqrt(v * a), [2]),
    "law": ("mixanalysis.spectra.tracy_widom.cdf", lambda _x: math.nan, [3]),
    "lanczos": (
        "mixanalysis.runs.selfcheck.lanczos_top",
        lambda operator, *_: operator.map_weights(lambda weight: 1.01 * weight).top(1),
        [5],
    ),
    "structure": (
        "mixanalysis.operators.kronecker.Kronecker.dense",
        lambda self: super(Kronecker, self).dense() * 1.01,
        [4],
    ),
}


@pytest.mark.parametrize(("name", "instead", "places"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_is_found(monkeypatch, name, instead, places):
    monkeypatch.setattr(name, instead, raising=False)
    found = selfcheck.self_check()
    assert [place for place, right in enumerate(found["ok"]) if not right] == places
