"""Layerwise CKA of networks: against the definition, with its labels, warnings and errors."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import mixanalysis as mx
import naive
from cases import NETWORKS, PATCHES, images_of, module_of, network_of
from mixanalysis.checkpoints import save_checkpoint
from mixanalysis.datasets import Dataset
from mixanalysis.errors import DataError, NothingToAnalyseError, UsageError
from mixanalysis.families.loading import load
from mixanalysis.families.mixer.network import MixerConfig
from mixanalysis.results import to_json
from mixanalysis.selection import matching
from mixanalysis.similarity import FeatureExtractor
from mixanalysis.similarity.schemas import CKA_CELLS, CKA_DIAGONAL

LAYERS = {"first": "0", "second": "2", "third": "4"}


def data_of(images, name="made up"):
    return Dataset(name, "test", images, None, classes=0)


def vectors(count=21, size=5, seed=3):
    return data_of(torch.from_numpy(np.random.default_rng(seed).normal(size=(count, size))))


def sequential(seed=0, widths=(5, 7, 30, 3), act=nn.Tanh):
    torch.manual_seed(seed)
    parts = []
    for into, out in itertools.pairwise(widths):
        parts += [nn.Linear(into, out), act()]
    return nn.Sequential(*parts).double()


def features_by_hand(module, path, batches):
    """Output of one submodule of a Sequential, for each batch."""
    result = []
    for batch in batches:
        x = batch
        for index, part in enumerate(module):
            x = part(x)
            if str(index) == path:
                break
        result.append(x.detach())
    return result


def features_by_hook(module, path, batches):
    """Output of one submodule of any network, flattened, for each batch."""
    result = []
    handle = module.get_submodule(path).register_forward_hook(lambda _m, _i, output: result.append(output.flatten(1)))
    with torch.no_grad():
        for batch in batches:
            module(batch)
    handle.remove()
    return result


class Recorder(nn.Module):
    """Keeps the images that it sees."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.clone())
        return x.flatten(1)


class Constant(nn.Module):
    """Forgets its input."""

    def forward(self, x):
        return torch.full((len(x), 4), 0.3, dtype=x.dtype)


@pytest.mark.parametrize("batch_size", [4, 8, 21, 64])
def test_minibatch_cka_is_its_definition(batch_size):
    first, second, data = sequential(0), sequential(1, (5, 4, 6, 3)), vectors()
    result = mx.cka(
        FeatureExtractor("a", first, LAYERS), FeatureExtractor("b", second, LAYERS), data=data, batch_size=batch_size
    )
    batches = data.images.split(batch_size)
    for i, path in enumerate(LAYERS.values()):
        for j, other in enumerate(LAYERS.values()):
            expected = naive.minibatch_cka(
                features_by_hand(first, path, batches), features_by_hand(second, other, batches)
            )
            assert result.matrix.iloc[i, j] == pytest.approx(expected, abs=1e-12)
    assert list(result.matrix.index) == list(LAYERS)
    assert list(result.matrix.columns) == list(LAYERS)


@pytest.mark.parametrize("position", ["before-skip", "after-skip"])
@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_every_family_against_the_definition(config, position, tmp_path):
    first = network_of(config, tmp_path / "first.safetensors", seed=0, dtype=torch.float64)
    second = network_of(config, tmp_path / "second.safetensors", seed=1, dtype=torch.float64)
    data = data_of(images_of(config, 11, dtype=torch.float64))
    matrix = mx.cka(first, second, data=data, position=position, batch_size=6).matrix
    batches = data.images.split(6)
    side = "before" if position == "before-skip" else "after"
    paths = [getattr(tap, side) for tap in first.taps]
    modules = [module_of(config, seed=seed, dtype=torch.float64) for seed in (0, 1)]
    taken = [[features_by_hook(module, path, batches) for path in paths] for module in modules]
    expected = [[naive.minibatch_cka(x, y) for y in taken[1]] for x in taken[0]]
    np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-12)
    assert list(matrix.index) == [tap.name for tap in first.taps]


@pytest.mark.parametrize("name", ["mixer", "rp-mixer", "s-mixer", "sw-mlp"])
def test_a_network_with_itself(name, tmp_path):
    network = network_of(NETWORKS[name], tmp_path / "a.safetensors")
    result = mx.cka(network, data=data_of(images_of(NETWORKS[name], 40)), batch_size=16)
    matrix = result.matrix.to_numpy()
    np.testing.assert_allclose(np.diagonal(matrix), 1.0, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(matrix, matrix.T)
    (row,) = result.diagonal.to_dict(orient="records")
    assert (row["network_a"], row["network_b"], row["relation"], row["status"]) == ("a", "a", "itself", "ok")
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((1, 1, 1), abs=1e-12)


def test_many_networks_in_one_pass_are_all_their_pairs():
    subjects = [FeatureExtractor(name, sequential(seed), LAYERS) for seed, name in enumerate("abc")]
    together = mx.cka(*subjects, data=vectors(), batch_size=8)
    assert together.diagonal[["network_a", "network_b"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        alone = mx.cka(subjects[i], subjects[j], data=vectors(), batch_size=8)
        for column in ("value", "low", "high"):
            pair = together.pair(subjects[i].label, subjects[j].label, column)
            np.testing.assert_allclose(pair, alone.pair(subjects[i].label, subjects[j].label, column), atol=1e-12)


def test_tables_hold_the_conditions_and_the_diagonal_is_that_of_the_cells():
    subjects = [FeatureExtractor(name, sequential(seed), LAYERS, {"first": "token"}) for seed, name in enumerate("ab")]
    result = mx.cka(*subjects, data=vectors(), batch_size=8)
    assert list(result.cells.columns) == [column.name for column in CKA_CELLS.columns]
    assert list(result.diagonal.columns) == [column.name for column in CKA_DIAGONAL.columns]
    assert result.to_frame() is result.cells
    first = result.cells.iloc[0]
    assert first[["n", "batches", "batch_size"]].tolist() == [21, 3, 8]
    assert first["data"] == "made up (test)"
    assert first["features"] == "module outputs, flattened"
    assert first["estimator"] == "cka/kernel=linear/hsic=unbiased/batches=mean"
    assert result.cells["role_a"].tolist() == ["token"] * 3 + [""] * 6
    assert result.cells["status"].tolist() == ["ok"] * 9
    same = result.cells[result.cells["index_a"] == result.cells["index_b"]]
    row = result.diagonal.iloc[0]
    assert row["mean"] == pytest.approx(same["value"].mean(), abs=1e-14)
    assert row["low"] < row["mean"] < row["high"]
    assert (row["blocks"], row["n"], row["status"]) == (3, 21, "ok")
    assert json.loads(to_json(result.to_json()))["cka"][0]["value"] == first["value"]


def test_interval_of_the_mean_is_a_jackknife_over_batches():
    first, second, data = sequential(0), sequential(1), vectors(40)
    result = mx.cka(
        FeatureExtractor("a", first, LAYERS), FeatureExtractor("b", second, LAYERS), data=data, batch_size=8
    )
    batches = data.images.split(8)
    taken = [
        (features_by_hand(first, path, batches), features_by_hand(second, path, batches)) for path in LAYERS.values()
    ]

    def mean(chosen):
        return np.mean([naive.minibatch_cka([x[i] for i in chosen], [y[i] for i in chosen]) for x, y in taken])

    low, high = naive.jackknife_interval(list(range(5)), mean)
    row = result.diagonal.iloc[0]
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=1e-11)


def test_a_short_last_batch_is_left_out_and_reported():
    data = vectors(19)
    a, b = FeatureExtractor("a", sequential(0), LAYERS), FeatureExtractor("b", sequential(1), LAYERS)
    result = mx.cka(a, b, data=data, batch_size=8)
    assert result.warnings == ("the last 3 images were left out: a batch needs 4",)
    assert result.cells["n"].unique().tolist() == [16]
    without = mx.cka(a, b, data=data.first(16), batch_size=8)
    pd.testing.assert_frame_equal(result.cells, without.cells)
    assert without.warnings == ()


def test_only_short_batches():
    with pytest.raises(UsageError, match=r"no batch of at least 4 examples; use more images or larger batches"):
        mx.cka(FeatureExtractor("a", sequential(), LAYERS), data=vectors(3), batch_size=8)


def test_limit_takes_the_first_images():
    subject = FeatureExtractor("a", sequential(), LAYERS)
    limited = mx.cka(subject, data=vectors(40), limit=16, batch_size=8)
    pd.testing.assert_frame_equal(limited.cells, mx.cka(subject, data=vectors(40).first(16), batch_size=8).cells)


def test_constant_features_are_undefined_alone():
    module = sequential()
    layers = LAYERS | {"flat": "6", "last": "7"}
    module.extend([Constant(), nn.Linear(4, 2).double()])
    other = FeatureExtractor("b", sequential(1), LAYERS)
    result = mx.cka(FeatureExtractor("a", module, layers), other, data=vectors(), batch_size=8)
    matrix = result.matrix
    assert matrix.loc[["flat", "last"]].isna().all(axis=None)
    assert matrix.loc[list(LAYERS)].notna().all(axis=None)
    plain = mx.cka(FeatureExtractor("a", module, LAYERS), other, data=vectors(), batch_size=8).matrix
    np.testing.assert_allclose(matrix.loc[list(LAYERS)], plain, atol=1e-14)
    status = result.cells.set_index(["layer_a", "layer_b"])["status"]
    assert set(status.loc[["flat", "last"]]) == {"constant features"}
    assert set(status.loc[list(LAYERS)]) == {"ok"}
    assert result.warnings == tuple(
        f"a: {layer}: CKA is undefined: its HSIC with itself is zero, as that of constant features"
        for layer in ("flat", "last")
    )
    assert json.loads(to_json(result.to_json()))["warnings"] == list(result.warnings)
    assert {row["value"] for row in result.to_json()["cka"] if row["layer_a"] == "flat"} == {None}


def test_a_diagonal_with_an_undefined_block():
    module = sequential()
    module.append(Constant())
    layers = {"first": "0", "flat": "6"}
    others = {"first": "0", "second": "2"}
    diagonal = mx.cka(
        FeatureExtractor("a", module, layers), FeatureExtractor("b", sequential(1), others), data=vectors()
    ).diagonal
    assert np.isnan(diagonal.loc[0, "mean"])
    assert diagonal.loc[0, "status"] == "a block's CKA is undefined"


def test_unequal_depths_have_no_diagonal():
    shallow = {"first": "0"}
    result = mx.cka(
        FeatureExtractor("a", sequential(0), LAYERS), FeatureExtractor("b", sequential(1), shallow), data=vectors()
    )
    row = result.diagonal.iloc[0]
    assert row["status"] == "3 against 1 blocks: there is no diagonal"
    assert row["blocks"] == 0
    assert row[["mean", "low", "high"]].isna().all()
    assert result.matrix.shape == (3, 1)
    assert result.matrix.notna().all(axis=None)


def test_before_and_after_the_skip_are_different_questions(tmp_path):
    network = network_of(NETWORKS["mixer"], tmp_path / "a.safetensors")
    data = data_of(images_of(NETWORKS["mixer"], 40))
    before = mx.cka(network, data=data, position="before-skip", batch_size=16)
    after = mx.cka(network, data=data, position="after-skip", batch_size=16)
    assert not np.allclose(before.matrix, after.matrix, atol=1e-2)
    assert before.cells["features"].unique().tolist() == ["block outputs before skip, flattened"]
    assert after.cells["features"].unique().tolist() == ["block outputs after skip, flattened"]
    assert mx.cka(network, data=data, batch_size=16).cells.equals(before.cells)


def test_features_of_two_kinds_are_both_named(tmp_path):
    network = network_of(NETWORKS["mixer"], tmp_path / "a.safetensors")
    subject = FeatureExtractor("b", module_of(NETWORKS["mixer"], seed=1), {"head": "head"})
    cells = mx.cka(network, subject, data=data_of(images_of(NETWORKS["mixer"], 8))).cells
    assert cells["features"].unique().tolist() == ["block outputs before skip, flattened | module outputs, flattened"]


class TestSameImages:
    def test_both_networks_see_the_same_images_in_the_same_order(self):
        recorders = [nn.Sequential(Recorder()) for _ in range(2)]
        data = vectors(21)
        mx.cka(
            *(FeatureExtractor(str(i), each, {"x": "0"}, batch_axis=0) for i, each in enumerate(recorders)),
            data=data,
            batch_size=8,
        )
        for each in recorders:
            assert torch.equal(torch.cat(each[0].seen), data.images)
            assert [len(batch) for batch in each[0].seen] == [8, 8, 5]

    def test_each_network_gets_its_own_size(self):
        digits = mx.open_dataset("digits").first(8)
        shapes = [(1, 8, 8), (3, 16, 16)]
        recorders = [nn.Sequential(Recorder()) for _ in shapes]
        subjects = [
            FeatureExtractor(str(i), each, {"x": "0"}, input_shape=shape, batch_axis=0)
            for i, (each, shape) in enumerate(zip(recorders, shapes, strict=True))
        ]
        mx.cka(*subjects, data=digits)
        for each, shape in zip(recorders, shapes, strict=True):
            assert torch.equal(each[0].seen[0], digits.at(shape).images)

    def test_images_come_in_the_dtype_of_the_network(self):
        module = nn.Sequential(Recorder(), nn.Flatten(), nn.Linear(5, 3).double())
        mx.cka(FeatureExtractor("a", module, {"x": "2"}), data=data_of(torch.randn(8, 5)))
        assert module[0].seen[0].dtype == torch.float64


class TestLeavesNetworksAlone:
    def test_hooks_go_and_modes_come_back(self):
        module = nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.5), nn.Linear(3, 2)).double().train()
        module[2].eval()
        subject = FeatureExtractor("a", module, {"x": "0", "y": "2"})
        values = [mx.cka(subject, data=vectors()).matrix for _ in range(2)]
        pd.testing.assert_frame_equal(*values)
        assert [part.training for part in module.modules()] == [True, True, True, False]
        assert not any(part._forward_hooks for part in module.modules())

    def test_after_an_error_too(self):
        module = sequential().train()
        images = vectors(8).images.clone()
        images[5, 0] = float("nan")
        with pytest.raises(DataError):
            mx.cka(FeatureExtractor("a", module, LAYERS), data=data_of(images))
        assert all(part.training for part in module.modules())
        assert not any(part._forward_hooks for part in module.modules())

    def test_another_precision_leaves_the_network_as_it_is(self, tmp_path):
        network = network_of(NETWORKS["sw-mlp"], tmp_path / "a.safetensors")
        data = data_of(images_of(NETWORKS["sw-mlp"], 24))
        single = mx.cka(network, data=data, batch_size=8).matrix
        double = mx.cka(network, data=data, batch_size=8, dtype=torch.float64).matrix
        half = mx.cka(network, data=data, batch_size=8, dtype=torch.bfloat16).matrix
        assert {parameter.dtype for parameter in network.module().parameters()} == {torch.float32}
        assert 0 < np.abs(double - single).max(axis=None) < 1e-5
        assert 1e-5 < np.abs(half - single).max(axis=None) < 0.2


class Spoiled(nn.Module):
    """Gives NaN for images whose first pixel is above 9."""

    def forward(self, x):
        return torch.where(x[:, :1] > 9, torch.nan, x)


def test_not_finite_features_name_network_layer_and_image_and_spoil_nothing_else():
    data = vectors(21)
    data.images[13, 0] = data.images[18, 0] = 10.0
    module = nn.ModuleList([sequential(0), Spoiled()])
    module.forward = lambda x: (module[0](x), module[1](x))
    layers = {"bad": "1", "first": "0.0", "second": "0.2"}
    other = FeatureExtractor("other", sequential(1), LAYERS)
    result = mx.cka(FeatureExtractor("net", module, layers), other, data=data, batch_size=8)
    assert result.warnings == ("net: bad: CKA is undefined: not finite for image 13; --exclude leaves the layer out",)
    assert result.matrix.loc["bad"].isna().all()
    assert result.matrix.drop(index="bad").notna().all(axis=None)
    status = result.cells.set_index("layer_a")["status"]
    assert set(status.loc["bad"]) == {"not finite for image 13"}
    assert set(status.drop(index="bad")) == {"ok"}
    plain = mx.cka(FeatureExtractor("net", module, {"first": "0.0", "second": "0.2"}), other, data=data, batch_size=8)
    np.testing.assert_array_equal(result.matrix.drop(index="bad"), plain.matrix)


def test_a_network_without_any_finite_features():
    images = vectors(21).images.clone()
    images[13, 2] = float("nan")
    message = r"^net: features of first are not finite for image 13, and no layer has better ones$"
    with pytest.raises(DataError, match=message):
        mx.cka(FeatureExtractor("net", sequential(), LAYERS), data=data_of(images), batch_size=8)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e15, 1e30])
def test_features_beyond_the_range_of_float32_products(scale):
    images = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    module, other = nn.Sequential(nn.Flatten()), FeatureExtractor("b", sequential(1).float(), LAYERS)
    plain = mx.cka(FeatureExtractor("a", module, {"x": "0"}), other, data=data_of(images), batch_size=8).matrix

    class Scaled(nn.Module):
        def forward(self, x):
            return x * scale

    scaled = FeatureExtractor("a", nn.Sequential(Scaled()), {"x": "0"})
    np.testing.assert_allclose(mx.cka(scaled, other, data=data_of(images), batch_size=8).matrix, plain, atol=1e-6)


class Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(5, 3).double(), nn.Linear(5, 3).double()

    def forward(self, x):
        return self.used(x)


def test_modules_that_never_run():
    result = mx.cka(FeatureExtractor("a", Idle(), {"idle": "idle", "used": "used"}), data=vectors())
    assert list(result.matrix.index) == ["used", "idle"]
    assert result.matrix.loc["used", "used"] == pytest.approx(1.0, abs=1e-12)
    assert result.matrix.loc["idle"].isna().all()
    assert result.warnings == (
        "there are no intervals: they need two batches at least; a smaller --batch-size makes more",
        "a: idle: CKA is undefined: never ran; --exclude leaves the layer out",
    )
    with pytest.raises(UsageError, match=r"^a: none of the modules idle ever ran$"):
        mx.cka(FeatureExtractor("a", Idle(), {"idle": "idle"}), data=vectors())


class Fails(nn.Module):
    """Fails at the second batch."""

    def __init__(self):
        super().__init__()
        self.inner, self.batches = nn.Linear(5, 3).double(), 0

    def forward(self, x):
        self.batches += 1
        return self.inner(x[:, : 6 - self.batches])


def test_a_module_that_fails():
    message = r"^a: fails on batch 1 of shape 8 x 5: RuntimeError: "
    with pytest.raises(DataError, match=message) as caught:
        mx.cka(FeatureExtractor("a", Fails(), {"x": "inner"}, batch_axis=0), data=vectors(), batch_size=8)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_tap_of_no_use_is_told_as_such():
    flat = nn.Sequential(nn.Linear(5, 3).double(), nn.Flatten(0))
    with pytest.raises(UsageError, match=r"^a: tap 'x' gives a tensor of shape \(63,\) for 21 examples"):
        mx.cka(FeatureExtractor("a", flat, {"x": "1"}), data=vectors())


def test_progress_counts_batches():
    calls = []
    mx.cka(
        FeatureExtractor("a", sequential(), LAYERS),
        data=vectors(19),
        batch_size=8,
        progress=lambda *at: calls.append(at),
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


class TestRelation:
    @staticmethod
    def relation(tmp_path, records, configs=(NETWORKS["mixer"], NETWORKS["mixer"])):
        networks = []
        for seed, (config, record) in enumerate(zip(configs, records, strict=True)):
            path = tmp_path / f"{seed}.safetensors"
            save_checkpoint(path, config, module_of(config, seed=seed).state_dict(), record)
            networks.append(load(path))
        diagonal = mx.cka(*networks, data=data_of(images_of(NETWORKS["mixer"], 8))).diagonal
        return diagonal.loc[0, "relation"]

    def test_other_seed(self, tmp_path):
        seeds = [{"epochs": 3, "seed": 0}, {"epochs": 3, "seed": 1}]
        assert self.relation(tmp_path, seeds) == "other seed"

    @pytest.mark.parametrize("seeds", [(1, 1), (None, 1), (None, None)])
    def test_the_same_seed_or_an_unknown_one(self, tmp_path, seeds):
        records = [{"epochs": 3} | ({} if seed is None else {"seed": seed}) for seed in seeds]
        assert self.relation(tmp_path, records) == ""

    @pytest.mark.parametrize("epochs", [(0, 3), (3, 0)])
    def test_untrained(self, tmp_path, epochs):
        assert self.relation(tmp_path, [{"epochs": count} for count in epochs]) == "untrained"

    def test_other_configuration(self, tmp_path):
        wider = MixerConfig.of(PATCHES, 3, channels=6, depth=2, expansion=(1.5, 3.0))
        configs = (NETWORKS["mixer"], wider)
        assert self.relation(tmp_path, [{"epochs": 3}, {"epochs": 3}], configs) == ""

    def test_modules_without_a_configuration(self):
        a, b = FeatureExtractor("a", sequential(0), LAYERS), FeatureExtractor("b", sequential(1), LAYERS)
        assert mx.cka(a, b, data=vectors()).diagonal.loc[0, "relation"] == ""


class TestSelection:
    def test_layers_are_chosen_by_name(self, tmp_path):
        network = network_of(NETWORKS["mixer"], tmp_path / "a.safetensors")
        data = data_of(images_of(NETWORKS["mixer"], 8))
        chosen = mx.cka(network, data=data, layers=matching(["*.token"])).matrix
        assert list(chosen.index) == ["0.token", "1.token"]
        whole = mx.cka(network, data=data).matrix
        np.testing.assert_allclose(chosen, whole.loc[chosen.index, chosen.columns], atol=1e-14)

    def test_nothing_is_left(self, tmp_path):
        network = network_of(NETWORKS["mixer"], tmp_path / "a.safetensors")
        message = r"a: no block left to analyse; blocks are called 0.token, 0.channel, 1.token, 1.channel$"
        with pytest.raises(NothingToAnalyseError, match=message):
            mx.cka(network, layers=matching(["nothing*"]))


class TestRequests:
    def test_no_network(self):
        with pytest.raises(UsageError, match=r"CKA needs at least one network"):
            mx.cka(data=vectors())

    def test_equal_labels(self):
        subject = FeatureExtractor("twin", sequential(), LAYERS)
        with pytest.raises(UsageError, match=r"several networks are called twin; give each its own label"):
            mx.cka(subject, subject, data=vectors())

    @pytest.mark.parametrize("size", [0, 3])
    def test_small_batches(self, size):
        with pytest.raises(UsageError, match=rf"--batch-size must be at least 4 for HSIC_1, got {size}"):
            mx.cka(FeatureExtractor("a", sequential(), LAYERS), data=vectors(), batch_size=size)

    def test_images_that_do_not_fit(self, tmp_path):
        network = network_of(NETWORKS["mixer"], tmp_path / "a.safetensors")
        message = r"made up: its images have shape 2 x 4 x 4, the network takes 2 x 8 x 12; give data of that shape"
        with pytest.raises(DataError, match=message):
            mx.cka(network, data=data_of(torch.zeros(8, 2, 4, 4)))

    def test_a_data_set_by_its_name(self, tmp_path):
        network = network_of(NETWORKS["mixer"], tmp_path / "a.safetensors")
        cells = mx.cka(network, data="noise", limit=8).cells
        assert cells["data"].unique().tolist() == ["noise (test)"]
        assert cells["n"].unique().tolist() == [8]
