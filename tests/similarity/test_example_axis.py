"""The axis of examples is the one that changes with their number; outputs without one have a status."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import mixanalysis as mx
import naive
from mixanalysis.datasets import Dataset
from mixanalysis.errors import UsageError
from mixanalysis.similarity import FeatureExtractor

TOKENS = 64


class TimeMajor(nn.Module):
    """16 x 16 image -> 64 tokens of 4 pixels, mixed in (tokens, batch, channels)."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.position = nn.Parameter(torch.randn(TOKENS, 1, 12) * 3)
        self.embed, self.drop, self.norm = nn.Linear(4, 12), nn.Identity(), nn.LayerNorm(12)
        self.mix, self.head = nn.Linear(12, 12), nn.Linear(12, 10)

    def forward(self, x):
        x = nn.functional.unfold(x, 2, stride=2).permute(2, 0, 1)
        x = self.drop(self.embed(x) + self.position)
        x = x + self.mix(self.norm(x)).tanh()
        return self.head(x.mean(0))


def images_of(count):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(count, 1, 16, 16)))


def features_of(module, images, name):
    taken = []
    handle = getattr(module, name).register_forward_hook(lambda _m, _i, output: taken.append(output))
    with torch.no_grad():
        module(images)
    handle.remove()
    return taken[0].permute(1, 0, 2).flatten(1).numpy()


def data_of(images):
    return Dataset("made up", "test", images, None, classes=0)


@pytest.mark.parametrize("count", [TOKENS, 40])
@pytest.mark.parametrize("estimator", ["minibatch", "full"])
@pytest.mark.parametrize("axis", [None, 1])
def test_tokens_are_not_taken_for_examples(count, estimator, axis):
    modules = [TimeMajor(seed).double().eval() for seed in (0, 1)]
    images = images_of(count)
    paths = {"drop": "drop", "mix": "mix", "head": "head"}
    both = [FeatureExtractor(str(i), module, paths, batch_axis=axis) for i, module in enumerate(modules)]
    result = mx.cka(*both, data=data_of(images), estimator=estimator, batch_size=count)
    for name in ("drop", "mix"):
        expected = naive.unbiased_cka(*(naive.centred(features_of(module, images, name)) for module in modules))
        assert result.matrix.loc[name, name] == pytest.approx(expected, abs=1e-9)
    assert set(result.layers["status"]) == {"ok"}


def test_images_of_every_batch_are_found_on_the_same_axis():
    module = TimeMajor(0).double().eval()
    images = images_of(2 * TOKENS + 20)
    cut = mx.cka(FeatureExtractor("a", module, {"mix": "mix", "head": "head"}), data=data_of(images), batch_size=64)
    parts = [images[first : first + 64] for first in range(0, len(images), 64)]
    taken = [features_of(module, part, "mix") for part in parts]
    with torch.no_grad():
        heads = [module(part).numpy() for part in parts]
    assert cut.matrix.loc["mix", "head"] == pytest.approx(naive.minibatch_cka(taken, heads), abs=1e-9)


class Odd(nn.Module):
    """Besides features gives a table of positions, a number, nothing, and NaN."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.last = nn.Linear(5, 7), nn.Linear(7, 3)
        self.table, self.scalar, self.none, self.nan = (nn.Identity() for _ in range(4))

    def forward(self, x):
        hidden = self.first(x)
        self.table(torch.ones(8, 7))
        self.scalar(hidden.sum())
        self.none(None)
        self.nan(hidden * torch.nan)
        return self.last(hidden)


@pytest.mark.parametrize("estimator", ["minibatch", "full"])
def test_a_layer_of_no_use_has_a_status_and_the_others_their_values(estimator):
    data = data_of(torch.from_numpy(np.random.default_rng(0).normal(size=(24, 5))).float())
    paths = {name: name for name in ("first", "table", "scalar", "none", "nan", "last")}
    both = [FeatureExtractor(str(seed), Odd(seed), paths) for seed in (0, 1)]
    result = mx.cka(*both, data=data, batch_size=8, estimator=estimator)
    sound = {name: name for name in ("first", "last")}
    alone = [FeatureExtractor(str(seed), Odd(seed), sound) for seed in (0, 1)]
    expected = mx.cka(*alone, data=data, batch_size=8, estimator=estimator).matrix
    np.testing.assert_allclose(result.matrix.loc[["first", "last"], ["first", "last"]], expected, rtol=1e-12)
    status = result.layers[result.layers["network"] == "0"].set_index("layer")["status"]
    assert status["first"] == status["last"] == "ok"
    assert status["nan"] == "not finite for image 0"
    assert status["none"] == "without a row per image: gives a NoneType"
    assert status["scalar"].startswith("without a row per image: gives a tensor of shape ()")
    assert "(8, 7) for 8 examples, none of whose axes grows with their number" in status["table"]
    bad = [warning for warning in result.warnings if "0: table" in warning]
    assert len(bad) == 1
    assert bad[0].endswith("; --exclude leaves the layer out")


def test_a_network_without_any_finite_layer_leaves_the_others_their_values():
    data = data_of(torch.from_numpy(np.random.default_rng(0).normal(size=(24, 5))).float())
    sound = FeatureExtractor("sound", Odd(0), {"first": "first"})
    result = mx.cka(FeatureExtractor("bad", Odd(1), {"nan": "nan"}), sound, sound_copy(), data=data, batch_size=8)
    pairs = result.diagonal.set_index(["network_a", "network_b"])["mean"]
    assert np.isnan(pairs["bad", "sound"])
    assert np.isfinite(pairs["sound", "copy"])


def sound_copy():
    return FeatureExtractor("copy", Odd(2), {"first": "first"})


class Picky(nn.Module):
    """Works on whole batches of eight alone, and gives an array whose two axes are as long."""

    def __init__(self):
        super().__init__()
        self.inner, self.square = nn.Linear(5, 8), nn.Identity()

    def forward(self, x):
        self.inner(x.reshape(8, 5))
        return self.square(self.inner(x)[:, :, None] * torch.ones(3))


def test_where_few_examples_cannot_be_run_the_user_says_the_axis():
    data = data_of(torch.from_numpy(np.random.default_rng(0).normal(size=(16, 5))).float())
    message = r"shape \(8, 8, 3\) for 8 examples; which axis counts them can't be told, give batch_axis$"
    with pytest.raises(UsageError, match=message):
        mx.cka(FeatureExtractor("a", Picky(), {"x": "square"}), data=data, batch_size=8)
    given = FeatureExtractor("a", Picky(), {"x": "square"}, batch_axis=0)
    assert mx.cka(given, data=data, batch_size=8).layers["size"].tolist() == [24]
