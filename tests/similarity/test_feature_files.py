"""Networks whose layers lie in files: the same answers as from networks that run, for the same examples alone."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import mixanalysis as mx
from cases import NETWORKS, images_of, network_of
from mixanalysis.datasets import Dataset
from mixanalysis.errors import CheckpointError, DataError, NothingToAnalyseError, UsageError
from mixanalysis.selection import matching
from mixanalysis.similarity import FeatureExtractor, Kernel, Stored, store
from mixanalysis.similarity.sources.feature_files.metadata import KEY
from mixanalysis.similarity.sources.feature_files.read import is_stored, replay
from mixanalysis.similarity.sources.feature_files.tensor_file import Spec, TensorFile


def data_of(count=22, size=5, seed=3, dtype=torch.float32):
    images = np.random.default_rng(seed).normal(size=(count, size))
    return Dataset("made up", "test", torch.from_numpy(images).to(dtype), None, classes=0)


def sequential(seed=0, widths=(5, 7, 30, 3), dtype=torch.float32):
    torch.manual_seed(seed)
    parts = itertools.chain.from_iterable((nn.Linear(a, b), nn.Tanh()) for a, b in itertools.pairwise(widths))
    return nn.Sequential(*parts).to(dtype)


def subject(label="a", seed=0, **options):
    return FeatureExtractor(label, sequential(seed, **options), {"first": "0", "second": "2", "third": "4"})


def stored(source, data, folder, **options):
    path = folder / f"{source.label}.features.safetensors"
    store(source, data, path, **{"batch_size": 8} | options)
    return Stored.open(path)


def frames(result):
    return result.cells, result.diagonal, result.layers, result.companions


def assert_same(found, expected):
    for a, b in zip(frames(found), frames(expected), strict=True):
        pd.testing.assert_frame_equal(a, b, check_exact=True)
    assert found.warnings == expected.warnings


KINDS = {
    "grams": ({}, {}),
    "features": ({"what": "features"}, {}),
    "grams of a radial kernel": ({"kernel": Kernel("rbf", 0.5)}, {"kernel": "rbf", "bandwidth": 0.5}),
    "features for a radial kernel": ({"what": "features"}, {"kernel": "rbf"}),
    "features without the input": ({"what": "features"}, {"covariate": "input"}),
    "features for all images": ({"what": "features"}, {"estimator": "full"}),
    "grams, companions and permutations": ({}, {"measures": ("rsa", "procrustes"), "permutations": 9}),
    "grams, biased": ({}, {"estimator": "minibatch-biased"}),
}


@pytest.mark.parametrize("count", [22, 19, 16], ids=["ragged", "too short at the end", "even"])
@pytest.mark.parametrize(("kept", "options"), KINDS.values(), ids=KINDS)
def test_the_answer_is_that_of_the_network_to_the_last_digit(count, kept, options, tmp_path):
    data, (a, b, c) = data_of(count), (subject("a"), subject("b", 1), subject("c", 2, widths=(5, 9, 4, 6)))
    expected = mx.cka(a, b, c, data=data, batch_size=8, **options)
    assert_same(
        mx.cka(
            stored(a, data, tmp_path, **kept), b, stored(c, data, tmp_path, **kept), data=data, batch_size=8, **options
        ),
        expected,
    )


@pytest.mark.parametrize(("what", "tolerance"), [("grams", 1e-6), ("features", 0.0)])
def test_double_precision(what, tolerance, tmp_path):
    data, (a, b) = (
        data_of(dtype=torch.float64),
        (subject(name, seed, dtype=torch.float64) for seed, name in enumerate("ab")),
    )
    expected = mx.cka(a, b, data=data, batch_size=8)
    found = mx.cka(stored(a, data, tmp_path, what=what), b, data=data, batch_size=8)
    for column in ("value", "low", "high", "z", "biased"):
        np.testing.assert_allclose(found.cells[column], expected.cells[column], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_grams_of_features_of_any_size(scale, tmp_path):
    class Scaled(nn.Module):
        def forward(self, x):
            return x * scale

    data, b = data_of(), subject("b", 1)
    found = mx.cka(
        stored(FeatureExtractor("a", nn.Sequential(Scaled()), {"x": "0"}), data, tmp_path), b, data=data, batch_size=8
    )
    plain = mx.cka(FeatureExtractor("a", nn.Sequential(nn.Flatten()), {"x": "0"}), b, data=data, batch_size=8)
    np.testing.assert_allclose(found.matrix, plain.matrix, atol=1e-6)


class Odd(nn.Module):
    """A module that never runs, one that runs twice, the very same tensor twice, and values that aren't finite."""

    def __init__(self):
        super().__init__()
        self.idle, self.twice, self.same, self.bad = (nn.Identity() for _ in range(4))
        self.linear = nn.Linear(5, 4)

    def forward(self, x):
        x = self.same(self.linear(x))
        x = self.twice(self.twice(x).tanh())
        return self.bad(torch.where(x[:, :1] > 0.82, torch.nan, x))


@pytest.mark.parametrize("what", ["grams", "features"])
def test_what_is_odd_about_layers_stays(what, tmp_path):
    torch.manual_seed(4)
    odd = FeatureExtractor(
        "odd", Odd(), {name: name for name in ("idle", "twice", "linear", "same", "bad")}, {"linear": "token"}
    )
    data, other = data_of(40), subject("b")
    expected = mx.cka(odd, other, data=data, batch_size=8)
    assert_same(mx.cka(stored(odd, data, tmp_path, what=what), other, data=data, batch_size=8), expected)
    status = expected.layers.set_index("layer")["status"]
    assert status["idle"] == "never ran"
    assert status["bad"].startswith("not finite for image "), "the test needs a value that isn't finite"
    assert expected.layers["aliases"].tolist()[:1] == ["same twice#0"]


def test_what_the_tables_tell_of_a_network_stays(tmp_path):
    a, b = (network_of(NETWORKS["mixer"], tmp_path / f"{seed}.safetensors", seed=seed) for seed in (0, 1))
    data = Dataset("pixels", "train", images_of(NETWORKS["mixer"], 24), None, classes=0)
    expected = mx.cka(a, b, data=data, batch_size=8, position="after-skip")
    kept = stored(FeatureExtractor.of(a, "after-skip"), data, tmp_path)
    found = mx.cka(kept, b, data=data, batch_size=8, position="after-skip")
    assert_same(found, expected)
    assert found.diagonal.loc[0, "relation"] == "other seed"
    control = mx.cka(kept.only(matching(["*.token"]), "floor"), b, data=data, batch_size=8)
    assert control.diagonal.loc[0, "relation"] == "floor"
    assert control.layers["layer"].tolist()[:2] == ["0.token", "1.token"]


def test_layers_are_chosen_by_name(tmp_path):
    data, a, b = data_of(), subject("a"), subject("b", 1)
    kept = stored(a, data, tmp_path)
    whole = mx.cka(a, b, data=data, batch_size=8).matrix
    some = mx.cka(kept.only(matching(exclude=["second"])), b, data=data, batch_size=8).matrix
    pd.testing.assert_frame_equal(some, whole.loc[["first", "third"]], check_exact=True)
    message = r"^a: no layer left to analyse; layers are called first, second, third, \.\.\.$"
    with pytest.raises(NothingToAnalyseError, match=message):
        kept.only(matching(["nothing"]))


SIZES = {
    "batch size": (22, 6, r"its batch 0 has 8 images, here it has 6; use --batch-size 8, and a --limit that cuts "),
    "a cut batch": (20, 8, r"its batch 2 has 6 images, here it has 4; use --batch-size 8"),
    "more": (40, 8, r"its batch 2 has 6 images, here it has 8"),
}


class TestTheSameExamples:
    def test_another_batch_is_named(self, tmp_path):
        kept = stored(subject(), data_of(), tmp_path)
        other = data_of()
        other.images[13, 2] += 1e-6
        message = (
            r"a\.features\.safetensors: batch 1 isn't the one that a has seen: its images differ; the file was "
            r"written for made up \(test\)$"
        )
        with pytest.raises(DataError, match=message):
            mx.cka(kept, subject("b"), data=other, batch_size=8)

    @pytest.mark.parametrize(("count", "size", "message"), SIZES.values(), ids=SIZES)
    def test_batches_of_another_size(self, count, size, message, tmp_path):
        kept = stored(subject(), data_of(), tmp_path)
        with pytest.raises(DataError, match=message):
            mx.cka(kept, data=data_of(count), batch_size=size)

    def test_more_images(self, tmp_path):
        kept = stored(subject(), data_of(16), tmp_path)
        with pytest.raises(DataError, match=r"holds 16 images, the data more; use --limit 16$"):
            mx.cka(kept, data=Dataset("x", "test", torch.cat([data_of(16).images] * 2), None, 0), batch_size=8)

    def test_the_first_batches_alone(self, tmp_path):
        a, b, data = subject(), subject("b", 1), data_of(24)
        found = mx.cka(stored(a, data, tmp_path), b, data=data, limit=16, batch_size=8)
        assert_same(found, mx.cka(a, b, data=data, limit=16, batch_size=8))

    def test_no_data_at_all(self, tmp_path):
        a, b, data = subject(), subject("b", 1), data_of()
        kept = [stored(a, data, tmp_path), stored(b, data, tmp_path, what="features")]
        assert_same(mx.cka(*kept, data=replay(kept), batch_size=8), mx.cka(a, b, data=data, batch_size=8))

    def test_files_of_other_data(self, tmp_path):
        other = data_of()
        other.images[9, 0] = 0.5
        kept = [stored(subject(), data_of(), tmp_path), stored(subject("b"), other, tmp_path)]
        with pytest.raises(
            DataError, match=r"a\.fea.* and .*b\.fea.*: batch 1 isn't the same in both: write them with"
        ):
            replay(kept)
        short = stored(subject("c"), data_of(16), tmp_path)
        with pytest.raises(DataError, match=r"batch 2 isn't the same in both"):
            replay([kept[0], short])


class TestRequests:
    def test_grams_of_another_kernel(self, tmp_path):
        kept = stored(subject(), data_of(), tmp_path)
        with pytest.raises(UsageError, match=r"its Gram matrices are of the kernel linear, not rbf\(2 median\)$"):
            mx.cka(kept, data=data_of(), batch_size=8, kernel="rbf", bandwidth=2)

    def test_grams_for_all_images(self, tmp_path):
        kept = stored(subject(), data_of(), tmp_path)
        with pytest.raises(UsageError, match=r"holds Gram matrices of batches; full-data estimators need --what f"):
            mx.cka(kept, data=data_of(), batch_size=8, estimator="full")

    def test_unknown_content(self, tmp_path):
        with pytest.raises(UsageError, match=r"what is kept must be grams or features, got 'logits'"):
            stored(subject(), data_of(), tmp_path, what="logits")

    def test_layers_that_change(self, tmp_path):
        class Moody(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Identity(), nn.Identity()

            def forward(self, x):
                return self.a(x) if len(x) == 8 else self.b(self.a(x * 1))

        class Growing(nn.Module):
            def forward(self, x):
                return x[:, : 1 + len(x) // 4]

        message = r"its modules run in another order, number or size in batch 2 than before"
        for module, paths in ((Moody(), {"a": "a", "b": "b"}), (nn.Sequential(Growing()), {"x": "0"})):
            with pytest.raises(DataError, match=message):
                stored(FeatureExtractor("a", module, paths), data_of(), tmp_path, what="features")
            assert list(tmp_path.iterdir()) == [], "no half file stays"


DAMAGED = {
    "no table": ("[]", r"damaged metadata: metadata must be a table"),
    "no JSON": ("{", r"damaged metadata: Expecting property name"),
    "nothing": ("{}", r"damaged metadata: format is missing"),
    "later": ('{"format": 2}', r"has version 2 of the format, not 1; update mixanalysis"),
}


class TestFiles:
    def test_what_is_in_it(self, tmp_path):
        data = data_of()
        kept = stored(subject(), data, tmp_path, what="features", sha256="ab" * 32)
        path = kept.provenance.path
        tensors = load_file(path)
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()[KEY])
        assert set(tensors) == {"features/first", "features/second", "features/third", "inputs.sha256"}
        module = sequential()
        torch.testing.assert_close(tensors["features/first"], module[0](data.images), atol=1e-6, rtol=0)
        assert facts["network_sha256"] == "ab" * 32
        assert facts["data"] == {"name": "made up", "split": "test", "fingerprint": data.fingerprint}
        assert (facts["examples"], facts["batch_size"]) == (22, 8)
        assert is_stored(path)
        assert not is_stored(tmp_path / "nothing")

    def test_grams_are_small(self, tmp_path):
        data = data_of(64, size=500)
        kept = stored(FeatureExtractor("a", nn.Sequential(nn.Flatten()), {"x": "0"}), data, tmp_path, batch_size=16)
        assert kept.provenance.path.stat().st_size < 64 * 17 / 2 * 4 + 64 * 32 + 2000

    def test_a_run_again_is_the_same_file(self, tmp_path):
        contents = [stored(subject(), data_of(), tmp_path).provenance.path.read_bytes() for _ in range(2)]
        assert contents[0] == contents[1]

    def test_a_checkpoint_is_none(self, tmp_path):
        save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
        assert not is_stored(tmp_path / "a.safetensors")
        with pytest.raises(CheckpointError, match=r"a\.safetensors: holds no features; `mixanalysis features` writes"):
            Stored.open(tmp_path / "a.safetensors")

    @pytest.mark.parametrize(("text", "message"), DAMAGED.values(), ids=DAMAGED)
    def test_damaged_metadata(self, text, message, tmp_path):
        save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors", metadata={KEY: text})
        with pytest.raises(CheckpointError, match=message):
            Stored.open(tmp_path / "a.safetensors")

    def test_pieces_make_tensors(self, tmp_path):
        specs = {
            "bytes": Spec(torch.uint8, (3,)),
            "wide": Spec(torch.float64, (4, 2)),
            "flat": Spec(torch.float32, (5,)),
        }
        with TensorFile(tmp_path / "a.safetensors", specs, {"about": "x" * 9}) as file:
            file.write("wide", 2, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
            file.write("flat", 1, torch.tensor([1.5, 2.5], dtype=torch.float64))
            file.write("bytes", 2, torch.tensor([7], dtype=torch.uint8))
            with pytest.raises(ValueError, match=r"bytes of header don't fit into"):
                file.finish({"about": "x" * 99})
            file.finish({"about": "ü"})
        found = load_file(tmp_path / "a.safetensors")
        assert found["wide"].tolist() == [[0, 0], [0, 0], [1, 2], [3, 4]]
        assert (found["flat"].tolist(), found["bytes"].tolist()) == ([0, 1.5, 2.5, 0, 0], [0, 0, 7])
        with safe_open(tmp_path / "a.safetensors", framework="np") as file:
            assert file.metadata() == {"about": "ü"}
