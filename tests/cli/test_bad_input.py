"""What can't be done ends in one line on stderr, the documented exit code, and no file."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from cases import NETWORKS, checkpoint_of

ANALYSES = ("cka", "features", "spectrum", "width", "report")
COMMANDS = ("inspect", *ANALYSES)

BAD = {
    "nope.pt": "no such file; give the path of a checkpoint",
    "folder": "is a folder without a checkpoint (it is empty); give the path of a checkpoint file",
    "text.pt": "not a checkpoint but text, not weights: epoch,loss",
    "empty.pt": "not a checkpoint: the file is empty",
    "truncated.pt": "truncated or damaged",
    "truncated.safetensors": "truncated or damaged safetensors file",
    "code.pt": "refused: loading it would run code",
    "unknown.pt": "no known layout has these tensors (a.weight)",
    "missing.safetensors": "head.bias is missing",
    "extra.safetensors": "holds tensors that its mixer doesn't have: criterion.weight",
    "misshaped.safetensors": "head.bias has shape 4, expected 3",
    "nan.safetensors": "tensor blocks.0.token.mlp.fc1.weight holds 12 NaN or infinite values of 54",
}
"""Files of the fixture `bad`, and what is said."""

# width and inspect look at shapes alone, spectrum skips that layer
FINE = {(command, "nan.safetensors") for command in ("width", "inspect", "spectrum")}
PAIRS = [(command, name) for command in COMMANDS for name in BAD if (command, name) not in FINE]


@pytest.mark.parametrize(("command", "name"), PAIRS, ids=[f"{command} {name}" for command, name in PAIRS])
def test_a_bad_checkpoint(run, bad, command, name):
    answer = run(command, bad / name)
    assert answer.code == 3
    assert answer.error.startswith(f"{bad / name}: ")
    assert BAD[name] in answer.error
    assert run.files() == []
    assert not Path("reports", command).exists()
    assert not (bad / "made").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_bad_checkpoint_after_a_good_one(run, bad, networks, command):
    answer = run(command, networks["mixer"], bad / "truncated.pt", "-o", "out" if command != "inspect" else "")
    if command == "inspect":
        answer = run(command, networks["mixer"], bad / "truncated.pt")
    assert answer.code == 3
    assert answer.error.startswith(f"{bad / 'truncated.pt'}: truncated or damaged")
    assert run.files() == []
    assert not Path("out").exists()


@pytest.mark.parametrize("command", ["cka", "features", "spectrum"])
@pytest.mark.parametrize("options", [("--layers", "zzz*"), ("--exclude", "*")], ids=" ".join)
def test_nothing_to_analyse(run, networks, command, options):
    answer = run(command, networks["mixer"], "-o", "out", *options)
    assert answer.code == 4
    assert "left to analyse" in answer.error
    assert run.files() == []
    assert not Path("out").exists()


USAGE = {
    "unknown option": (
        ("cka", "--nope", "a.pt"),
        "No such option: --nope (Possible options: --dtype, --force, --model) ",
    ),
    "unknown option of inspect": (("inspect", "a.pt", "--data", "digits"), "No such option: --data"),
    "unknown command": (("cks",), "No such command 'cks'. Did you mean 'cka'? (see "),
    "no checkpoint": (("cka",), "Missing argument 'checkpoints' (see "),
    "no number": (("cka", "a.pt", "--limit", "ten"), "Invalid value for '--limit': "),
    "limit of zero": (("report", "a.pt", "--limit", "0"), "Invalid value for '--limit': "),
    "batch of zero": (("cka", "a.pt", "--batch-size", "0"), "Invalid value for '--batch-size': "),
    "negative seed": (("cka", "a.pt", "--seed", "-1"), "Invalid value for '--seed': "),
    "huge seed": (("train", "mixer", "--seed", "99999999999999999999"), "Invalid value for '--seed': "),
    "unknown format": (("spectrum", "a.pt", "--format", "gif"), "Invalid value for '--format': "),
    "unknown features": (("cka", "a.pt", "--features", "middle"), "Invalid value for '--features': "),
    "unknown dtype": (("cka", "a.pt", "--dtype", "int8"), "Invalid value for '--dtype': "),
    "unknown estimator": (("cka", "a.pt", "--estimator", "median"), "Invalid value for '--estimator': "),
    "tolerance": (("cka", "a.pt", "--tol", "-1"), "Invalid value for '--tol': "),
    "nothing asked of width": (("width",), "give --omega, or checkpoints whose own Omega to use"),
    "omega no number": (("width", "--omega", "many"), "--omega must be a number such as 1e8 or 2^19, got 'many'"),
    "omega infinite": (("width", "--omega", "9^999"), "--omega must be a number such as 1e8 or 2^19, got '9^999'"),
    "omega complex": (("width", "--omega", "-2^0.5"), "--omega must be a number such as 1e8 or 2^19, got '-2^0.5'"),
    "omega negative": (("width", "--omega=-5"), "Omega must be a positive number, got -5.0"),
    "expansion zero": (("width", "--omega", "5", "--expansion", "0"), "an expansion must be a positive number, got 0"),
    "expansion too small": (("train", "mixer", "--expansion", "0.001"), "an expansion of 0.001 of 16 features leaves"),
    "folder for a checkpoint": (("train", "mixer", "-o", "."), ".: is a folder; give the path of the checkpoint to"),
    "unknown family": (("train", "cnn"), "unknown family 'cnn'; known are mixer, rp-mixer, "),
    "density of a mixer": (("train", "mixer", "--density", "0.5"), "--density doesn't apply to the family mixer"),
    "density of one": (("train", "sw-mlp", "--density", "1"), "sw-mlp: density must be below 1, got 1.0"),
    "no channel": (("train", "mixer", "--channels", "0"), "Invalid value for '--channels': "),
    "no token": (("train", "s-mixer", "--tokens", "0"), "Invalid value for '--tokens': "),
    "no block": (("train", "mlp", "--depth", "0"), "Invalid value for '--depth': "),
    "no width": (("train", "mlp", "--width", "-4"), "Invalid value for '--width': "),
    "patch": (("train", "mixer", "--patch", "5"), "--patch 5: patches of 5 pixels don't divide an image of 16 x 16"),
    "rate": (("train", "mixer", "--lr", "-1"), "epochs must be at least 0, batch_size at least 1, lr positive"),
    "rate not a number": (("train", "mixer", "--lr", "nan"), "lr positive"),
    "decay": (("train", "mixer", "--weight-decay", "-1"), "weight_decay at least 0, got"),
    "negative epochs": (("train", "mixer", "--epochs", "-1"), "Invalid value for '--epochs': "),
}
"""Requests that make no sense, and what is said."""


@pytest.mark.parametrize(("arguments", "said"), USAGE.values(), ids=USAGE)
def test_a_request_that_makes_no_sense(run, arguments, said):
    answer = run(*arguments)
    assert answer.code == 2
    assert said in answer.error
    assert run.files() == []


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_or_layout(run, networks, command):
    answer = run(command, networks["mixer"], "--nope")
    assert (answer.code, answer.error.split(" (")[0]) == (2, "No such option: --nope")
    answer = run(command, networks["mixer"], "--layout", "flax")
    assert answer.code == 2
    assert answer.error.startswith("unknown layout 'flax'; known are mixanalysis, timm-mixer, ")
    assert run.files() == []


def test_a_layout_that_does_not_fit(run, networks):
    answer = run("inspect", networks["mixer"], "--layout", "timm-mixer")
    assert answer.code == 3
    assert "isn't in the timm-mixer layout: it lacks blocks.0.norm1.weight, " in answer.error


def test_a_device_that_is_not_there(run, networks):
    answer = run("cka", networks["mixer"], "--device", "cuda:99")
    assert answer.code == 2
    assert answer.error.startswith("--device cuda:99: not available here: ")
    assert run.files() == []


@pytest.mark.parametrize("command", ["cka", "report"])
def test_unknown_data(run, networks, command):
    answer = run(command, networks["mixer"], "--data", "imagenet")
    assert (answer.code, answer.error) == (
        3,
        "unknown data set 'imagenet'; use digits, noise, mnist:DIR, fashion-mnist:DIR, kmnist:DIR, emnist:DIR, "
        "cifar10:DIR, cifar100:DIR, stl10:DIR, folder:DIR, or the path of a .npz or .npy file",
    )
    answer = run(command, networks["mixer"], "--data", "nope.npz")
    assert (answer.code, answer.error) == (3, "nope.npz: no such file; give the path of a .npz file with images")
    assert run.files() == []
    assert not Path("reports", command).exists()


def test_images_of_another_shape(run, networks):
    np.savez("images.npz", images=np.zeros((64, 1, 5, 5), dtype=np.float32))
    answer = run("cka", networks["mixer"], "--data", "images.npz", "-o", "out")
    assert answer.code == 3
    assert answer.error.startswith("images.npz: its images have shape 1 x 5 x 5, the network takes 1 x 8 x 8; give ")
    assert run.files() == ["images.npz"]


IMPOSSIBLE = {
    "measure": (
        ("--measures", "rsa,cca"),
        "unknown measure 'cca'; known are procrustes, mutual-knn, rsa, angular, svcca",
    ),
    "full and early": (("--estimator", "full", "--tol", 0.1), "full-data estimators can't stop early"),
    "bandwidth": (("--bandwidth", -1), "the bandwidth must be a positive share of the median distance, got -1.0"),
    "small batches": (("--batch-size", 3), "--batch-size must be at least 4 for HSIC_1, got 3"),
    "second model": (("--model-b", "nets:make"), "--model-b: there is no second checkpoint"),
    "model": (("--model", "nets"), "--model must be package.module:factory, got 'nets'"),
}


@pytest.mark.parametrize(("options", "said"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_comparison_that_makes_no_sense(run, networks, options, said):
    answer = run("cka", networks["mlp"], "--limit", 64, *options)
    assert answer.code == 2
    assert said in answer.error
    assert run.files() == []


@pytest.mark.parametrize("image", ["3", "3x224", "axbxc", "0x8x8", "1x8x8x8", "1x-8x8"])
def test_a_shape_of_images_that_is_none(run, networks, image):
    answer = run("cka", networks["mixer"], "--image", image)
    said = f"--image must be channels x height x width, such as 3x224x224, got {image!r}"
    assert (answer.code, answer.error) == (2, said)


def test_unknown_data_to_train_on(run):
    answer = run("train", "mixer", "--data", "imagenet")
    assert answer.code == 3
    assert answer.error.startswith("unknown data set 'imagenet'; use digits, noise, ")
    answer = run("train", "mixer", "--data", "noise")
    assert (answer.code, answer.error) == (3, "noise: has no labels to train on")
    assert run.files() == []


@pytest.mark.parametrize("command", ANALYSES)
def test_a_folder_with_files_of_others(run, networks, command):
    Path("out").mkdir()
    Path("out", "thesis.tex").write_text("years of work")
    limit = ("--limit", 64) if command in ("cka", "features", "report") else ()
    answer = run(command, networks["mlp"], "-o", "out", *limit)
    assert answer.code == 2
    assert answer.error == ("out: holds files, but no manifest of an earlier run; choose another --output, or --force")
    assert run.files() == ["out/thesis.tex"]
    answer = run(command, networks["mlp"], "-o", "out", "--force", *limit)
    assert answer.code == 0
    assert Path("out", "thesis.tex").read_text() == "years of work"
    assert Path("out", "manifest.json").exists()
    assert run(command, networks["mlp"], "-o", "out", *limit).code == 0, "an own folder may be written again"
    assert Path("out", "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("command", ANALYSES)
def test_an_output_that_is_a_file(run, networks, command):
    Path("out").write_text("years of work")
    answer = run(command, networks["mlp"], "-o", "out", "--force")
    assert (answer.code, answer.error) == (2, "out: is a file; choose another --output")
    assert Path("out").read_text() == "years of work"
    assert run.files() == ["out"]


def test_an_output_below_a_file(run, networks):
    Path("out").touch()
    answer = run("spectrum", networks["mlp"], "-o", "out/deeper/still")
    assert answer.code == 3
    assert answer.error.startswith("out")
    assert "unexpected" not in answer.error
    assert run.files() == ["out"]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_interruption(run, networks, monkeypatch, command):
    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("mixanalysis.families.loading.load_all", interrupted)
    answer = run(command, networks["mixer"])
    assert (answer.code, answer.error) == (130, "interrupted")
    assert run.files() == []


WITHIN = {
    "cka": "mixanalysis.runs.cka.cka",
    "features": "mixanalysis.runs.features.store",
    "spectrum": "mixanalysis.runs.spectra.spectrum",
    "width": "mixanalysis.runs.folder.figure",
    "report": "mixanalysis.runs.report.write_pdf",
}
"""A function that each analysis calls once its output folder is open."""


@pytest.mark.parametrize(("command", "function"), WITHIN.items())
@pytest.mark.parametrize(("failure", "code"), [(KeyboardInterrupt, 130), (OSError(28, "No space left"), 3)])
def test_nothing_half_written_stays(run, networks, monkeypatch, command, function, failure, code):
    def failing(*_arguments, **_options):
        raise failure

    module, _, name = function.rpartition(".")
    monkeypatch.setattr(importlib.import_module(module), name, failing)
    limit = ("--limit", 64) if command in ("cka", "features", "report") else ()
    answer = run(command, networks["mlp"], "-o", "out", *limit)
    assert answer.code == code
    assert answer.error
    # finished batches stay, for a run that goes on from them
    kept = [".out.resume"] if command == "report" else []
    assert [path.name for path in run.folder.iterdir()] == kept


def test_an_unexpected_error_is_one_line_unless_asked_for_more(run, networks, monkeypatch):
    def broken(*_arguments, **_options):
        raise RuntimeError("the flux\ncapacitor is cold")

    monkeypatch.setattr("mixanalysis.families.loading.load_all", broken)
    answer = run("inspect", networks["mixer"])
    assert answer.code == 1
    assert answer.error == "unexpected RuntimeError: the flux capacitor is cold; --verbose shows where"
    answer = run("inspect", networks["mixer"], "--verbose")
    assert isinstance(answer.exception, RuntimeError)
    assert answer.code == 1


def test_a_checkpoint_of_another_run_is_not_overwritten(run):
    path = checkpoint_of(NETWORKS["mixer"], run.folder / "a.safetensors")
    before = path.read_bytes()
    tiny = ("train", "mlp", "-o", "a.safetensors", "--epochs", 0, "--depth", 1, "--limit", 64)
    answer = run(*tiny)
    assert answer.code == 2
    assert answer.error == "a.safetensors: already holds another training run; choose another path, or use --force"
    assert path.read_bytes() == before
    assert run(*tiny, "--force").code == 0
    assert path.read_bytes() != before
    assert run.files() == ["a.safetensors"]
