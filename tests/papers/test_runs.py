"""Runs are named by their content, and their work is that of the layers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mixanalysis.families.sizes import Sizes
from mixanalysis.papers.ledger import Ledger
from mixanalysis.papers.runs import Data, Run
from mixanalysis.training import run_key, train
from papers.tiny import DATA, EXPERIMENTS, SPECS, TRAINING

RUN = Run("mixer", Sizes(channels=4, tokens=4, depth=1), DATA, TRAINING)

OTHERS = {
    "family": replace(RUN, family="rp-mixer"),
    "sizes": replace(RUN, sizes=replace(RUN.sizes, channels=5)),
    "seed": replace(RUN, training=replace(TRAINING, seed=1)),
    "epochs": replace(RUN, training=replace(TRAINING, epochs=3)),
    "images": replace(RUN, data=replace(DATA, limit=95)),
    "size of the images": replace(RUN, data=replace(DATA, image_size=12)),
    "patch": replace(RUN, data=replace(DATA, patch=2)),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_content_is_another_name(other):
    assert other.key != RUN.key


def test_a_default_said_aloud_is_the_same_content():
    assert replace(RUN, sizes=replace(RUN.sizes, expansion=2.0)).key == RUN.key


def test_the_name_is_the_trainers_own(tmp_path):
    path = train(RUN.config, RUN.datasets, tmp_path / "a.safetensors", TRAINING)
    ledger = Ledger(tmp_path / "runs")
    (outcome,) = ledger.train([RUN]).values()
    assert RUN.key == run_key(RUN.config, TRAINING, RUN.datasets[0])
    assert outcome.path.read_bytes() == path.read_bytes()


def test_label():
    sparse = Run("sw-mlp", Sizes(width=8, density=0.25, depth=2), DATA, replace(TRAINING, seed=3))
    assert sparse.label == "sw-mlp m 8, p 0.25, depth 2, digits, 2 epochs, seed 3"
    assert RUN.label == "mixer S 4, C 4, depth 1, digits, 2 epochs, seed 0"


def test_a_longer_run_takes_longer():
    assert replace(RUN, training=replace(TRAINING, epochs=20)).seconds() == pytest.approx(10 * RUN.seconds())


@pytest.mark.parametrize("name", SPECS)
def test_every_point_of_an_experiment_makes_sense(name):
    for point in EXPERIMENTS[name].points(SPECS[name]):
        assert point.run.config.width > 0
        assert point.run.key


def test_kind_of_data():
    assert [Data(name).kind for name in ("digits", "cifar10/unit:some/dir", "mnist:x")] == [
        "digits",
        "cifar10",
        "mnist",
    ]
