"""Layers by the shell's wildcards."""

from __future__ import annotations

import pytest

from mixanalysis.selection import closest_names, did_you_mean, matching, nearest

NAMES = ["blocks.0.token.mlp.fc1", "blocks.0.channel.mlp.fc1", "blocks.1.token.mlp.fc2", "blocks.10.token.mlp.fc1"]
CHOICES = {
    "all": ((), (), [0, 1, 2, 3]),
    "one pattern": (["*.token.*"], (), [0, 2, 3]),
    "two patterns": (["*.fc2", "*channel*"], (), [1, 2]),
    "a whole name": (["blocks.1.token.mlp.fc2"], (), [2]),
    "part of a name": (["token"], (), []),
    "case counts": (["*.TOKEN.*"], (), []),
    "one character": (["blocks.?.*"], (), [0, 1, 2]),
    "a set": (["blocks.[01].*"], (), [0, 1, 2]),
    "excluded": ((), ["*.fc2"], [0, 1, 3]),
    "excluded wins": (["*.token.*"], ["blocks.1*"], [0]),
    "nothing left": (["*.token.*"], ["*"], []),
}


@pytest.mark.parametrize(("include", "exclude", "kept"), CHOICES.values(), ids=CHOICES)
def test_choice(include, exclude, kept):
    keep = matching(include, exclude)
    assert [index for index, name in enumerate(NAMES) if keep(name)] == kept


NEAR = {
    "part of a name": ("*.tokn.*", [0, 2, 3]),
    "several parts": ("*token.mpl*", [0, 2, 3]),
    "a whole name": ("blocks.0.chanel.mlp.fc1", [1]),
    "without wildcards": ("token", [0, 2, 3]),
    "case": ("*.Channel.*", [1]),
    "nothing like it": ("xyz*", []),
    "only a wildcard": ("?", []),
}


@pytest.mark.parametrize(("pattern", "found"), NEAR.values(), ids=NEAR)
def test_names_near_a_pattern(pattern, found):
    assert sorted(nearest(pattern, NAMES)) == sorted(NAMES[index] for index in found)
    assert nearest(pattern, []) == []


def test_patterns_that_match_nothing():
    assert matching(["*.token.*", "*.tokn.*", "x"]).idle(NAMES) == ["*.tokn.*", "x"]
    assert matching(exclude=["x"]).idle(NAMES) == []


def test_what_names_are_called():
    assert closest_names(NAMES, matching(["*.chanel.*"])) == (
        f"called {', '.join(NAMES)}; nearest to *.chanel.*: blocks.0.channel.mlp.fc1"
    )
    assert closest_names(NAMES * 2, matching(["xyz"])) == f"called {', '.join(NAMES)}"
    assert closest_names([*NAMES, "more"], matching(exclude=["*"])) == f"called {', '.join(NAMES)}, ..."
    assert closest_names(["a"], lambda _name: False) == "called a"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mixr", " (did you mean mixer?)"),
        ("cnn", ""),
        ("", ""),
        ("mlps", " (did you mean mlp?)"),
        ("lp", " (did you mean mlp or sw-mlp?)"),
    ],
)
def test_what_was_meant(name, said):
    assert did_you_mean(name, ["mixer", "mlp", "sw-mlp"]) == said
