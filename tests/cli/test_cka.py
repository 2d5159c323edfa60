"""`mixanalysis cka`: its options, the user's own networks, resuming, and several processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import mixanalysis as mx
from cases import NETWORKS, checkpoint_of
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.network import Patches
from mixanalysis.similarity import FeatureExtractor

CODE = """
import os
from torch import nn

def make(width=7):
    return nn.Sequential(nn.Flatten(), nn.Linear(256, width), nn.Tanh(), nn.Linear(width, 3))

def wide():
    return make(9)

def colours():
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten())

def fails_elsewhere():
    if os.environ.get("RANK") == "1":
        raise RuntimeError("out of patience")
    return make()
"""


@pytest.fixture(name="own")
def _own(run, monkeypatch):
    """Code in the current folder, and two checkpoints for it."""
    Path("cka_nets.py").write_text(CODE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = {}
    for seed, (name, width) in enumerate((("a", 7), ("b", 9))):
        torch.manual_seed(seed)
        modules[name] = nn.Sequential(nn.Flatten(), nn.Linear(256, width), nn.Tanh(), nn.Linear(width, 3))
        torch.save({"epoch": 3, "model": modules[name].state_dict()}, f"{name}.pt")
    yield modules
    sys.modules.pop("cka_nets", None)


def tables(folder):
    return {path.name: path.read_bytes() for path in sorted((Path(folder) / "tables").iterdir())}


class TestOwnModels:
    def test_two_of_different_code(self, run, own):
        models = ("--model", "cka_nets:make", "--model-b", "cka_nets:wide", "--image", "1x16x16")
        answer = run("cka", "a.pt", "b.pt", *models, "--limit", 96)
        assert (answer.code, answer.stderr) == (0, "")
        taps = {"1": "1", "2": "2", "3": "3"}
        subjects = [FeatureExtractor(name, own[name], {"0": "0"} | taps, input_shape=(1, 16, 16)) for name in own]
        expected = mx.cka(*subjects, limit=96)
        found = pd.read_csv("reports/cka/tables/cka.csv", dtype={"layer_a": str, "layer_b": str})
        pd.testing.assert_frame_equal(
            found[["layer_a", "layer_b", "value", "low"]], expected.cells[["layer_a", "layer_b", "value", "low"]]
        )
        said = json.loads(Path("reports/cka/manifest.json").read_text())
        assert [item["layout"] for item in said["inputs"]] == ["cka_nets:make", "cka_nets:wide"]
        assert "tables/cka_layers.csv" in run.files("reports/cka")

    def test_beside_a_known_family_with_a_floor(self, run, own):
        config = configure("mlp", Patches(16, 16, 1, 4), 10, Sizes(channels=4, depth=2))
        checkpoint_of(config, run.folder / "mlp.safetensors")
        options = ("--layers", "[0-9]", "--exclude", "[02]", "--limit", 128, "--image", "1x16x16", "--json")
        answer = run("cka", "a.pt", "mlp.safetensors", "--model-a", "cka_nets:make", "--floor", "a.pt", *options)
        assert (answer.code, answer.stderr) == (0, "")
        rows = json.loads(answer.stdout)["cka_layers"]
        own_layers = [(row["layer"], row["features"]) for row in rows if row["network"] != "mlp"]
        assert own_layers == [("1", "module outputs, flattened"), ("3", "module outputs, flattened")] * 2
        assert [row["layer"] for row in rows if row["network"] == "mlp"] == ["1"]

    def test_averaged_weights(self, run, own):
        torch.manual_seed(5)
        other = nn.Sequential(nn.Flatten(), nn.Linear(256, 7), nn.Tanh(), nn.Linear(7, 3))
        torch.save({"state_dict": own["a"].state_dict(), "state_dict_ema": other.state_dict()}, "both.pt")
        options = ("--model", "cka_nets:make", "--image", "1x16x16", "--limit", 64, "--json")
        values = {}
        for weights in ("raw", "ema"):
            answer = run("cka", "a.pt", "both.pt", *options, "--weights", weights if weights == "raw" else "auto")
            values[weights] = json.loads(answer.stdout)["cka_diagonal"][0]["mean"]
        assert values["raw"] == pytest.approx(1, abs=1e-12)
        assert values["ema"] < 0.99

    def test_dry_run(self, run, own):
        answer = run("cka", "a.pt", "--model", "cka_nets:make", "--dry-run")
        assert answer.stdout.splitlines()[0] == "a.pt: cka_nets:make, 4 modules"

    def test_tensors_of_another_network(self, run, own):
        answer = run("cka", "b.pt", "--model", "cka_nets:make")
        assert answer.code == 3
        assert answer.error.startswith("b.pt: its tensors aren't those of cka_nets:make: of another shape: 1.weight")

    def test_images_that_do_not_fit(self, run, own):
        torch.save(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()).state_dict(), "c.pt")
        answer = run("cka", "c.pt", "--model", "cka_nets:colours")
        assert answer.code == 3
        assert answer.error.startswith("c: fails on batch 0 of shape 64 x 1 x 8 x 8: RuntimeError: ")
        assert not Path("reports").exists()


CHOICES = {
    "biased rbf": (
        ("--estimator", "minibatch-biased", "--kernel", "rbf", "--bandwidth", 0.5),
        "cka/kernel=rbf(0.5 median)/hsic=biased/batches=mean",
    ),
    "without the input": (
        ("--covariate", "input"),
        "cka/kernel=linear/hsic=unbiased/batches=mean/without=input",
    ),
}


@pytest.mark.parametrize(("options", "estimator"), CHOICES.values(), ids=CHOICES)
def test_the_table_names_the_choices(run, networks, options, estimator):
    answer = run("cka", networks["mlp"], "--limit", 32, "--batch-size", 8, "--pool", "mean", *options, "-q", "--json")
    assert (answer.code, answer.stderr) == (0, "")
    (row,) = json.loads(answer.stdout)["cka_diagonal"]
    assert row["estimator"] == estimator
    assert row["features"] == "block outputs before skip, mean over tokens"


def test_companions_and_p_values(run, networks):
    options = ("--limit", 64, "--batch-size", 16, "--permutations", 19, "--measures", "rsa, procrustes", "--measures")
    answer = run("cka", networks["mlp"], networks["sw-mlp"], *options, "mutual-knn", "-o", "out")
    assert (answer.code, answer.stderr) == (0, "")
    table = pd.read_csv("out/tables/similarity.csv")
    assert {name.split("/")[0] for name in table["measure"]} == {"procrustes", "mutual-knn", "rsa"}
    assert len(table) == 3 * 4
    p_values = pd.read_csv("out/tables/cka.csv")["p_value"]
    assert p_values.between(1 / 20, 1).all()
    found = json.loads(run("cka", networks["mlp"], *options, "angular", "-o", "out", "--json").stdout)
    assert {row["measure"].split("/")[0] for row in found["similarity"]} == {"procrustes", "rsa", "angular-cka"}
    assert "tables/similarity.csv" in run.files("out")
    assert run("cka", networks["mlp"], "--limit", 64, "-o", "out").code == 0
    assert "tables/similarity.csv" not in run.files("out")


def test_enough_images_are_enough(run, networks):
    options = ("--data", "noise", "--batch-size", 4, "--json", "-o", "out")
    whole, some = (
        json.loads(run("cka", networks["mlp"], networks["sw-mlp"], *options, *tol).stdout)["cka_diagonal"][0]["n"]
        for tol in ((), ("--tol", 10))
    )
    assert (whole, some) == (512, 128)


def test_three_networks_and_their_controls(run, networks):
    checkpoint_of(NETWORKS["mixer-square"], run.folder / "start.safetensors", seed=1)
    checkpoint_of(NETWORKS["mixer-square"], run.folder / "again.safetensors", seed=2)
    options = ("--floor", "start.safetensors", "--ceiling", "again.safetensors", "--limit", 64)
    answer = run("cka", networks["mixer"], networks["rp-mixer"], *options, "--batch-size", 8, "--json")
    assert (answer.code, answer.stderr) == (0, "")
    rows = json.loads(answer.stdout)["cka_diagonal"]
    relations = {(row["network_a"], row["network_b"]): row["relation"] for row in rows}
    assert len(relations) == 6
    assert relations["mixer", "start"] == "floor"
    assert relations["mixer", "again"] == "ceiling"
    assert relations["mixer", "rp-mixer"] == ""


KILLED = """
import os, signal, sys
from mixanalysis.similarity import partial_results
from mixanalysis.similarity.sources.extractors import FeatureExtractor
from mixanalysis_cli import main

partial_results.SECONDS = 0.0
observe = FeatureExtractor.observe

def counting(self, raw, make):
    if raw.index == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return observe(self, raw, make)

FeatureExtractor.observe = counting
main()
"""


class TestResume:
    @staticmethod
    def arguments(networks):
        options = ("--limit", 72, "--batch-size", 8, "-o", "out")
        return [str(argument) for argument in ("cka", networks["mixer"], networks["rp-mixer"], *options)]

    def test_a_killed_run_goes_on(self, run, networks, monkeypatch):
        killed = subprocess.run([sys.executable, "-c", KILLED, *self.arguments(networks)], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert not Path("out").exists()
        assert len(list(Path(".out.resume").iterdir())) == 1
        seen = []
        observe = FeatureExtractor.observe

        def counting(self, raw, make):
            seen.append((self.label, raw.index))
            return observe(self, raw, make)

        monkeypatch.setattr(FeatureExtractor, "observe", counting)
        again = run(*self.arguments(networks))
        assert (again.code, again.stderr) == (0, "")
        assert sorted(seen) == [(name, index) for name in ("mixer", "rp-mixer") for index in range(5, 9)]
        assert not Path(".out.resume").exists()
        resumed = tables("out")
        seen.clear()
        assert run(*self.arguments(networks)).code == 0
        assert len(seen) == 18, "nothing is kept of a run that is done"
        assert tables("out") == resumed

    CHANGED = (
        ("--batch-size", "4"),
        ("--pool", "mean"),
        ("--layers", "*.token"),
        ("--limit", "71"),
        ("--measures", "rsa"),
        ("--permutations", "9"),
        ("--no-resume",),
    )

    @pytest.mark.parametrize("changed", CHANGED, ids=" ".join)
    def test_other_content_starts_anew(self, run, networks, monkeypatch, changed):
        seen = []
        observe = FeatureExtractor.observe

        def counting(self, raw, make):
            seen.append(raw.index)
            if interrupting and raw.index == 3:
                raise KeyboardInterrupt
            return observe(self, raw, make)

        monkeypatch.setattr(FeatureExtractor, "observe", counting)
        monkeypatch.setattr("mixanalysis.similarity.partial_results.SECONDS", 0.0)
        interrupting = True
        assert run(*self.arguments(networks)).code == 130
        assert Path(".out.resume").exists()
        interrupting = False
        seen.clear()
        assert run(*self.arguments(networks), *changed).code == 0
        assert min(seen) == 0
        seen.clear()
        assert run(*self.arguments(networks)).code == 0
        assert min(seen) == (0 if changed == ("--no-resume",) else 3), "the state of the other content is left alone"

    def test_names_do_not_count(self, run, networks, monkeypatch):
        monkeypatch.setattr("mixanalysis.similarity.partial_results.SECONDS", 0.0)
        observe = FeatureExtractor.observe

        def interrupted(self, raw, make):
            if raw.index == 3:
                raise KeyboardInterrupt
            return observe(self, raw, make)

        monkeypatch.setattr(FeatureExtractor, "observe", interrupted)
        assert run(*self.arguments(networks)).code == 130
        Path("renamed.safetensors").write_bytes(networks["mixer"].read_bytes())
        seen = []

        def counting(self, raw, make):
            seen.append(raw.index)
            return observe(self, raw, make)

        monkeypatch.setattr(FeatureExtractor, "observe", counting)
        arguments = [name.replace(str(networks["mixer"]), "renamed.safetensors") for name in self.arguments(networks)]
        assert run(*arguments).code == 0
        assert min(seen) == 3


def processes(*arguments, count=2):
    """The command as torchrun starts it, in several processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "mixanalysis_cli", *map(str, arguments)]
    started = [
        subprocess.Popen(
            command,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        return [(process.communicate(timeout=280), process.returncode) for process in started]
    finally:
        for process in started:
            process.kill()


class TestProcesses:
    def test_two_are_one(self, run, networks):
        arguments = ("cka", networks["mixer"], networks["rp-mixer"], "--limit", 75)
        arguments = (*arguments, "--batch-size", 8)
        (first, code), (second, other) = processes(*arguments, "-o", "two", "--json")
        assert (code, other) == (0, 0), (first, second)
        assert second == ("", ""), "only the first process speaks"
        assert first[1] == "mixanalysis: the last 3 images were left out: a batch needs 4\n"
        one = json.loads(run(*arguments, "-o", "one", "--json").stdout)
        two = json.loads(first[0])
        for name in ("cka", "cka_diagonal", "cka_layers"):
            pd.testing.assert_frame_equal(pd.DataFrame(two[name]), pd.DataFrame(one[name]), rtol=0, atol=1e-12)
        assert run.files("two") == run.files("one")
        assert not Path(".two.resume").exists()

    def test_a_failure_is_told_once_and_ends_all(self, run, own):
        ended = processes("cka", "a.pt", "--model", "cka_nets:fails_elsewhere", "--image", "1x16x16")
        message = "--model cka_nets:fails_elsewhere: calling it without arguments failed: RuntimeError: out of patience"
        assert [stdout for (stdout, _), _ in ended] == ["", ""]
        assert "".join(stderr for (_, stderr), _ in ended) == f"mixanalysis: error: {message}\n"
        assert [code for _, code in ended] == [1, 2]
        assert not Path("reports").exists()


def test_networks_of_other_sizes_and_colours_get_the_same_pictures(run, networks, tmp_path):
    rng = np.random.default_rng(0)
    shape = mx.load(networks["mixer"]).config.input_shape
    np.savez(tmp_path / "large.npz", images=rng.normal(size=(24, 3, 2 * shape[1], 2 * shape[2])).astype(np.float32))
    refused = run("cka", networks["mixer"], "--data", str(tmp_path / "large.npz"))
    assert refused.code == 3
    assert "--resize" in refused.error
    options = ("--data", str(tmp_path / "large.npz"), "--resize", *(["--colour"] if shape[0] == 1 else []), "--json")
    answer = run("cka", networks["mixer"], *options)
    assert answer.code == 0, answer.error
    data = mx.open_dataset(str(tmp_path / "large.npz"), resize=True, colour=True).at(shape)
    expected = mx.cka(mx.load(networks["mixer"]), data=data)
    values = pd.read_csv("reports/cka/tables/cka.csv")["value"].tolist()
    assert values == pytest.approx(expected.cells["value"].tolist(), abs=1e-6)
