"""The examples of docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import mixanalysis

PACKAGE = Path(mixanalysis.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)

CENTRAL = (
    "mixanalysis.operators.kronecker",
    "mixanalysis.operators.lift",
    "mixanalysis.similarity.estimators.hsic",
    "mixanalysis.spectra.marchenko_pastur",
    "mixanalysis.spectra.masked_edge",
    "mixanalysis.spectra.tracy_widom",
    "mixanalysis.width",
)


def test_central_functions_have_examples():
    assert set(CENTRAL) <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, capsys):
    module = importlib.import_module(name)
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0, capsys.readouterr().out
