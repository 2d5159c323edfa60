"""Raw and averaged weights, and what trainers put around and in front of a state dict."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mixanalysis.checkpoints import open_checkpoint
from mixanalysis.errors import CheckpointError, UsageError

RAW = {"stem.weight": torch.arange(6.0).view(2, 3), "head.bias": torch.ones(2)}
EMA = {name: value + 10 for name, value in RAW.items()}


def prefixed(prefix, state=RAW):
    return {prefix + name: value for name, value in state.items()}


def lightning(state, **beside):
    return {"epoch": 1, "pytorch-lightning_version": "2.6.1", "state_dict": state, "callbacks": {}, **beside}


TWO_KINDS = {
    "timm": ({"arch": "mixer", "state_dict": RAW, "state_dict_ema": EMA}, "state_dict_ema", "state_dict"),
    "model_ema": ({"model": RAW, "model_ema": EMA}, "model_ema", "model"),
    "ema_state_dict": ({"state_dict": RAW, "ema_state_dict": EMA}, "ema_state_dict", "state_dict"),
    "params_ema": ({"params": RAW, "params_ema": EMA}, "params_ema", "params"),
    "ema.module": ({"model": RAW, "ema": {"module": EMA, "updates": 3}}, "ema > module", "model"),
    "ema.shadow": ({"model": RAW, "ema": {"decay": 0.9, "shadow": EMA}}, "ema > shadow", "model"),
    "mmengine": (
        {"state_dict": EMA, "ema_state_dict": {**prefixed("module."), "steps": torch.tensor(3)}},
        "state_dict",
        "ema_state_dict > module.",
    ),
    "prefixes of ema-pytorch": (
        {"step": 3, **prefixed("online_model."), **prefixed("ema_model.", EMA), "initted": torch.tensor([True])},
        "ema_model.",
        "online_model.",
    ),
    "prefixes in a wrapper": (
        {"state_dict": {**prefixed("model."), **prefixed("model_ema.", EMA)}},
        "state_dict > model_ema.",
        "state_dict > model.",
    ),
    "lightning": (
        lightning(prefixed("model.", EMA), current_model_state=prefixed("model.")),
        "state_dict > model.",
        "current_model_state > model.",
    ),
}
"""Content of a file with raw and averaged weights, and how each kind is wrapped."""


@pytest.mark.parametrize(("content", "averaged", "raw"), TWO_KINDS.values(), ids=TWO_KINDS)
@pytest.mark.parametrize("weights", ["auto", "raw", "ema"])
def test_averaged_weights_are_taken_unless_raw_ones_are_asked_for(tmp_path, content, averaged, raw, weights):
    torch.save(content, tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt", weights)
    expected, kind, other = (RAW, "raw", "averaged") if weights == "raw" else (EMA, "averaged", "raw")
    assert checkpoint.names == tuple(RAW)
    assert all(torch.equal(checkpoint.tensor(name), value) for name, value in expected.items())
    assert checkpoint.wrapper.startswith(
        f"{raw if weights == 'raw' else averaged} ({kind} weights; the {other} ones are in "
    )
    again = pickle.loads(pickle.dumps(checkpoint))
    assert (again.weights, again.wrapper) == (weights, checkpoint.wrapper)
    assert all(torch.equal(again.tensor(name), value) for name, value in expected.items())


def test_the_other_kind_is_listed_as_ignored(tmp_path):
    torch.save(TWO_KINDS["timm"][0], tmp_path / "a.pt")
    assert open_checkpoint(tmp_path / "a.pt").ignored == ("arch", "state_dict")
    assert open_checkpoint(tmp_path / "a.pt", "raw").ignored == ("arch", "state_dict_ema")


def test_a_table_of_tensors_with_an_average_beside_them(tmp_path):
    torch.save({**RAW, "ema": EMA}, tmp_path / "a.pt")
    assert torch.equal(open_checkpoint(tmp_path / "a.pt").tensor("head.bias"), EMA["head.bias"])
    raw = open_checkpoint(tmp_path / "a.pt", "raw")
    assert torch.equal(raw.tensor("head.bias"), RAW["head.bias"])
    assert raw.wrapper == "none (raw weights; the averaged ones are in ema)"


def test_one_kind_of_weights_alone(tmp_path):
    torch.save({"state_dict": RAW}, tmp_path / "raw.pt")
    torch.save({"state_dict_ema": EMA}, tmp_path / "ema.pt")
    assert open_checkpoint(tmp_path / "raw.pt", "raw").wrapper == "state_dict"
    assert open_checkpoint(tmp_path / "ema.pt", "ema").wrapper == "state_dict_ema (averaged weights)"
    with pytest.raises(CheckpointError, match=r"raw\.pt: holds no averaged weights, or doesn't say that they are"):
        open_checkpoint(tmp_path / "raw.pt", "ema")
    with pytest.raises(CheckpointError, match=r"ema\.pt: holds averaged weights alone; leave weights at 'auto'"):
        open_checkpoint(tmp_path / "ema.pt", "raw")
    with pytest.raises(UsageError, match="weights must be one of auto, raw, ema, got 'both'"):
        open_checkpoint(tmp_path / "raw.pt", "both")


@pytest.mark.parametrize("kind", [None, get_ema_multi_avg_fn(0.5)], ids=["swa", "ema"])
def test_an_averaged_model_of_torch(tmp_path, kind):
    torch.manual_seed(0)
    module = nn.Linear(2, 2)
    averaged = AveragedModel(module, multi_avg_fn=kind)
    for _ in range(2):
        with torch.no_grad():
            module.weight += 1
        averaged.update_parameters(module)
    torch.save({"state_dict": averaged.state_dict()}, tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert checkpoint.names == ("weight", "bias")
    assert checkpoint.wrapper == "state_dict > AveragedModel > module. (averaged weights)"
    assert checkpoint.ignored == ("n_averaged",)
    assert torch.equal(checkpoint.tensor("weight"), averaged.module.weight)
    assert not torch.equal(checkpoint.tensor("weight"), module.weight)


NESTED = {
    "composer": (
        {"state": {"model": prefixed("module.model."), "run_name": "a"}, "rng": []},
        "state > model > module. > model.",
    ),
    "lightning": (lightning({**prefixed("model."), "criterion.weight": torch.ones(3)}), "state_dict > model."),
    "lightning, any attribute": (lightning(prefixed("mixer.")), "state_dict > mixer."),
    "lightning, compiled": (lightning(prefixed("model._orig_mod.")), "state_dict > _orig_mod. > model."),
    "lightning, its own buffer": (lightning({**prefixed("net."), "class_weights": torch.ones(3)}), "state_dict > net."),
    "lightning, DDP within": (lightning(prefixed("model.module.")), "state_dict > model. > module."),
    "lightning, metrics": (
        lightning({**prefixed("model."), "train_acc.total": torch.ones(1), "val_loss.sum": torch.ones(1)}),
        "state_dict > model.",
    ),
    "attribute": (prefixed("network."), "network."),
    "attribute in DDP": (prefixed("module.model."), "module. > model."),
    "DDP in an attribute": (prefixed("model.module."), "model. > module."),
    "deepspeed": ({"module": prefixed("module.model."), "ds_version": "0.1"}, "module > module. > model."),
}


@pytest.mark.parametrize(("content", "wrapper"), NESTED.values(), ids=NESTED)
def test_prefixes_come_off_in_any_order(tmp_path, content, wrapper):
    torch.save(content, tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert (checkpoint.names, checkpoint.wrapper) == (tuple(RAW), wrapper)
    strays = {name for name in content.get("state_dict", {}) if not name.endswith(tuple(RAW))}
    assert strays <= set(checkpoint.ignored)


KEPT = {
    "two networks": {"model.a": torch.ones(1), "head.b": torch.ones(1)},
    "numbers": {"0.weight": torch.ones(1), "0.bias": torch.ones(1)},
    "a name of its own": {"layers.fc.weight": torch.ones(1), "layers.cl.weight": torch.ones(1)},
    "module. of some": {"module.a": torch.ones(1), "b": torch.ones(1)},
    "no dot": {"model": torch.ones(1), "net": torch.ones(1)},
    "words that contain others": {"model.a": torch.ones(1), "accumulate.b": torch.ones(1), "lossless.c": torch.ones(1)},
}


@pytest.mark.parametrize("state", KEPT.values(), ids=KEPT)
def test_names_that_only_look_wrapped_are_kept(tmp_path, state):
    torch.save(state, tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert (checkpoint.names, checkpoint.wrapper) == (tuple(state), "none")


def test_two_tensors_that_would_have_one_name(tmp_path):
    torch.save({"a._orig_mod.weight": torch.ones(1), "a.weight": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(
        CheckpointError, match=r"two tensors have the name a\.weight once the prefixes of wrappers are off"
    ):
        open_checkpoint(tmp_path / "a.pt")


def test_a_name_of_prefixes_alone_ends(tmp_path):
    torch.save({"module." * 100_000 + "weight": torch.ones(1)}, tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert len(checkpoint.names[0]) > 600_000
    assert checkpoint.wrapper.count("module.") == 16


def test_tables_that_hold_each_other_end(tmp_path):
    inner = {"epoch": 1}
    for key in ("model", "state_dict", "ema", "net", "module"):
        inner[key] = inner
    torch.save({"model": inner}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="holds no table of named tensors; found dict with keys model"):
        open_checkpoint(tmp_path / "a.pt")


ARRAYS = {
    "flat": ("", "none"),
    "optax": ("params/", "params/"),
    "flax.optim": ("opt/target/", "opt/target/"),
}


@pytest.mark.parametrize(("prefix", "wrapper"), ARRAYS.values(), ids=ARRAYS)
def test_arrays_of_a_whole_training_state(tmp_path, prefix, wrapper):
    arrays = {f"{prefix}stem/kernel": np.ones((2, 3)), f"{prefix}head/bias": np.arange(2.0)}
    extra = {"opt/state/step": np.array(3), "extra/rng": np.ones(2)} if prefix else {}
    np.savez(tmp_path / "a.npz", **arrays, **extra)
    checkpoint = open_checkpoint(tmp_path / "a.npz")
    assert (checkpoint.names, checkpoint.wrapper) == (("stem/kernel", "head/bias"), wrapper)
    assert checkpoint.ignored == tuple(extra)
    assert checkpoint.tensor("head/bias").tolist() == [0, 1]


def test_numpy_scalars_and_namespaces_beside_weights_are_plain(tmp_path):
    beside = {"metric": np.float64(0.5), "step": np.int64(3), "best": np.bool_(True), "half": np.float16(1)}
    torch.save({"state_dict": RAW, **beside}, tmp_path / "a.pt")
    assert open_checkpoint(tmp_path / "a.pt").ignored == tuple(beside)
