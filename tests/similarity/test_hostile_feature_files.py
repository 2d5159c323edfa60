"""Feature files that are damaged or made up: refused in one line that names the file, or read as what they say."""

from __future__ import annotations

import contextlib
import copy
import json
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import mixanalysis as mx
from mixanalysis.datasets import Dataset
from mixanalysis.errors import CheckpointError, MixanalysisError
from mixanalysis.similarity import FeatureExtractor, Stored, store
from mixanalysis.similarity.sources.feature_files.metadata import DIGESTS, KEY
from mixanalysis.similarity.sources.feature_files.read import is_stored, replay

GRAM = "grams/0"


@pytest.fixture(name="good", scope="module")
def _good(tmp_path_factory):
    """A sound file, its metadata and its tensors."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32))
    path = tmp_path_factory.mktemp("features") / "good.features.safetensors"
    network = FeatureExtractor("good", module, {name: name for name in ("0", "2")})
    store(network, Dataset("made up", "test", images, None, classes=0), path, batch_size=8)
    with safe_open(path, framework="pt") as file:
        metadata = json.loads(file.metadata()[KEY])
        return path, metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def attempt(folder, good, metadata=None, tensors=None, text=None):
    """Compare a changed file with the sound one."""
    path, sound, cells = good
    changed = folder / "changed.features.safetensors"
    written = json.dumps(sound | {"label": "changed"} if metadata is None else metadata) if text is None else text
    save_file(cells if tensors is None else tensors, changed, metadata={KEY: written})
    both = [Stored.open(changed), Stored.open(path)]
    if both[0].label == both[1].label:
        return None
    return mx.cka(*both, data=replay(both), batch_size=8)


WRONG = {
    "format": (True, 2, None, "1"),
    "label": (3, [1], None),
    "what": ("../x", "logits", 1),
    "kernel": (
        {"name": "rbf", "bandwidth": "1"},
        {"name": "x", "bandwidth": 1.0},
        {},
        [],
        {"name": "rbf", "bandwidth": -1},
    ),
    "batch_size": (0, -1, 64.0, 1, True, 10**30),
    "examples": (0, -1, 10**9, 19.0, 10**30),
    "data": (
        [],
        {},
        {"name": "x", "split": "../..", "fingerprint": "1"},
        {"name": 1, "split": "test", "fingerprint": "1"},
    ),
    "description": (1, None),
    "density": ("abc", [], True, 1e300, -0.5),
    "seed": ({}, 1.5, "1"),
    "trained": ("x", 1),
    "layers": (
        [],
        {},
        [[]],
        [["0", "", 7]],
        [["0", "", "big", []]],
        [["0", "", -7, []]],
        [[None, "", 7, []]],
        [["0", 5, 7, []]],
        [["0", "", 7, "abc"]],
        [["0", "", 7, [1]]],
        [["nope", "", 7, []]],
        [["0", "", 7, []], ["0", "", 7, []]],
    ),
    "reasons": ([], {"999": "x"}, {"-1": "y"}, {"x": "y"}, {"0": 1}),
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_wrong_metadata(key, value, good, tmp_path):
    with pytest.raises(CheckpointError, match=r"changed\.features\.safetensors: (damaged metadata: |has version )"):
        attempt(tmp_path, good, good[1] | {"label": "changed", key: value})


@pytest.mark.parametrize("key", [*WRONG, "config"])
def test_missing_metadata(key, good, tmp_path):
    metadata = {name: value for name, value in good[1].items() if name != key}
    with pytest.raises(CheckpointError, match=rf"damaged metadata: {key} is missing"):
        attempt(tmp_path, good, metadata)


@pytest.mark.parametrize("text", ["[" * 200_000 + "]" * 200_000, "", "nonsense", "3", '{"a":' * 5000], ids=range(5))
def test_text_that_is_no_metadata(text, good, tmp_path):
    with pytest.raises(CheckpointError, match=r"changed\.features\.safetensors: "):
        attempt(tmp_path, good, text=text)


CELLS = {
    "short": lambda cells: cells[:-5],
    "two axes": lambda cells: cells[:, None],
    "whole numbers": lambda cells: cells.long(),
    "float64": lambda cells: cells.double(),
    "float16": lambda cells: cells.half(),
    "empty": lambda cells: cells[:0],
    "negative": lambda cells: -cells,
    "truth values": lambda cells: cells > 0,
    "another sign here and there": lambda cells: cells * torch.where(torch.arange(len(cells)) % 3 == 0, -1.0, 1.0),
}


@pytest.mark.parametrize("change", CELLS.values(), ids=CELLS)
def test_wrong_tensors(change, good, tmp_path):
    tensors = good[2] | {GRAM: change(good[2][GRAM]).contiguous()}
    with pytest.raises(
        CheckpointError, match=r"changed\.features\.safetensors: .*(tensor grams/0 is|isn't a Gram matrix)"
    ):
        attempt(tmp_path, good, tensors=tensors)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_layer_without_similarity_has_a_status(value, good, tmp_path):
    result = attempt(tmp_path, good, tensors=good[2] | {GRAM: torch.full_like(good[2][GRAM], value)})
    status = result.layers.set_index(["network", "layer"])["status"]
    assert status["changed", "0"] in ("constant features", "not finite")
    assert status["changed", "2"] == "ok"
    assert result.matrix.loc["0"].isna().all()
    assert result.matrix.loc["2"].notna().all()


@pytest.mark.parametrize(
    "change", [lambda rows: rows[:0], lambda rows: rows.long(), lambda rows: rows[:, :31].contiguous()], ids=range(3)
)
def test_wrong_digests(change, good, tmp_path):
    with pytest.raises(CheckpointError, match=r"inputs\.sha256 doesn't hold 3 digests"):
        attempt(tmp_path, good, tensors=good[2] | {DIGESTS: change(good[2][DIGESTS])})


@pytest.mark.parametrize("name", [DIGESTS, GRAM])
def test_missing_tensors(name, good, tmp_path):
    with pytest.raises(CheckpointError, match=r"damaged metadata: (inputs\.sha256|tensor grams/0)"):
        attempt(tmp_path, good, tensors={key: value for key, value in good[2].items() if key != name})


def test_a_named_pipe_is_no_file_of_features(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert not is_stored(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match=r"pipe: holds no features"):
        Stored.open(tmp_path / "pipe")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@contextlib.contextmanager
def refused_or_read():
    """No other exception than the package's own, of one line."""
    caught = None
    try:
        yield
    except MixanalysisError as error:
        caught = error
    assert "\n" not in str(caught)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_change_of_metadata_is_refused_or_read(data, good, tmp_path_factory):
    metadata = copy.deepcopy(good[1]) | {"label": "changed"}
    place, key = metadata, data.draw(st.sampled_from(sorted(metadata)))
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    place[key] = data.draw(JSON)
    with refused_or_read():
        result = attempt(tmp_path_factory.mktemp("any"), good, metadata)
        assert result is None or len(result.cells) <= 4


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_change_of_bytes_is_refused_or_read(data, good, tmp_path_factory):
    content = bytearray(good[0].read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("bytes") / "changed.features.safetensors"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    with refused_or_read():
        source = Stored.open(path)
        mx.cka(source, data=replay([source]), batch_size=8)
