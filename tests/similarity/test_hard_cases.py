"""Inputs with which CKA is easily got wrong: float32 against float64, and every layer against the definition."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from torch import nn

import mixanalysis as mx
import naive
from mixanalysis.similarity import FeatureExtractor


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def taps(module, *paths, label="a"):
    return FeatureExtractor(label, module, {path: path for path in paths})


def batches(count, *shape, size=16, seed=0, dtype=torch.float32):
    return list(torch.randn(count, *shape, generator=generator(seed), dtype=dtype).split(size))


def doubled(module, make):
    """The same weights in float64."""
    copy = make().double()
    copy.load_state_dict(module.state_dict())
    return copy


def close_to_float64(make, paths, data, tolerance=1e-6):
    """Worst difference of a float32 network's CKA to that of the same network in float64, and the float64 matrix."""
    modules = [make(seed) for seed in (0, 1)]
    doubles = [doubled(module, lambda seed=seed: make(seed)) for seed, module in enumerate(modules)]
    single = mx.cka(*(taps(m, *paths, label=str(i)) for i, m in enumerate(modules)), data=data)
    double = mx.cka(*(taps(m, *paths, label=str(i)) for i, m in enumerate(doubles)), data=[b.double() for b in data])
    assert np.abs(single.matrix - double.matrix).max(axis=None) < tolerance
    return double.matrix


def test_float32_features_with_a_large_common_mean():
    """Squared mean over spread of 3000, as deep networks without normalisation have."""

    class Shifted(nn.Module):
        def __init__(self, seed):
            super().__init__()
            self.wide = nn.Linear(20, 400)
            with torch.no_grad():
                self.wide.weight.copy_(torch.randn(400, 20, generator=generator(seed)) / 20**0.5)
                self.wide.bias.copy_(torch.randn(400, generator=generator(seed + 9)).sign() * 3000**0.5)

        def forward(self, x):
            return self.wide(x)

    data = batches(64, 20)
    features = Shifted(0)(torch.cat(data)).detach()
    assert float(features.mean(0).square().mean() / features.var(0).mean()) == pytest.approx(3000, rel=0.2)
    close_to_float64(Shifted, ["wide"], data)


def test_a_deep_convolution_network_as_it_is_initialised():
    def make(seed):
        torch.manual_seed(seed)
        widths = [3, *[16] * 8]
        parts = [part for i in range(8) for part in (nn.Conv2d(widths[i], widths[i + 1], 3, padding=1), nn.ReLU())]
        return nn.Sequential(*parts).eval()

    matrix = close_to_float64(make, [str(2 * i + 1) for i in range(8)], batches(48, 3, 8, 8))
    assert matrix.notna().all(axis=None)


def test_channels_that_hardly_vary():
    class Stream(nn.Module):
        """A residual stream: two channels of a hundred times the others' size that are all but constant."""

        def __init__(self, seed):
            super().__init__()
            self.mix = nn.Linear(12, 60)
            with torch.no_grad():
                self.mix.weight.copy_(torch.randn(60, 12, generator=generator(seed)) / 12**0.5)
                self.mix.weight[:2] *= 1e-3
                self.mix.bias.zero_()
                self.mix.bias[:2] = 200.0

        def forward(self, x):
            return self.mix(x)

    close_to_float64(Stream, ["mix"], batches(64, 12))


def test_in_place_activations_do_not_change_what_was_tapped():
    def make(inplace):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 9), nn.ReLU(inplace=inplace), nn.Linear(9, 5), nn.ReLU(inplace=inplace))

    data = batches(32, 6)
    paths = ["0", "1", "2", "3"]
    results = [mx.cka(taps(make(inplace), *paths), data=data) for inplace in (True, False)]
    np.testing.assert_array_equal(results[0].matrix, results[1].matrix)
    assert list(results[0].matrix.index) == paths
    assert set(results[0].layers["aliases"]) == {""}


@pytest.mark.parametrize("count", [33, 34, 35])
def test_a_short_last_batch_is_left_out_and_told(count):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 9), nn.Tanh())
    data = batches(count, 6)
    result = mx.cka(taps(module, "0", "1"), data=data)
    last = "image was" if count == 33 else f"{count - 32} images were"
    assert result.warnings == (f"the last {last} left out: a batch needs 4",)
    assert set(result.cells["n"]) == {32}
    np.testing.assert_array_equal(result.matrix, mx.cka(taps(module, "0", "1"), data=data[:2]).matrix)


@pytest.mark.parametrize("scales", [(1e4, 1e-2), (1e-6, 1.0), (1e9, 1e-9)])
def test_the_scale_of_features_does_not_matter(scales):
    class Scaled(nn.Module):
        def __init__(self, scale, seed):
            super().__init__()
            torch.manual_seed(seed)
            self.map, self.scale = nn.Linear(6, 40), scale

        def forward(self, x):
            return self.map(x) * self.scale

    data = batches(48, 6)
    values = [
        mx.cka(*(taps(Scaled(s, i), "", label=str(i)) for i, s in enumerate(pair)), data=data).matrix.iloc[0, 0]
        for pair in (scales, (1.0, 1.0))
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    assert values[1] > 0.3


def test_equal_networks_are_equal_exactly():
    def make():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(6, 70), nn.ReLU(), nn.Linear(70, 130), nn.ReLU())

    paths = ["0", "1", "2", "3"]
    result = mx.cka(taps(make(), *paths), taps(make(), *paths, label="b"), data=batches(100, 6, size=37))
    diagonal = np.diagonal(result.matrix)
    assert np.abs(diagonal - 1).max() < 1e-12
    row = result.diagonal.iloc[0]
    assert abs(row["mean"] - 1) < 1e-12
    assert row["high"] - row["low"] < 1e-12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_features_are_taken_as_they_are(dtype):
    class Half(nn.Module):
        def __init__(self, seed):
            super().__init__()
            torch.manual_seed(seed)
            self.map = nn.Linear(6, 300)

        def forward(self, x):
            return (self.map(x) * 30 + 100).to(dtype)

    modules, data = [Half(0), Half(1)], batches(48, 6)
    value = mx.cka(*(taps(m, "", label=str(i)) for i, m in enumerate(modules)), data=data).matrix.iloc[0, 0]
    features = [[module(batch).detach().double() for batch in data] for module in modules]
    assert value == pytest.approx(naive.minibatch_cka(*features), abs=1e-5)


def test_features_are_not_kept():
    """Beside the forward pass there is one Gram matrix per layer, and no layer's features."""
    alive = []

    class Watched(nn.Module):
        def forward(self, x):
            alive.append(sum(reference() is not None for reference in kept))
            y = x + 1
            kept.append(weakref.ref(y))
            return y

    kept: list[weakref.ref] = []
    module = nn.Sequential(*(Watched() for _ in range(6)))
    mx.cka(taps(module, *map(str, range(6))), data=batches(16, 5))
    assert max(alive) <= 2


class Recorder(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.clone())
        return x


def test_a_shuffling_loader_gives_both_networks_the_same_images():
    images = torch.randn(24, 5, generator=generator())
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, torch.arange(24)), batch_size=8, shuffle=True, generator=generator(1)
    )
    first, second = nn.Sequential(Recorder()), nn.Sequential(Recorder())
    result = mx.cka(taps(first, "0"), taps(second, "0", label="b"), data=loader)
    assert torch.equal(torch.cat(first[0].seen), torch.cat(second[0].seen))
    assert not torch.equal(torch.cat(first[0].seen), images)
    assert result.matrix.iloc[0, 0] == pytest.approx(1, abs=1e-12)
    assert set(result.cells["n"]) == {24}


class Recurrent(nn.Module):
    """One module that runs several times, and another that answers with a tuple."""

    def __init__(self, steps=3):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.relu, self.lstm, self.steps = nn.Linear(5, 5), nn.ReLU(), nn.LSTM(5, 4, batch_first=True), steps
        self.double()

    def forward(self, x):
        states = []
        for _ in range(self.steps):
            x = self.relu(self.cell(x))
            states.append(x)
        return self.lstm(torch.stack(states, dim=1))


def test_a_module_that_runs_several_times_has_a_row_for_each():
    module, data = Recurrent(), batches(32, 5, dtype=torch.float64)
    result = mx.cka(taps(module, "relu"), data=data)
    assert list(result.matrix.index) == ["relu#0", "relu#1", "relu#2"]
    with torch.no_grad():
        states = []
        for batch in data:
            x, row = batch, []
            for _ in range(3):
                x = module.relu(module.cell(x))
                row.append(x)
            states.append(row)
    for i in range(3):
        for j in range(3):
            # the definition loses digits to the states' common mean
            expected = naive.minibatch_cka([s[i] for s in states], [s[j] for s in states])
            assert result.matrix.iloc[i, j] == pytest.approx(expected, abs=1e-10)


def test_of_a_tuple_the_first_tensor_counts():
    module, data = Recurrent(), batches(32, 5, dtype=torch.float64)
    result = mx.cka(taps(module, "lstm"), data=data)
    assert result.layers.loc[0, "size"] == 3 * 4


def test_modules_that_run_another_number_of_times():
    class Changing(Recurrent):
        def forward(self, x):
            self.steps += 1
            return super().forward(x)

    with pytest.raises(mx.MixanalysisError, match=r"^a: its modules run in another order or number in batch 1"):
        mx.cka(taps(Changing(), "relu"), data=batches(32, 5, dtype=torch.float64))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(11, 6).double()

    def forward(self, input_ids, attention_mask):
        return {"hidden": self.embed(input_ids), "mask": attention_mask}


@pytest.mark.parametrize("pooling", ["flatten", "mean", "first"])
def test_named_tensors_with_a_mask(pooling):
    module = nn.Sequential()
    module.add_module("net", Tokens())
    lengths = torch.randint(2, 8, (24,), generator=generator())
    ids = torch.randint(0, 11, (24, 7), generator=generator(1))
    mask = (torch.arange(7)[None] < lengths[:, None]).long()
    tables = [{"input_ids": i, "attention_mask": m} for i, m in zip(ids.split(8), mask.split(8), strict=True)]
    net = module.net
    result = mx.cka(FeatureExtractor("a", net, {"all": "", "embed": "embed"}, pooling=pooling), data=tables)
    other = [{**table, "input_ids": table["input_ids"].where(table["attention_mask"] != 0, 3)} for table in tables]
    padded = mx.cka(FeatureExtractor("a", net, {"all": "", "embed": "embed"}, pooling=pooling), data=other)
    # what stands at padded places changes nothing
    np.testing.assert_allclose(result.matrix, padded.matrix, atol=1e-14)
    with torch.no_grad():
        hidden = [net.embed(table["input_ids"]) * table["attention_mask"][..., None] for table in tables]
    if pooling == "flatten":
        features = [h.flatten(1) for h in hidden]
    elif pooling == "mean":
        features = [
            h.sum(1) / table["attention_mask"].sum(1, keepdim=True) for h, table in zip(hidden, tables, strict=True)
        ]
    else:
        features = [h[:, 0] for h in hidden]
    other_features = [f[:, :3] for f in features]
    assert naive.minibatch_cka(features, other_features) < 1
    assert result.layers.loc[0, "size"] == features[0].shape[1]
    both = mx.cka(
        FeatureExtractor("a", net, {"embed": "embed"}, pooling=pooling),
        FeatureExtractor("b", _Given(features), {"given": ""}, batch_axis=0),
        data=tables,
    )
    assert both.matrix.iloc[0, 0] == pytest.approx(1, abs=1e-12)


class _Given(nn.Module):
    """Features that were computed elsewhere."""

    def __init__(self, features):
        super().__init__()
        self.features, self.at = features, 0

    def forward(self, **_batch):
        self.at += 1
        return self.features[self.at - 1]


def test_modules_that_give_the_same_tensor_are_computed_once():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5))
    module = nn.Sequential(inner, nn.Tanh())
    result = mx.cka(taps(module, "0", "0.0", "0.1", "1", ""), data=batches(32, 5))
    layers = result.layers.set_index("layer")
    assert list(layers.index) == ["0.0", "1"]
    assert layers.loc["0.0", "aliases"] == "0.1 0"
    assert layers.loc["1", "aliases"] == ""


def test_pooling_is_what_it_says_and_named():
    torch.manual_seed(0)
    module = nn.Conv2d(3, 5, 3)
    data = batches(24, 3, 6, 6, dtype=torch.float64)
    module.double()
    with torch.no_grad():
        maps = [module(batch) for batch in data]
    for pooling, features in (
        ("flatten", [m.flatten(1) for m in maps]),
        ("mean", [m.mean(dim=(2, 3)) for m in maps]),
        ("first", [m[:, :, 0, 0] for m in maps]),
    ):
        subject = FeatureExtractor("a", module, {"conv": ""}, pooling=pooling)
        result = mx.cka(subject, FeatureExtractor("b", nn.Flatten(), {"x": ""}), data=data)
        expected = naive.minibatch_cka(features, [b.flatten(1) for b in data])
        assert result.matrix.iloc[0, 0] == pytest.approx(expected, abs=1e-12)
        names = {"flatten": "flattened", "mean": "mean over tokens", "first": "first token"}
        assert names[pooling] in result.cells.loc[0, "features"]


def test_plain_modules_with_patterns():
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    second = nn.Sequential(nn.Linear(5, 9), nn.ReLU())
    data = batches(24, 5)
    result = mx.cka(first, second, data=data)
    assert list(result.matrix.index) == ["0", "1", "2"]
    assert list(result.matrix.columns) == ["0", "1"]
    assert result.matrix.index.name == "Sequential 1"
    assert list(mx.cka(first, data=data, taps=["[02]"]).matrix.index) == ["0", "2"]
    with pytest.raises(mx.MixanalysisError, match=r"the model has no submodule like x\*; it has 0, 1, 2$"):
        mx.cka(first, data=data, taps=["x*"])
