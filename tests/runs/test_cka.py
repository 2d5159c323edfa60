"""CKA written to a folder: files, choices, controls, and which figures are drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import mixanalysis as mx
from cases import NETWORKS, module_of, network_of
from mixanalysis.checkpoints import save_checkpoint
from mixanalysis.errors import DataError, NothingToAnalyseError, UsageError
from mixanalysis.families.loading import load
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.network import Patches
from mixanalysis.report.similarity.section import drawings
from mixanalysis.report.style import FigureStyle
from mixanalysis.runs import Invocation
from mixanalysis.runs.cka import CKASettings, cka_report
from report.drawing import files_of

PATCHES = Patches(16, 16, 1, 4)
CONFIGS = {
    "mixer": configure("mixer", PATCHES, 10, Sizes(channels=4, depth=1)),
    "sw-mlp": configure("sw-mlp", PATCHES, 10, Sizes(channels=4, depth=2, density=0.4)),
}


def network(name, folder, seed=0, epochs=1, label=None):
    path = folder / f"{label or name}.safetensors"
    save_checkpoint(path, CONFIGS[name], module_of(CONFIGS[name], seed=seed).state_dict(), {"seed": seed})
    return load(path)


@pytest.fixture(name="networks", scope="module")
def _networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return [network(name, folder) for name in CONFIGS]


def test_files_and_choices(networks, tmp_path):
    how = CKASettings(layers=("*",), exclude=("*channel", "1"), batch_size=8, dtype="float64")
    result = cka_report(networks, tmp_path / "out", Invocation("cka"), how, limit=32, look=FigureStyle("svg"))
    assert files_of(tmp_path / "out") == {
        "manifest.json",
        "tables/cka.csv",
        "tables/cka_diagonal.csv",
        "tables/cka_layers.csv",
        "figures/cka_means.svg",
        "figures/cka_profile.svg",
        "figures/cka_mixer_sw-mlp.svg",
    }
    assert list(result.matrix.index) == ["0.token"]
    assert result.matrix.shape == (1, 1)
    double = mx.cka(*networks, limit=32, batch_size=8, dtype=torch.float64).matrix
    assert result.matrix.iloc[0, 0] == pytest.approx(double.loc["0.token", "0"], abs=1e-14)
    found = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (found["command"], found["device"], found["data"]["images"]) == ("cka", "cpu", 32)


CHOICES = {
    "estimator": ("minibatch-biased", "hsic=biased"),
    "kernel": ("rbf", "kernel=rbf(1 median)"),
    "covariate": ("input", "without=input"),
    "position": ("after-skip", "block outputs after skip"),
    "pooling": ("mean", "mean over tokens"),
}


@pytest.mark.parametrize(("name", "value", "said"), [(n, *v) for n, v in CHOICES.items()], ids=CHOICES)
def test_a_choice_is_the_one_of_cka(networks, tmp_path, name, value, said):
    result = cka_report(
        networks, tmp_path / "out", Invocation("cka"), CKASettings(**{name: value}, batch_size=8), limit=24
    )
    expected = mx.cka(*networks, limit=24, batch_size=8, **{name: value})
    assert result.cells.equals(expected.cells)
    first = result.cells.iloc[0]
    assert said in f"{first['estimator']}; {first['features']}"


def test_controls_are_relations(networks, tmp_path):
    floor, ceiling = (network("mixer", tmp_path, seed, label=f"mixer-{seed}") for seed in (1, 2))
    controls = ("", "floor", "ceiling")
    how = CKASettings(batch_size=8)
    result = cka_report(
        [networks[0], floor, ceiling], tmp_path / "out", Invocation("cka"), how, controls=controls, limit=32
    )
    pairs = result.diagonal.set_index(["network_a", "network_b"])["relation"]
    assert pairs["mixer", "mixer-1"] == "floor"
    assert pairs["mixer", "mixer-2"] == "ceiling"


def test_colours_of_heat_maps(networks, tmp_path):
    contents = []
    for scale in ("unit", "auto"):
        cka_report(networks, tmp_path / scale, Invocation("cka"), limit=32, scale=scale)
        contents.append((tmp_path / scale / "figures" / "cka_mixer_sw-mlp.png").read_bytes())
    assert contents[0] != contents[1]


def test_noise_takes_its_shape_from_the_network_and_its_seed(tmp_path):
    net = network_of(NETWORKS["mixer"], tmp_path / "net.safetensors")
    values = [
        cka_report([net], tmp_path / f"{run}", Invocation("cka"), data="noise", limit=8, seed=seed).matrix
        for run, seed in enumerate((0, 0, 1))
    ]
    assert values[0].equals(values[1])
    assert not values[0].equals(values[2])


def test_a_device_that_is_not_there(networks, tmp_path):
    with pytest.raises(UsageError, match=r"--device nowhere: not available here: "):
        cka_report(networks, tmp_path / "out", Invocation("cka"), device="nowhere")
    assert list(tmp_path.iterdir()) == []


def test_data_that_change_meanwhile(networks, tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, images=np.zeros((8, 16, 16), np.uint8))

    def stage(_name):
        path.touch()

    with pytest.raises(DataError, match=r"data\.npz: has changed while it was read; nothing was written"):
        cka_report(networks, tmp_path / "out", Invocation("cka"), data=str(path), stage=stage)
    assert list(tmp_path.iterdir()) == [path]


def test_no_such_block(networks, tmp_path):
    with pytest.raises(NothingToAnalyseError, match=r"mixer: no block left to analyse"):
        cka_report(networks, tmp_path / "out", Invocation("cka"), CKASettings(layers=("nothing",)))
    assert list(tmp_path.iterdir()) == []


class TestDrawings:
    def test_unequal_depths_have_a_map_and_no_mean(self, networks, tmp_path):
        config = configure("mixer", PATCHES, 10, Sizes(channels=4, depth=2))
        save_checkpoint(tmp_path / "deep.safetensors", config, module_of(config).state_dict())
        result = mx.cka(networks[0], load(tmp_path / "deep.safetensors"), limit=16, batch_size=8)
        names = [drawing.name for drawing in drawings(result)]
        assert names == ["cka_profile", "cka_mixer_deep"]

    def test_sparse_networks_of_several_densities(self, networks, tmp_path):
        sizes = {"sparse": 0.3, "sparser": 0.1, "sparser-1": 0.1}
        sparse = []
        for label, density in sizes.items():
            config = configure("sw-mlp", PATCHES, 10, Sizes(channels=4, depth=2, density=density))
            save_checkpoint(tmp_path / f"{label}.safetensors", config, module_of(config).state_dict())
            sparse.append(load(tmp_path / f"{label}.safetensors"))

        def figures_of(*compared):
            result = mx.cka(*compared, limit=16, batch_size=8)
            return {drawing.name: drawing.arguments for drawing in drawings(result)}

        assert figures_of(networks[0], *sparse)["cka_density"][1:] == ("mixer", ["sparse", "sparser", "sparser-1"])
        assert figures_of(networks[1], *sparse[1:], networks[0]).keys().isdisjoint({"cka_density"}), "one density"

    def test_captions_tell_the_conditions(self, networks):
        result = mx.cka(*networks, limit=16, batch_size=8)
        for drawing in drawings(result):
            caption = drawing.caption
            for part in ("cka/kernel=linear/hsic=unbiased", "block outputs before skip", "16 images of digits (test)"):
                assert part in caption
