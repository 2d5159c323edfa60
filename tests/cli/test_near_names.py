"""A wrong name is answered with the one that may have been meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixanalysis.errors import UsageError
from mixanalysis.similarity.estimators.estimator import Estimator

WRONG = {
    "command": (("spectrm",), 2, "No such command 'spectrm'. Did you mean 'spectrum'"),
    "option": (("cka", "a", "--limt", "3"), 2, "No such option: --limt (Possible options: "),
    "family": (("train", "mixr"), 2, "unknown family 'mixr'; known are mixer, "),
    "family, what is meant": (("train", "sw-mpl"), 2, " (did you mean sw-mlp?)"),
    "layout": (("inspect", "MIXER", "--layout", "timm"), 2, " (did you mean timm-mixer"),
    "data set": (("cka", "MIXER", "--data", "digts"), 3, " (did you mean digits?)"),
    "kind of files": (("cka", "MIXER", "--data", "cifr10/unit:x"), 3, " (did you mean cifar10?)"),
    "scale of pixels": (("cka", "MIXER", "--data", "cifar10/units:x"), 3, " (did you mean unit?)"),
    "assumption": (("inspect", "MIXER", "--assume", "gulu=erf"), 2, " (did you mean gelu?)"),
    "choice": (("cka", "MIXER", "--dtype", "float33"), 2, "--dtype': 'float33' is not one of 'float32', 'float64', "),
    "choice, what is meant": (("cka", "MIXER", "--dtype", "float33"), 2, " (did you mean float32?) (see "),
    "choice, nothing like it": (("cka", "MIXER", "--dtype", "x"), 2, "'bfloat16' (see "),
    "layers of spectra": (
        ("spectrum", "MIXER", "--layers", "*.tokn.*"),
        4,
        "to analyse for *.tokn.*; layers are called",
    ),
    "layers of spectra, near": (
        ("spectrum", "MIXER", "--layers", "*.tokn.*"),
        4,
        "; nearest to *.tokn.*: blocks.0.token.mlp.fc1, blocks.0.token.mlp.fc2, blocks.1.token.mlp.fc1, ",
    ),
    "one of the patterns": (
        ("spectrum", "MIXER", "--layers", "*.token.*", "--layers", "*.chanel.mlp.fc1"),
        4,
        "; nearest to *.chanel.mlp.fc1: blocks.0.channel.mlp.fc1, blocks.1.channel.mlp.fc1",
    ),
    "blocks of cka": (("cka", "MIXER", "--layers", "*.tokn"), 4, "; nearest to *.tokn: 0.token, 1.token"),
    "nothing like it": (
        ("cka", "MIXER", "--layers", "zzz"),
        4,
        "blocks are called 0.token, 0.channel, 1.token, 1.channel",
    ),
    "config": (("inspect", "MIXER", "--config", "a.toml"), 2, " (did you mean layout?) (see "),
}
"""A command line, its exit code, and what is said."""


@pytest.mark.parametrize(("arguments", "code", "said"), WRONG.values(), ids=WRONG)
def test_what_was_meant(run, networks, arguments, code, said):
    Path("a.toml").write_text('layut = "timm"\n')
    answer = run(*(networks["mixer"] if word == "MIXER" else word for word in arguments))
    assert answer.code == code
    assert said in answer.error
    assert run.files() == ["a.toml"]


def test_an_estimator():
    with pytest.raises(UsageError, match=r"^unknown estimator 'minibach'; known are .* \(did you mean minibatch\?\)$"):
        Estimator.of("minibach")
