"""Layers by the shell's wildcards."""

from __future__ import annotations

import pytest

from mixanalysis.selection import matching

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
