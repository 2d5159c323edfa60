"""Families, data and ways of training, through the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mixanalysis.families.loading import load

TINY = ("--epochs", 1, "--limit", 64, "--image-size", 8)

FAMILIES = {
    "pk-mixer": (
        ("--depth", 2, "--channels", 4, "--permutations", "random,normal/none"),
        {"depth": 2, "channels": 4, "permutations": "random,normal/none", "token_hidden": 8},
    ),
    "pk-s-mixer": (
        ("--depth", 1, "--channels", 4, "--permutations", "commutation"),
        {"depth": 1, "permutations": "commutation", "token_hidden": 0},
    ),
    "monarch-mlp": (
        ("--expansion", 2, "--blocks", 4, "--activation", "gelu"),
        {"hidden": 128, "size": 64, "blocks": 4, "activation": "gelu", "skip": False},
    ),
    "kronecker-mlp": (
        ("--depth", 2, "--skip", "--width", 32),
        {"depth": 2, "skip": True, "size": 32, "activation": "relu"},
    ),
}


@pytest.mark.parametrize(("family", "case"), FAMILIES.items(), ids=FAMILIES)
def test_families(family, case, run):
    sizes, expected = case
    answer = run("train", family, *TINY, *sizes, "--json")
    assert (answer.code, answer.stderr) == (0, "")
    config = json.loads(answer.stdout)["config"]
    assert {name: config[name] for name in expected} == expected
    for command in ("inspect", "spectrum", "width"):
        result = run(command, f"checkpoints/{family}.safetensors", *(() if command == "inspect" else ("-o", command)))
        assert (result.code, result.stderr) == (0, "")
    assert run("cka", f"checkpoints/{family}.safetensors", "--limit", 64, "-o", "cka").code == 0


def test_augmentation_and_bfloat16(run):
    options = ("--channels", 4, "--depth", 1, "--augment", "auto", "--amp", "--device", "cpu")
    answer = run("train", "mixer", *TINY, *options, "--json")
    assert (answer.code, answer.stderr) == (0, "")
    record = json.loads(answer.stdout)["training"]
    assert (record["augment"], record["amp"], record["compile"]) == ("auto", True, False)


def write_cifar(folder, copies=1):
    """Two images a file, each so many times, in CIFAR-10's binary version."""
    folder.mkdir()
    records = np.random.default_rng(0).integers(0, 256, (2, 3073), dtype=np.uint8)
    for name, labels in [(f"data_batch_{number}", (number, 9)) for number in range(1, 6)] + [("test_batch", (0, 1))]:
        records[:, 0] = labels
        (folder / f"{name}.bin").write_bytes(copies * records.tobytes())


def test_files_of_the_user(run):
    write_cifar(run.folder / "cifar")
    options = ("--data", "cifar10:cifar", "--channels", 4, "--depth", 1, "--epochs", 1)
    answer = run("train", "mixer", *options)
    note = "differs from the official file: data_batch_1.bin, data_batch_2.bin, data_batch_3.bin, data_batch_4.bin, "
    assert answer.code == 0
    assert answer.stderr.startswith(f"cifar10:cifar: {note}")
    path = run.folder / "checkpoints" / "mixer.safetensors"
    assert load(path).config.input_shape == (3, 32, 32)
    assert load(path).provenance.training["data_note"].startswith(note)
    assert run("train", "mixer", *options, "--quiet", "-o", "quiet.safetensors").stderr == ""
    again = run("train", "rp-mixer", *options[:1], "cifar10/standard:cifar", *options[2:], "--image-size", 16, "-q")
    assert again.code == 0
    assert load(run.folder / "checkpoints" / "rp-mixer.safetensors").config.input_shape == (3, 16, 16)


def test_the_manifest_says_what_the_files_are(run):
    write_cifar(run.folder / "cifar", copies=4)
    options = ("--data", "cifar10:cifar", "--channels", 4, "--depth", 1, "--epochs", 1, "-q")
    assert run("train", "mixer", *options).code == 0
    answer = run("cka", "checkpoints/mixer.safetensors", "--data", "cifar10:cifar", "--batch-size", 4, "-o", "out")
    assert answer.code == 0
    data = json.loads((run.folder / "out" / "manifest.json").read_text())["data"]
    assert data["note"] == "differs from the official file: test_batch.bin"


BAD = {
    "augment": (("mixer", "--augment", "flip"), 2, "Invalid value for '--augment'"),
    "permutations": (("pk-mixer", "--permutations", "odd"), 2, "pk-mixer: permutations must be normal, none, commut"),
    "of another family": (("mixer", "--blocks", 4), 2, "--blocks doesn't apply to the family mixer"),
    "blocks": (("monarch-mlp", "--blocks", 7), 2, "monarch-mlp: 7 blocks don't divide 256 inputs; choose other --b"),
    "device": (("mixer", "--device", "cuda:99"), 2, "--device cuda:99: not available here: "),
    "files": (("mixer", "--data", "stl10:nowhere"), 3, "nowhere: no such folder; give the one that holds the files of"),
}


@pytest.mark.parametrize(("arguments", "code", "message"), BAD.values(), ids=BAD)
def test_bad_input(arguments, code, message, run):
    answer = run("train", *arguments)
    assert (answer.code, answer.error[: len(message)]) == (code, message)
    assert run.files() == []
