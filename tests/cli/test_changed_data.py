"""Data whose files change between two runs: nothing old is taken for something new, and it is told."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faults import Fault, hidden, result, start

SMALL = ("--batch-size", 8)
EXAMPLES = 32


def npz(seed):
    images = np.random.default_rng(seed).integers(0, 256, (EXAMPLES, 8, 8), dtype=np.uint8)
    np.savez("data.npz", images=images)
    return "data.npz"


def folder_of_images(seed):
    """Of which one image is another for another seed."""
    for index in range(EXAMPLES):
        pixels = np.random.default_rng(seed if index == 20 else 100 + index).integers(0, 256, (16, 16), dtype=np.uint8)
        path = Path("images", f"class{index % 2}", f"{index:02}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return "folder:images"


@pytest.fixture(name="data", params=[npz, folder_of_images], ids=["npz", "folder"])
def _data(request, run):
    return request.param


@pytest.fixture(name="logs")
def _logs(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


@pytest.mark.parametrize("command", ["cka", "features"])
def test_a_killed_run_starts_anew(command, data, run, networks, logs):
    arguments = [command, networks["mixer"], "--data", data(0), *SMALL, "-o", "made"]
    ended = start(arguments, run.folder, logs, Fault(signal=signal.SIGKILL, at=2, only="os.rename")).end()
    assert ended.code == -signal.SIGKILL
    states = sorted(Path(".made.resume").glob("[!.]*"))
    assert states
    data(1)
    assert run(*arguments).code == 0
    assert run(*arguments[:-1], "fresh").code == 0
    assert result(Path("made")) == result(Path("fresh"))
    # the killed run's batches are there yet, and are gone on from where its data come back
    assert sorted(Path(".made.resume").glob("[!.]*")) == states
    data(0)
    assert run(*arguments).code == 0
    assert hidden(run.folder) == []


def test_it_is_told(data, run, networks):
    assert run("cka", networks["mixer"], "--data", data(0), *SMALL, "-o", "made").code == 0
    data(1)
    answer = run("rerun", "made", "-o", "again")
    assert answer.code == 5
    assert answer.error.startswith("again is not the same as made: changed: figures/")
    assert f"; other data: {data(1)} (" in answer.error
    answer = run("diff", "made", "again")
    assert answer.code == 5
    assert ["data", "changed"] in [line.split()[:2] for line in answer.stdout.splitlines()]


def test_features_of_other_images_are_refused(data, run, networks):
    assert run("features", networks["mixer"], "--data", data(0), *SMALL, "-o", "kept").code == 0
    name = data(1)
    answer = run("cka", "kept/mixer.features.safetensors", networks["mlp"], "--data", name, *SMALL)
    assert answer.code == 3
    assert answer.error.startswith("kept/mixer.features.safetensors: batch ")
    assert answer.error.endswith(f"its images differ; the file was written for {name} (test)")
