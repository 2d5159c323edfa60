"""The ways in which torch.save wraps weights, and torch.nn.utils.prune masks them, all give the same tensors."""

from __future__ import annotations

import argparse
import collections
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

from mixanalysis.checkpoints import open_checkpoint
from mixanalysis.errors import CheckpointError

STATE = {
    "stem.weight": torch.arange(6.0).view(2, 3),
    "blocks.0.fc.weight": torch.tensor([[1.5, -2.0]], dtype=torch.float64),
    "blocks.0.fc.bias": torch.tensor([3], dtype=torch.int64),
}


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in STATE.items()}


CONTENT = {
    "plain": (STATE, "none", ()),
    "ordered": (collections.OrderedDict(STATE), "none", ()),
    "state_dict": ({"state_dict": STATE, "epoch": 3}, "state_dict", ("epoch",)),
    "model": ({"optimizer": {"state": {}}, "model": STATE}, "model", ("optimizer",)),
    "model_state_dict": (
        {"epoch": 2, "model_state_dict": STATE, "loss": 0.5},
        "model_state_dict",
        ("epoch", "loss"),
    ),
    "net": ({"net": STATE, "acc": 93.1}, "net", ("acc",)),
    "twice": ({"state_dict": {"model": STATE, "n": 1}, "epoch": 3}, "state_dict > model", ("epoch", "n")),
    "tensor beside": ({"state_dict": STATE, "best_acc1": torch.tensor(93.1)}, "state_dict", ("best_acc1",)),
    "hyper-parameters beside": ({"params": {"lr": 0.1}, **STATE}, "none", ("params",)),
    "values beside": ({**STATE, "epoch": 3, "name": "a"}, "none", ("epoch", "name")),
    "first of two": ({"model": {"a": torch.ones(1)}, "state_dict": STATE}, "state_dict", ("model",)),
    "module.": (prefixed("module."), "module.", ()),
    "_orig_mod.": (prefixed("_orig_mod."), "_orig_mod.", ()),
    "module._orig_mod.": (prefixed("module._orig_mod."), "_orig_mod. > module.", ()),
    "_orig_mod.module.": (prefixed("_orig_mod.module."), "_orig_mod. > module.", ()),
    "module. twice": (prefixed("module.module."), "module. > module.", ()),
    "prefix and values": ({**prefixed("module."), "epoch": 3}, "module.", ("epoch",)),
    "nested and prefixed": ({"state_dict": prefixed("module._orig_mod.")}, "state_dict > _orig_mod. > module.", ()),
    "one block compiled": (
        {name.replace("blocks.0.", "blocks.0._orig_mod."): value for name, value in STATE.items()},
        "_orig_mod.",
        (),
    ),
    "namespace beside": (
        {"state_dict": STATE, "args": argparse.Namespace(lr=0.1, opt="sgd")},
        "state_dict",
        ("args",),
    ),
}
"""Content of a file, how it was wrapped, and what stood beside the weights."""


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
@pytest.mark.parametrize(("content", "wrapper", "ignored"), CONTENT.values(), ids=CONTENT)
def test_wrapped_weights_are_found(tmp_path, content, wrapper, ignored, zipped):
    path = tmp_path / "a.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    checkpoint = open_checkpoint(path)
    assert checkpoint.format == ("torch (zip)" if zipped else "torch (pickle stream)")
    assert (checkpoint.wrapper, checkpoint.ignored) == (wrapper, ignored)
    assert checkpoint.metadata == {}
    assert checkpoint.names == tuple(STATE)
    for name, value in STATE.items():
        assert checkpoint.dtype(name) == value.dtype
        assert checkpoint.shape(name) == tuple(value.shape)
        assert checkpoint.connections(name) == value.numel()
        assert checkpoint.support(name) is None
        assert not checkpoint.masked(name)
        assert torch.equal(checkpoint.tensor(name), value)


def test_module_is_kept_where_not_all_names_begin_with_it(tmp_path):
    torch.save({"module.a": torch.ones(1), "head.b": torch.ones(1)}, tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert (checkpoint.names, checkpoint.wrapper) == (("module.a", "head.b"), "none")


def test_a_file_of_torch_data_parallel(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    torch.save({"model": nn.DataParallel(module).state_dict()}, tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert checkpoint.wrapper == "model > module."
    assert checkpoint.names == tuple(module.state_dict())
    assert torch.equal(checkpoint.tensor("0.weight"), module[0].weight)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
def test_the_ending_does_not_matter(tmp_path, zipped):
    path = tmp_path / "a.safetensors"
    torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
    assert torch.equal(open_checkpoint(path).tensor("stem.weight"), STATE["stem.weight"])


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
def test_torch_files_are_mapped_and_never_unpickled(tmp_path, monkeypatch, zipped):
    torch.save(STATE, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.delattr(module, name)
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    addresses = {checkpoint.tensor("blocks.0.fc.weight").data_ptr() for _ in range(3)}
    assert torch.equal(checkpoint.tensor("stem.weight"), STATE["stem.weight"])
    assert not zipped or len(addresses) == 1


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_zip_files_of_any_pickle_protocol(tmp_path, protocol):
    torch.save({"state_dict": STATE, "epoch": 2**70, "note": b"\xff"}, tmp_path / "a.pt", pickle_protocol=protocol)
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert checkpoint.ignored == ("epoch", "note")
    assert torch.equal(checkpoint.tensor("stem.weight"), STATE["stem.weight"])


def test_files_of_a_gpu_open_on_the_cpu(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda _storage: "cuda:0")
        torch.save({"weight": torch.ones(2, 2)}, tmp_path / "a.pt")
    assert b"cuda:0" in (tmp_path / "a.pt").read_bytes()
    assert open_checkpoint(tmp_path / "a.pt").tensor("weight").device.type == "cpu"


def pruned() -> nn.Sequential:
    """A convolution and two linear layers; the pruning is torch's own."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Linear(6, 5), nn.Linear(5, 2))
    prune.random_unstructured(module[0], "weight", amount=0.5)
    prune.l1_unstructured(module[1], "weight", amount=0.4)
    prune.random_unstructured(module[1], "bias", amount=2)
    return module


def test_pruned_weights_are_their_product_with_the_mask(tmp_path):
    module = pruned()
    torch.save(module.state_dict(), tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert sorted(checkpoint.names) == ["0.bias", "0.weight", "1.bias", "1.weight", "2.bias", "2.weight"]
    for index, part in ((0, "weight"), (1, "weight"), (1, "bias"), (2, "weight")):
        name, effective = f"{index}.{part}", getattr(module[index], part)
        assert torch.equal(checkpoint.tensor(name), effective)
        assert checkpoint.shape(name) == tuple(effective.shape)
        assert checkpoint.dtype(name) == torch.float32
        assert checkpoint.masked(name) == (index < 2)
    assert checkpoint.connections("1.weight") == 18
    assert checkpoint.connections("1.bias") == 3
    assert checkpoint.connections("2.weight") == 10


def test_a_pruned_matrix_has_its_connections_even_where_they_are_zero(tmp_path):
    module = pruned()
    mask = module[1].weight_mask.bool()
    with torch.no_grad():
        module[1].weight_orig[:2] = 0
    torch.save(module.state_dict(), tmp_path / "a.pt")
    support = open_checkpoint(tmp_path / "a.pt").support("1.weight")
    assert torch.equal(torch.stack([support.rows, support.columns], dim=1), mask.nonzero())
    assert torch.equal(support.values, module[1].weight_orig[mask])
    assert (support.values == 0).any()


def test_a_pruned_tensor_that_is_no_matrix_has_no_support(tmp_path):
    torch.save(pruned().state_dict(), tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert checkpoint.support("0.weight") is None
    assert checkpoint.support("1.bias") is None


def test_names_that_only_look_like_a_pair_or_a_sparse_weight_are_plain(tmp_path):
    state = {"a_orig": torch.ones(2), "b_mask": torch.ones(2), "c.values": torch.ones(2), "c.shape": torch.ones(2)}
    save_file(state, tmp_path / "a.safetensors")
    assert sorted(open_checkpoint(tmp_path / "a.safetensors").names) == sorted(state)


def test_a_mask_of_another_shape_is_refused(tmp_path):
    state = pruned().state_dict() | {"1.weight_mask": torch.ones(5, 5)}
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(
        CheckpointError, match=r"1\.weight_mask and 1\.weight_orig differ in shape: \(5, 5\) and \(5, 6"
    ):
        open_checkpoint(tmp_path / "a.pt").tensor("1.weight")
