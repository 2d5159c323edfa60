"""`mixanalysis features`, and comparisons with what it keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mixanalysis.families.mixer.network import Mixer
from mixanalysis.similarity import FeatureExtractor

LIMIT = ("--limit", 72, "--batch-size", 16)


def cells(folder):
    return Path(folder, "tables", "cka.csv").read_bytes()


@pytest.fixture(name="kept")
def _kept(run, networks):
    """Files of the Mixer's and the MLP's features."""
    answer = run("features", networks["mixer"], networks["mlp"], *LIMIT, "-o", "kept")
    assert (answer.code, answer.stderr) == (0, "")
    paths = [f"kept/{name}.features.safetensors" for name in ("mixer", "mlp")]
    assert answer.stdout.splitlines() == paths
    return paths


def test_they_stand_for_their_networks(run, networks, kept):
    said = json.loads(Path("kept/manifest.json").read_text())
    assert set(said["outputs"]) == {Path(path).name for path in kept}
    live = run("cka", networks["mixer"], networks["sw-mlp"], networks["mlp"], *LIMIT, "-o", "live")
    mixed = run("cka", kept[0], networks["sw-mlp"], kept[1], *LIMIT, "-o", "mixed")
    assert (live.code, mixed.code, mixed.stderr) == (0, 0, "")
    assert cells("mixed") == cells("live")
    inputs = json.loads(Path("mixed/manifest.json").read_text())["inputs"]
    assert [item["layout"] for item in inputs] == ["stored grams", "mixanalysis", "stored grams"]


def test_alone_they_need_no_data(run, networks, kept):
    assert run("cka", networks["mixer"], networks["mlp"], *LIMIT, "-o", "live").code == 0
    answer = run("cka", *kept, "--batch-size", 16, "-o", "alone")
    assert (answer.code, answer.stderr) == (0, "")
    assert cells("alone") == cells("live")
    live, alone = (json.loads(Path(name, "manifest.json").read_text())["data"] for name in ("live", "alone"))
    assert alone == live
    some = run("cka", *kept, "--batch-size", 16, "--limit", 32, "-o", "some")
    assert (some.code, json.loads(Path("some/manifest.json").read_text())["data"]["images"]) == (0, 32)
    again = run("cka", *kept, *LIMIT, "--data", "digits", "-o", "again")
    assert (again.code, cells("again")) == (0, cells("live"))


def test_other_data_are_refused(run, networks, kept):
    answer = run("cka", *kept, "--data", "noise", *LIMIT)
    assert answer.code == 3
    assert answer.error.startswith("kept/mixer.features.safetensors: batch 0 isn't the one that mixer has seen: ")
    answer = run("cka", kept[0], networks["mlp"])
    assert (answer.code, "use --batch-size 16" in answer.error) == (3, True)
    assert not Path("reports").exists()


class TestResume:
    """A run that was cut in the second network's third batch."""

    @pytest.fixture(name="seen")
    def _seen(self, run, networks, monkeypatch):
        """Networks and batches that have run since."""
        seen = []
        observe = FeatureExtractor.observe

        def counting(self, raw, make):
            seen.append((self.label, raw.index))
            if cutting and seen[-1] == ("mlp", 2):
                raise KeyboardInterrupt
            return observe(self, raw, make)

        monkeypatch.setattr("mixanalysis.similarity.partial_results.SECONDS", 0.0)
        monkeypatch.setattr(FeatureExtractor, "observe", counting)
        cutting = True
        answer = run("features", networks["mixer"], networks["mlp"], *LIMIT, "-o", "kept")
        assert (answer.code, answer.error) == (130, "interrupted")
        assert not Path("kept").exists()
        cutting = False
        seen.clear()
        return seen

    def test_it_goes_on(self, run, networks, seen):
        assert run("features", networks["mixer"], networks["mlp"], *LIMIT, "-o", "kept").code == 0
        assert seen == [("mlp", index) for index in (0, 2, 3, 4)]
        assert not Path(".kept.resume").exists()
        assert run("features", networks["mixer"], networks["mlp"], *LIMIT, "--no-resume", "-o", "whole").code == 0
        for name in ("mixer", "mlp"):
            kept, whole = (Path(folder, f"{name}.features.safetensors") for folder in ("kept", "whole"))
            assert kept.read_bytes() == whole.read_bytes()

    CHANGED = (
        ("--what", "features"),
        ("--kernel", "rbf"),
        ("--batch-size", "8"),
        ("--limit", "48"),
        ("--features", "after-skip"),
        ("--pool", "mean"),
        ("--exclude", "*.channel"),
        ("--dtype", "float64"),
        ("--no-resume",),
    )

    @pytest.mark.parametrize("changed", CHANGED, ids=" ".join)
    def test_other_content_starts_anew(self, run, networks, seen, changed):
        answer = run("features", networks["mixer"], networks["mlp"], *LIMIT, *changed, "-o", "kept")
        assert (answer.code, answer.stderr) == (0, "")
        assert [index for label, index in seen if label == "mixer"][:3] == [0, 0, 1]


def test_a_lack_of_memory_is_told(run, networks, kept, monkeypatch):
    forward = Mixer.forward

    def limited(self, images):
        if len(images) > 5:
            raise MemoryError
        return forward(self, images)

    monkeypatch.setattr(Mixer, "forward", limited)
    answer = run("features", networks["mixer"], *LIMIT, "-o", "parts")
    message = "mixanalysis: mixer: 5 batches needed more memory than there is and ran in parts of 4 or more images, "
    assert answer.code == 0
    assert answer.stderr.startswith(message)
    assert load_file("parts/mixer.features.safetensors").keys() == load_file(kept[0]).keys()
    for name, cells in load_file(kept[0]).items():
        torch.testing.assert_close(load_file("parts/mixer.features.safetensors")[name], cells)


def test_options(run, networks, kept):
    answer = run("cka", *kept, "--batch-size", 16, "--floor", kept[0], "--layers", "*.token", "--layers", "1", "--json")
    assert (answer.code, answer.stderr) == (0, "")
    found = json.loads(answer.stdout)
    assert {row["network"]: row["layer"] for row in found["cka_layers"]} == {
        "kept/mixer": "1.token",
        "mlp": "1",
        "kept/mixer (2)": "1.token",
    }
    assert found["cka_diagonal"][1]["relation"] == "floor"
    answer = run("cka", *kept, "--batch-size", 16, "--kernel", "rbf")
    assert (answer.code, "are of the kernel linear, not rbf(1 median)" in answer.error) == (2, True)
    answer = run("cka", *kept, "--model-a", "nets:make")
    assert answer.error == "--model-a: kept/mixer.features.safetensors holds features already; nothing is to be built"
    assert run("features", kept[0]).error == "kept/mixer.features.safetensors: holds features already"
    dry = run("cka", kept[0], "--dry-run").stdout.splitlines()[0]
    assert dry == "kept/mixer.features.safetensors: stored grams, 4 layers, 72 images"


def test_the_features_themselves_of_some_layers(run, networks):
    options = ("--what", "features", "--layers", "*.token", "--pool", "mean", "--features", "after-skip", "--json")
    answer = run("features", networks["mixer"], *options, *LIMIT, "-o", "kept")
    assert (answer.code, answer.stderr) == (0, "")
    assert json.loads(answer.stdout)["parameters"]["what"] == "features"
    same = ("--layers", "*.token", "--pool", "mean", "--features", "after-skip", "--kernel", "rbf", *LIMIT)
    assert run("cka", "kept/mixer.features.safetensors", networks["rp-mixer"], *same, "-o", "kept-cka").code == 0
    assert run("cka", networks["mixer"], networks["rp-mixer"], *same, "-o", "live").code == 0
    assert cells("kept-cka") == cells("live")


def test_of_a_model_of_one_s_own(run, monkeypatch):
    Path("feature_nets.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\n"
    )
    monkeypatch.syspath_prepend(str(run.folder))
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).state_dict(), "a.pt")
    answer = run("features", "a.pt", "--model", "feature_nets:make", "--limit", 64, "-o", "kept")
    assert (answer.code, answer.stderr) == (0, "")
    assert run("cka", "kept/a.features.safetensors", "-o", "alone").code == 0
    table = pd.read_csv("alone/tables/cka_layers.csv")
    assert table["layer"].tolist() == [0, 1]
    assert table["size"].tolist() == [64, 3]
