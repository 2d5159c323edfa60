"""Folders, shards, archives and arrays: each as its own library writes it."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch import nn
from torch.distributed.checkpoint.filesystem import _StorageInfo as StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from mixanalysis.checkpoints import open_checkpoint
from mixanalysis.errors import CheckpointError

STATE = {
    "stem.weight": torch.arange(12.0).view(3, 4),
    "stem.bias": torch.ones(3, dtype=torch.bfloat16),
    "head.weight": torch.tensor([[1.5, -2.0, 0.25]], dtype=torch.float64),
    "step": torch.tensor(3),
}
CONFIG = {"architecture": "mixer_s32_224", "num_classes": 7}


def same(checkpoint, state=None) -> bool:
    state = STATE if state is None else state
    return set(checkpoint.names) == set(state) and all(
        checkpoint.dtype(name) == value.dtype
        and checkpoint.shape(name) == tuple(value.shape)
        and torch.equal(checkpoint.tensor(name), value)
        for name, value in state.items()
    )


def sharded(folder, ending, write):
    names = list(STATE)
    stem, suffix = ("model", "safetensors") if ending == "safetensors" else ("pytorch_model", "bin")
    shards = [f"{stem}-0000{i}-of-00002.{suffix}" for i in (1, 2)]
    weight_map = {name: shards[i % 2] for i, name in enumerate(names)}
    for shard in shards:
        write({name: STATE[name] for name in names if weight_map[name] == shard}, folder / shard)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


def hugging_face_trainer(folder):
    save_file(STATE, folder / "model.safetensors", metadata={"format": "pt"})
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"state": {"a": torch.ones(1)}}, folder / name)
    (folder / "training_args.bin").write_bytes(pickle.dumps(CONFIG))
    (folder / "trainer_state.json").write_text("{}")


def timm_hub(folder):
    save_file(STATE, folder / "model.safetensors")
    torch.save(STATE, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(CONFIG))


def deepspeed(folder):
    (folder / "step_10").mkdir()
    (folder / "latest").write_text("step_10\n")
    state = {f"module.model.{name}": value for name, value in STATE.items()}
    torch.save({"module": state, "ds_version": "0.1"}, folder / "step_10" / "mp_rank_00_model_states.pt")


def distributed(folder, state=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = {"model": STATE if state is None else state, "optimizer": {"lr": 0.1}, "epoch": 3}
        dcp.save(content, checkpoint_id=folder, no_dist=True)


FOLDERS = {
    "safetensors alone": (lambda folder: save_file(STATE, folder / "last.safetensors"), "safetensors", "none"),
    "trainer": (hugging_face_trainer, "safetensors", "none"),
    "timm hub": (timm_hub, "safetensors", "none"),
    "torch alone": (lambda folder: torch.save({"net": STATE}, folder / "best.pth.tar"), "torch (zip)", "net"),
    "beside an optimizer": (
        lambda folder: (torch.save(STATE, folder / "a.pt"), torch.save({}, folder / "optimizer.pt")),
        "torch (zip)",
        "none",
    ),
    "safetensors shards": (lambda folder: sharded(folder, "safetensors", save_file), "safetensors, 2 shards", "none"),
    "torch shards": (lambda folder: sharded(folder, "bin", torch.save), "torch (zip), 2 shards", "none"),
    "deepspeed": (deepspeed, "DeepSpeed, torch (zip)", "step_10 > module > module. > model."),
    "distributed": (distributed, "torch.distributed.checkpoint folder", "model"),
}
"""What makes a folder, its format, and how the weights in it are wrapped."""


@pytest.mark.parametrize(("make", "kind", "wrapper"), FOLDERS.values(), ids=FOLDERS)
def test_the_checkpoint_of_a_folder_is_found(tmp_path, make, kind, wrapper):
    make(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    assert (checkpoint.format, checkpoint.wrapper, checkpoint.path) == (kind, wrapper, tmp_path)
    assert same(checkpoint)
    assert same(pickle.loads(pickle.dumps(checkpoint)))
    assert len(checkpoint.sha256) == 64


def test_the_config_of_a_folder_is_metadata(tmp_path):
    timm_hub(tmp_path)
    assert json.loads(open_checkpoint(tmp_path).metadata["config.json"]) == CONFIG
    assert open_checkpoint(tmp_path / "model.safetensors").metadata == {}


def test_the_digest_of_a_folder_is_that_of_the_files_that_were_read(tmp_path):
    index = sharded(tmp_path, "safetensors", save_file)
    (tmp_path / "notes.txt").write_text("not read")
    files = [index, tmp_path / "model-00001-of-00002.safetensors", tmp_path / "model-00002-of-00002.safetensors"]
    lines = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    expected = hashlib.sha256(lines.encode()).hexdigest()
    assert open_checkpoint(tmp_path).sha256 == open_checkpoint(index).sha256 == expected


def several(folder):
    for name in ("a.pt", "b.pt"):
        torch.save(STATE, folder / name)


def two_ranks(folder):
    for rank in ("00", "01"):
        torch.save({"module": STATE}, folder / f"mp_rank_{rank}_model_states.pt")


def index_of(weight_map):
    return lambda folder: (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def link_out(folder):
    outside = folder.parent / "outside.safetensors"
    save_file(STATE, outside)
    (folder / "model.safetensors").symlink_to(outside)


def link_circle(folder):
    (folder / "a.safetensors").symlink_to(folder / "a.safetensors")


def deepspeed_to(tag):
    return lambda folder: (folder / "latest").write_text(tag)


BAD_FOLDERS = {
    "several": (
        several,
        r"several checkpoints \(a\.pt, b\.pt\); give the path of one of them, or .*/\* where a command takes several",
    ),
    "none": (
        lambda folder: (folder / "x.txt").touch(),
        r"is a folder without a checkpoint \(it has x\.txt\); give the",
    ),
    "optimizer alone": (lambda folder: torch.save({}, folder / "optimizer.pt"), r"without a checkpoint \(it has optim"),
    "two ranks": (two_ranks, "holds the model states of 2 model-parallel ranks, expected one"),
    "tag with a path": (deepspeed_to("../other"), r"names '\.\./other', which is no file of its folder"),
    "tag of itself": (deepspeed_to("."), r"names '\.', which is no file of its folder"),
    "no tag": (deepspeed_to("step_3"), "can't be read: No such file"),
    "shard elsewhere": (index_of({"a": "../a.safetensors"}), r"names '\.\./a\.safetensors', which is no file of its"),
    "shard by a full path": (index_of({"a": "/etc/passwd"}), "names '/etc/passwd', which is no file of its folder"),
    "shard missing": (index_of({"a": "b.safetensors"}), r"b\.safetensors: no such file"),
    "no weight map": (index_of([]), "not an index of shards: it lacks a weight_map of file names"),
    "map to numbers": (index_of({"a": 3}), "not an index of shards: it lacks a weight_map of file names"),
    "link out": (link_out, r"model\.safetensors is a link out of the folder, which isn't followed; give the path"),
    "link in a circle": (link_circle, r"a\.safetensors is a link that leads nowhere|can't be read: Too many levels"),
}
"""What makes a folder, and what is said about it."""


@pytest.mark.parametrize(("make", "match"), BAD_FOLDERS.values(), ids=BAD_FOLDERS)
def test_folders_that_are_no_checkpoint_are_refused(tmp_path, make, match):
    folder = tmp_path / "folder"
    folder.mkdir()
    make(folder)
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(folder)


def test_weights_that_are_spread_over_ranks_are_refused(tmp_path):
    (tmp_path / "latest").write_text("step_3")
    (tmp_path / "step_3").mkdir()
    (tmp_path / "step_3" / "zero_pp_rank_0_mp_rank_00_model_states.pt").touch()
    with pytest.raises(
        CheckpointError, match=r"spread over ranks \(ZeRO stage 3\); gather them with DeepSpeed's zero_to"
    ):
        open_checkpoint(tmp_path)


def test_a_tensor_that_its_shard_lacks(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "x.safetensors")
    index_of({"a": "x.safetensors", "b": "x.safetensors"})(tmp_path)
    with pytest.raises(CheckpointError, match=r"lists b in x\.safetensors, which doesn't hold it"):
        open_checkpoint(tmp_path)


JSON = {
    "damaged": ('{"weight_map": ', "not readable JSON"),
    "a list": ("[]", "not a JSON table"),
    "deep": ("[" * 100_000, "not readable JSON"),
    "huge": (" " * (2 * 2**20 + 1), "is larger than 2 MiB, which no sound one is"),
    "not text": ("\ud800", "not readable JSON"),
}


@pytest.mark.parametrize(("text", "match"), JSON.values(), ids=JSON)
@pytest.mark.parametrize("name", ["model.safetensors.index.json", "config.json"])
def test_damaged_json_is_refused(tmp_path, text, match, name):
    if name == "config.json":
        save_file(STATE, tmp_path / "model.safetensors")
    (tmp_path / name).write_text(text, errors="surrogatepass")
    with pytest.raises(CheckpointError, match=rf"{name}: {match}"):
        open_checkpoint(tmp_path)


def test_an_index_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"a\.index\.json: no such file; give the path of a checkpoint"):
        open_checkpoint(tmp_path / "a.index.json")


def test_links_into_the_cache_of_the_hub_are_followed(tmp_path):
    repository = tmp_path / "models--a--b"
    (repository / "blobs").mkdir(parents=True)
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    save_file(STATE, repository / "blobs" / "abcd")
    (snapshot / "model.safetensors").symlink_to(Path("../../blobs/abcd"))
    assert same(open_checkpoint(snapshot))


# torch.distributed.checkpoint


def test_a_tensor_in_parts_is_put_together(tmp_path):
    whole = torch.arange(20.0).view(5, 4)
    cuts = {(0, 0): whole[:2], (2, 0): whole[2:, :3], (2, 3): whole[2:, 3:]}
    places, chunks = {}, []
    with (tmp_path / "__0_0.distcp").open("wb") as file:
        for i, (offsets, part) in enumerate(cuts.items()):
            start = file.tell()
            torch.save(part.clone(), file)
            info = StorageInfo("__0_0.distcp", start, file.tell() - start)
            places[MetadataIndex("model.a", torch.Size(offsets), i)] = info
            chunks.append(ChunkStorageMetadata(torch.Size(offsets), part.shape))
    described = TensorStorageMetadata(TensorProperties(torch.float32), whole.shape, chunks)
    metadata = Metadata({"model.a": described}, {"model.a": ("model", "a")}, places)
    (tmp_path / ".metadata").write_bytes(pickle.dumps(metadata))
    checkpoint = open_checkpoint(tmp_path)
    assert (checkpoint.wrapper, checkpoint.shape("a")) == ("model", (5, 4))
    assert torch.equal(checkpoint.tensor("a"), whole)


def test_tables_beside_the_model_are_listed(tmp_path):
    distributed(tmp_path)
    assert open_checkpoint(tmp_path).ignored == ("optimizer", "epoch")


def test_code_in_the_description_is_refused_and_not_run(tmp_path):
    distributed(tmp_path)

    class MakesAFolder:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    (tmp_path / ".metadata").write_bytes(pickle.dumps(MakesAFolder()))
    match = rf"its \.metadata names what isn't plain data \({os.mkdir.__module__}\.mkdir\); if you trust it, convert it"
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(tmp_path)
    assert not (tmp_path / "made").exists()


def rewritten(folder, change):
    metadata = dcp.FileSystemReader(folder).read_metadata()
    change(metadata)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


def set_place(field, value):
    def change(metadata):
        for info in metadata.storage_data.values():
            setattr(info, field, value)

    return change


def set_size(size):
    def change(metadata):
        metadata.state_dict_metadata["model.stem.weight"].size = size

    return change


def set_chunk(field, value):
    def change(metadata):
        setattr(metadata.state_dict_metadata["model.stem.weight"].chunks[0], field, value)

    return change


def set_chunks(value):
    def change(metadata):
        metadata.state_dict_metadata["model.stem.weight"].chunks = value

    return change


class Properties:
    """Pickles as the properties of a tensor with a state of its own."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        return TensorProperties, (), self.state


def set_properties(state):
    def change(metadata):
        metadata.state_dict_metadata["model.stem.weight"].properties = Properties(state)

    return change


DAMAGE = {
    "file elsewhere": (set_place("relative_path", "../x"), r"names '\.\./x', which is no file of its folder"),
    "file missing": (set_place("relative_path", "x"), "it lacks x"),
    "beyond the file": (set_place("length", 10**9), "reaches outside of __0_0.distcp"),
    "before the file": (set_place("offset", -5), "reaches outside of __0_0.distcp"),
    "compressed": (set_place("transform_descriptors", ["zstd"]), "compressed or otherwise transformed, which isn't"),
    "huge": (set_size(torch.Size((10**6, 10**6))), "is larger than the file that holds it"),
    "more than its parts": (set_size(torch.Size((4, 4))), "the parts of model.stem.weight don't make up its shape"),
    "part outside": (set_chunk("sizes", torch.Size((4, 4))), "has a part of model.stem.weight that lies nowhere"),
    "part nowhere": (set_chunk("offsets", torch.Size((1, 0))), "has a part of model.stem.weight that lies nowhere"),
    "part of no class": (set_chunks([3]), "describes a part of model.stem.weight in an unknown way"),
    "no parts": (set_chunks(None), "describes model.stem.weight in an unknown way"),
    "place of no class": (
        lambda metadata: metadata.storage_data.update({"x": 3}),
        r"its \.metadata has places of an unknown kind",
    ),
    "file of no name": (set_place("relative_path", ["x"]), "has something else where a name is expected"),
    "tensor of no name": (
        lambda metadata: metadata.state_dict_metadata.update({3: 4}),
        "has something else where a name is expected",
    ),
    "no dtype": (set_properties(()), "describes model.stem.weight in an unknown way"),
    "below a tensor": (
        lambda metadata: metadata.planner_data.update({"epoch": ("model", "stem.weight", "x")}),
        r"its \.metadata puts tensors below stem\.weight, which is one",
    ),
    "no tables": (lambda metadata: setattr(metadata, "storage_data", None), "lacks the tables of tensors and of their"),
}
"""Changes of a sound description, and what is said."""


@pytest.mark.parametrize(("change", "match"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_descriptions_are_refused(tmp_path, change, match):
    distributed(tmp_path)
    rewritten(tmp_path, change)
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(tmp_path)


DESCRIPTIONS = {
    "a number": (pickle.dumps(3), "is no description of a checkpoint"),
    "a storage": (b"\x80\x02NQ.", "refers to storages"),
    "damaged": (b"\x80\x02", "its pickle is damaged"),
}


@pytest.mark.parametrize(("content", "match"), DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_what_is_no_description_is_refused(tmp_path, content, match):
    (tmp_path / ".metadata").write_bytes(content)
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(tmp_path)


def test_tensors_of_kinds_that_are_not_read_are_named(tmp_path):
    distributed(tmp_path, {"a": torch.ones(2), "b": torch.ones(2, dtype=torch.complex64)})
    with pytest.raises(CheckpointError, match="tensor b has the dtype complex64, which isn't read"):
        open_checkpoint(tmp_path).tensor("b")


def test_code_in_a_part_is_refused_and_not_run(tmp_path):
    distributed(tmp_path, {"a": torch.ones(2)})
    (info,) = (v for k, v in dcp.FileSystemReader(tmp_path).read_metadata().storage_data.items() if k.fqn == "model.a")
    content = bytearray((tmp_path / "__0_0.distcp").read_bytes())
    part = slice(info.offset, info.offset + info.length)
    content[part] = content[part].replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_vX")
    (tmp_path / "__0_0.distcp").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"holds what isn't plain data \(torch\._utils\._rebuild_tensor_vX\)"):
        open_checkpoint(tmp_path).tensor("a")


def test_another_tensor_than_was_described(tmp_path):
    distributed(tmp_path, {"a": torch.ones(4), "b": torch.ones(2, 2)})

    def swap(metadata):
        first, second = (index for index in metadata.storage_data if index.fqn.startswith("model."))
        places = metadata.storage_data
        places[first], places[second] = places[second], places[first]

    rewritten(tmp_path, swap)
    with pytest.raises(CheckpointError, match=r"tensor a: __0_0\.distcp holds another tensor than \.metadata says"):
        open_checkpoint(tmp_path).tensor("a")


# TorchScript


class Gated(nn.Module):
    """A module with a child, a parameter of its own, a buffer and a number."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        self.gate = nn.Parameter(torch.full((2,), 0.5))
        self.register_buffer("scale", torch.tensor([2.0, 3.0]))
        self.depth = 3

    def forward(self, x):
        return self.fc(x) * self.gate * self.scale


SCRIPTS = {"script": torch.jit.script, "trace": lambda module: torch.jit.trace(module, torch.ones(1, 3))}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("compiled", SCRIPTS.values(), ids=SCRIPTS)
def test_a_torchscript_archive_gives_its_state_dict(tmp_path, compiled, monkeypatch):
    torch.manual_seed(0)
    module = Gated().eval()
    compiled(module).save(tmp_path / "a.pt")
    monkeypatch.delattr(torch.jit, "load")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert checkpoint.format == "TorchScript"
    assert same(checkpoint, module.state_dict())


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_archive_without_named_tensors_is_refused(tmp_path):
    torch.jit.freeze(torch.jit.script(nn.Linear(2, 2).eval())).save(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a TorchScript archive holds code; save the module's state_dict\(\)"):
        open_checkpoint(tmp_path / "a.pt")


# arrays

DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?"]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_every_kind(tmp_path, save, endian, order):
    arrays = {
        f"a/{kind.strip('?') or 'b'}": np.asarray(np.arange(6).reshape(2, 3) % 2, f"{endian}{kind}", order=order)
        for kind in DTYPES
    }
    arrays |= {"number": np.array(2.5), "empty": np.ones((0, 3)), "vector": np.arange(5, dtype="f4")}
    save(tmp_path / "a.npz", **arrays)
    checkpoint = open_checkpoint(tmp_path / "a.npz")
    assert checkpoint.format == "npz"
    assert checkpoint.names == tuple(arrays)
    for name, array in arrays.items():
        assert checkpoint.shape(name) == array.shape
        assert str(checkpoint.dtype(name)).removeprefix("torch.") == array.dtype.newbyteorder("=").name
        assert np.array_equal(checkpoint.tensor(name).numpy(), array)


def test_two_bytes_without_a_name_are_bfloat16(tmp_path):
    values = torch.tensor([1.5, -0.0, 3e38], dtype=torch.bfloat16)
    np.savez(tmp_path / "a.npz", a=values.view(torch.int16).numpy().view("V2"))
    checkpoint = open_checkpoint(tmp_path / "a.npz")
    assert torch.equal(checkpoint.tensor("a").view(torch.int16), values.view(torch.int16))


def test_arrays_of_objects_and_unknown_kinds_are_named_and_refused(tmp_path):
    arrays = {
        "good": np.ones(2),
        "bad": np.array([1, "a"], dtype=object),
        "odd": np.ones(2, "c8"),
        "long": np.ones(2, "u8"),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    checkpoint = open_checkpoint(tmp_path / "a.npz")
    assert checkpoint.tensor("good").tolist() == [1, 1]
    for name, match in (
        ("bad", "Python objects, which may hold code, which isn't"),
        ("odd", "the dtype c8"),
        ("long", "u8"),
    ):
        with pytest.raises(CheckpointError, match=match):
            checkpoint.tensor(name)


def test_members_that_are_no_arrays_are_ignored(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(2))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("readme.txt", "hello")
    assert open_checkpoint(tmp_path / "a.npz").ignored == ("readme.txt",)
