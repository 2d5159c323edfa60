"""Names on the hub: what they mean, what is fetched, and what is said where that fails; no test needs a network."""

from __future__ import annotations

import json
import pickle
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from mixanalysis.checkpoints import hub, open_checkpoint
from mixanalysis.errors import CheckpointError, UsageError
from mixanalysis.families.loading import load_all
from mixanalysis_cli.app import app

STATE = {"fc.weight": torch.arange(6.0).view(2, 3)}
COMMIT = "0123456789abcdef0123456789abcdef01234567"

NAMES = {
    "hf://timm/mixer_b16_224.goog_in21k": ("timm/mixer_b16_224.goog_in21k", None, None),
    "hf://a/b@v1.0": ("a/b", "v1.0", None),
    "hf://a/b@refs%2Fpr%2F1/x.npz": ("a/b", "refs/pr/1", "x.npz"),
    "hf://a/b/sub/x.safetensors": ("a/b", None, "sub/x.safetensors"),
}


@pytest.mark.parametrize(("text", "parts"), NAMES.items(), ids=NAMES)
def test_names_are_taken_apart_and_print_as_they_were_given(text, parts):
    name = hub.parse(text)
    assert name == parts
    assert str(name.path) == text
    assert hub.parse(name.path) == name
    assert hub.parse(Path(text)) == name  # one slash is lost
    assert str(pickle.loads(pickle.dumps(name.path))) == text


BAD = [
    "hf://a",
    "hf:///b",
    "hf://a/b@",
    "hf://a/b/",
    "hf://a/b/../c",
    "hf://a/b/./c",
    "hf://a/b//c",
    "hf://a/b/c\\d",
    "hf://../b",
]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_name_is_refused(text):
    with pytest.raises(UsageError, match=r"expected hf://owner/name\[@revision\]\[/file\], got hf:/"):
        open_checkpoint(text)


def test_paths_are_no_names():
    assert hub.parse("models/hf") is None
    assert hub.parse(Path("hf.safetensors")) is None


@pytest.fixture
def hubs(monkeypatch, tmp_path):
    """A module in the place of huggingface_hub, whose hub is a folder; the names that are asked for are listed."""
    root, asked = tmp_path / "hub", []

    class EntryNotFoundError(Exception):
        pass

    def hf_hub_download(repo_id, filename, revision):
        asked.append((repo_id, filename, revision))
        folder = root / repo_id
        if not folder.is_dir():
            raise ConnectionError(f"404 Client Error: no {repo_id}\nand much more")
        if not (folder / filename).is_file():
            raise EntryNotFoundError(filename)
        return str(folder / filename)

    module, errors = types.ModuleType("huggingface_hub"), types.ModuleType("huggingface_hub.errors")
    module.hf_hub_download, errors.EntryNotFoundError, module.errors = hf_hub_download, EntryNotFoundError, errors
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    folder = root / "timm" / "mixer.in1k"
    folder.mkdir(parents=True)
    return types.SimpleNamespace(folder=folder, asked=asked)


def test_a_repository_is_fetched_and_opened(hubs):
    save_file(STATE, hubs.folder / "model.safetensors")
    (hubs.folder / "config.json").write_text(json.dumps({"num_classes": 3}))
    checkpoint = open_checkpoint("hf://timm/mixer.in1k@main")
    assert hubs.asked == [("timm/mixer.in1k", file, "main") for file in ("model.safetensors", "config.json")]
    assert str(checkpoint.path) == "hf://timm/mixer.in1k@main"
    assert json.loads(checkpoint.metadata["config.json"]) == {"num_classes": 3}
    for opened in (checkpoint, pickle.loads(pickle.dumps(checkpoint))):
        assert torch.equal(opened.tensor("fc.weight"), STATE["fc.weight"])
    assert checkpoint.sha256 == open_checkpoint(hubs.folder).sha256


def test_shards_are_fetched(hubs):
    shards = {"fc.weight": "model-1.safetensors", "fc.bias": "model-2.safetensors"}
    save_file(STATE, hubs.folder / "model-1.safetensors")
    save_file({"fc.bias": torch.ones(2)}, hubs.folder / "model-2.safetensors")
    (hubs.folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert open_checkpoint("hf://timm/mixer.in1k").names == ("fc.weight", "fc.bias")
    assert {file for _, file, _ in hubs.asked} >= set(shards.values())
    (hubs.folder / "model-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"hf://timm/mixer\.in1k: lists model-2\.safetensors, which is not there"):
        open_checkpoint("hf://timm/mixer.in1k")


def test_a_file_is_fetched_by_its_name(hubs):
    (hubs.folder / "sub").mkdir()
    torch.save(STATE, hubs.folder / "sub" / "a.pt")
    checkpoint = open_checkpoint("hf://timm/mixer.in1k/sub/a.pt")
    assert (checkpoint.names, checkpoint.path.name) == (("fc.weight",), "a.pt")
    with pytest.raises(
        CheckpointError, match=r"hf://timm/mixer\.in1k/b\.pt: there is no such file in the repository, or"
    ):
        open_checkpoint("hf://timm/mixer.in1k/b.pt")


def test_what_the_hub_refuses_is_told(hubs):
    with pytest.raises(CheckpointError, match=r"hf://a/b: can't be fetched: 404 Client Error: no a/b$"):
        open_checkpoint("hf://a/b")
    with pytest.raises(
        CheckpointError, match=r"the repository \(or, offline, the cache\) has none of model\.safetensors, "
    ):
        open_checkpoint("hf://timm/mixer.in1k")


def test_without_the_package_the_next_step_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        CheckpointError,
        match=r"hf://a/b: names on the hub need the package huggingface_hub; python -m pip install 'hugg",
    ):
        open_checkpoint("hf://a/b")


def test_labels_and_commands_show_the_name(hubs):
    save_file(STATE, hubs.folder / "model.safetensors")
    networks = load_all(["hf://timm/mixer.in1k", "hf://timm/mixer.in1k"], weights_only=True)
    assert [network.label for network in networks] == ["timm/mixer.in1k", "timm/mixer.in1k (2)"]
    answer = CliRunner().invoke(app, ["inspect", "hf://timm/mixer.in1k", "--json"])
    assert answer.exit_code == 0
    (described,) = json.loads(answer.stdout)
    assert described["path"] == "hf://timm/mixer.in1k"


def test_the_cache_is_read_without_a_network(tmp_path):
    """With the package itself, in a process of its own because it reads its settings once."""
    pytest.importorskip("huggingface_hub")
    import os
    import subprocess

    repository = tmp_path / "models--timm--mixer.in1k"
    for folder in ("blobs", "refs", f"snapshots/{COMMIT}", f".no_exist/{COMMIT}"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    save_file(STATE, repository / "blobs" / "abcd")
    (repository / "snapshots" / COMMIT / "model.safetensors").symlink_to("../../blobs/abcd")
    code = """
from mixanalysis.checkpoints import open_checkpoint
from mixanalysis.errors import CheckpointError
print(open_checkpoint("hf://timm/mixer.in1k").names, open_checkpoint("hf://timm/mixer.in1k@main/model.safetensors").names)
for name in ("hf://timm/mixer.in1k@v2", "hf://a/b", "hf://timm/mixer.in1k/other.pt"):
    try:
        open_checkpoint(name)
    except CheckpointError as error:
        print(error)
"""
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    first, *others = answer.stdout.splitlines()
    assert first == "('fc.weight',) ('fc.weight',)"
    assert [line.partition(": ")[0] for line in others] == [
        "hf://timm/mixer.in1k@v2",
        "hf://a/b",
        "hf://timm/mixer.in1k/other.pt",
    ]
    assert all("the cache" in line for line in others)
