"""Files made to exhaust memory or time, or to reach outside of themselves, are refused cheaply; a short fuzzing run."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import load_file, save_file

from checkpoints import fuzzing
from checkpoints.crafting import archive, integer, pickled, tensor, text
from mixanalysis.checkpoints import open_checkpoint
from mixanalysis.checkpoints.native_format import METADATA_KEY
from mixanalysis.checkpoints.pickles import FREE
from mixanalysis.errors import CheckpointError
from mixanalysis.families.loading import load

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


def safetensors(header: object, data: bytes = bytes(24), length: int | None = None) -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(head) if length is None else length).to_bytes(8, "little") + head + data


def entry(shape=(2, 3), offsets=(0, 24), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def bomb(size: int = 2**28) -> bytes:
    """An array of zeros that unpacks to a quarter of a gibibyte."""
    header = np.lib.format.header_data_from_array_1_0(np.empty(0, "u1")) | {"shape": (size,)}
    buffer, packer = io.BytesIO(), zlib.compressobj(9, zlib.DEFLATED, -15)
    np.lib.format.write_array_header_1_0(buffer, header)
    head, block = buffer.getvalue(), bytes(2**20)
    packed = (
        packer.compress(head) + b"".join(packer.compress(block) for _ in range(size // len(block))) + packer.flush()
    )
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 0, 0, len(packed), size + len(head), 5, 0) + b"a.npy"
    index = struct.pack(
        "<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 8, 0, 0, 0, len(packed), size + len(head), 5, 0, 0, 0, 0, 0, 0
    )
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(index) + 5, len(local) + len(packed), 0)
    return local + packed + index + b"a.npy" + end


def members(count: int) -> bytes:
    """A zip file whose index lists one member many times under many names."""
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    index = b"".join(
        struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0)
        + b"%06x" % number
        for number in range(count)
    )
    end = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(index), len(local))
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(local) + len(index), 1)
    tail = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return local + index + end + locator + tail


def colliding() -> bytes:
    prime = 2**61 - 1
    return b"}(" + b"".join(integer(prime * number) + b"N" for number in range(1, 50_000)) + b"u"


MANY = 1_000_000
OBJECTS = "its pickle describes more objects than its size explains"
HOSTILE = {
    # pickles
    "lists": (pickled(b"]" * MANY), OBJECTS),
    "tables": (pickled(b"}" * MANY), OBJECTS),
    "marks": (pickled(b"(" * MANY), OBJECTS),
    "copies": (pickled(b"N" + b"2" * 4 * MANY), OBJECTS),
    "memory": (pickled(b"N" + b"".join(b"r" + struct.pack("<I", number) for number in range(400_000))), OBJECTS),
    "tuples in tuples": (pickled(b"}N" + b"\x85" * 100_000 + b"Ns"), "holds a table whose keys are no names"),
    "keys that collide": (pickled(colliding()), "holds a table whose keys are no names"),
    "bytes of a size": (
        pickled(b"}" + text("a") + b"c__builtin__\nbytearray\n" + integer(2**40) + b"\x85Rs"),
        "holds no table",
    ),
    "a tensor of a size": (
        pickled(b"}" + text("a") + b"ctorch\nTensor\n" + integer(2**40) + b"\x85Rs"),
        "holds no table",
    ),
    "text of a size": (pickled(b"X" + struct.pack("<I", 2**32 - 1) + b"abc"), "its pickle is damaged"),
    "bytes of a long size": (pickled(b"\x8e" + struct.pack("<Q", 2**62)), "its pickle is damaged"),
    "number of many digits": (pickled(b"L" + b"9" * 100_000 + b"L\n"), "its pickle is damaged"),
    "place of many digits": (pickled(b"Np" + b"9" * 40 + b"\n"), "remembers under a number that none has"),
    "extension": (pickled(b"\x82\x01"), r"has an instruction that isn't read \(EXT1\)"),
    "module of a file": (pickled(b"(ios\nsystem\n"), r"has an instruction that isn't read \(INST\)"),
    "name of no text": (pickled(b"NN\x93"), "names a class by what is no text"),
    "call of no function": (pickled(b"N)R"), "calls what is no function"),
    "stack": (pickled(b"N\x87"), "takes more from the stack than is there"),
    "append to a table": (pickled(b"}Na"), "appends to what is no list"),
    "entry of a list": (pickled(b"]NNs"), "sets entries of what is no table"),
    "bytes in another code": (
        pickled(b"c_codecs\nencode\n" + text("a") + text("rot13") + b"\x86R"),
        "bytes in an unknown form",
    ),
    "reference to a name": (pickled(text("a") + b"Q"), "refers to what is no storage of numbers"),
    "storage named by a number": (
        pickled(b"(" + text("storage") + b"ctorch\nFloatStorage\n" + integer(0) + text("cpu") + integer(1) + b"tQ"),
        "names a storage by what is no text",
    ),
    # tensors
    "more than its file": (
        pickled(tensor((2**20, 2**20), (0, 0), elements=1)),
        "is larger than the file that holds it",
    ),
    "size negative": (pickled(tensor((-2, 3))), r"has a size that none can have: \(-2, 3\)"),
    "size huge": (pickled(tensor((2**70, 3))), "has a size that none can have"),
    "many axes": (pickled(tensor((1,) * 65, (1,) * 65)), "shape is no short list of numbers"),
    "stride negative": (pickled(tensor(strides=(-3, 1))), "has strides that none can have"),
    "strides too few": (pickled(tensor(strides=(3,))), "has strides that none can have"),
    "offset negative": (pickled(tensor(offset=-1)), "isn't a view of a storage"),
    "offset too large": (pickled(tensor(offset=1)), "reaches outside of its storage"),
    "stride too large": (pickled(tensor(strides=(2**40, 1))), "reaches outside of its storage"),
    "storage longer than its member": (pickled(tensor(elements=17)), "storage 0 is shorter than its pickle says"),
    "storage negative": (pickled(tensor(elements=-1)), r"a storage of an unknown kind \(FloatStorage\)"),
    "storage missing": (pickled(tensor(key="1")), r"lacks archive/data/1, or holds it compressed"),
    "storage elsewhere": (pickled(tensor(key="../../x")), r"lacks archive/data/\.\./\.\./x, or holds"),
    # zip files
    "members": (members(200_000), "its index is larger than its content explains"),
    "two pickles": (
        archive(**{"data.pkl": b"N.", "x__data.pkl": b"N."}),
        "holds 2 members named data.pkl, expected one",
    ),
    "big-endian": (archive(**{"data.pkl": b"N.", "byteorder": b"big"}), "numbers are big-endian, which isn't read"),
    # safetensors
    "header longer than the file": (safetensors({"a": entry()}, length=2**19), "Error while deserializing header"),
    "header far longer": (
        safetensors({"a": entry()}, bytes(2**21), length=2**21 - 100),
        "claims 2097052 bytes, more than the",
    ),
    "out of the file": (safetensors({"a": entry((2, 300), (0, 2400))}), "Error while deserializing header"),
    "overlapping": (safetensors({"a": entry(), "b": entry((3,), (12, 24))}), "Error while deserializing header"),
    "a gap": (safetensors({"a": entry((3,), (12, 24))}), "Error while deserializing header"),
    "another shape": (safetensors({"a": entry((2, 4))}), "Error while deserializing header"),
    "size below zero": (safetensors({"a": entry((-2, -3))}), "Error while deserializing header"),
    "product overflows": (safetensors({"a": entry((2**63, 2**63))}), "Error while deserializing header"),
    "deep": (safetensors(b'{"a":' + b"[" * 100_000), "Error while deserializing header"),
}
"""A file, and what is said of it."""


@pytest.mark.parametrize(("content", "match"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused_cheaply(tmp_path, content, match):
    (tmp_path / "a.pt").write_bytes(content)
    measured = fuzzing.forget_peak()
    before = fuzzing.resident() if measured else 0
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(tmp_path / "a.pt")
    assert not measured or fuzzing.peak() - before < 4 * len(content) + FREE + fuzzing.SLACK


def test_an_array_that_unpacks_to_far_more_is_named_and_not_unpacked(tmp_path):
    content = bomb()
    (tmp_path / "a.npz").write_bytes(content)
    measured = fuzzing.forget_peak()
    before = fuzzing.resident() if measured else 0
    checkpoint = open_checkpoint(tmp_path / "a.npz")
    assert checkpoint.shape("a") == (2**28,)
    with pytest.raises(
        CheckpointError, match=r"a member of it claims to unpack to 2684\d+ bytes, far more than the file"
    ):
        checkpoint.tensor("a")
    assert not measured or fuzzing.peak() - before < 4 * len(content) + fuzzing.SLACK


def npz(**arrays: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in arrays.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def array(header: str, data: bytes = bytes(24), version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(header)) + header.encode() + data


def header_of(shape="(2, 3)", descr="'<f4'", order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


ARRAYS = {
    "shape of more": (array(header_of("(2, 4)")), "has 94 bytes, which is not what its header says"),
    "shape of a huge number": (array(header_of("(99999999999999, 99999999999)")), "larger than the file that holds it"),
    "shape of a negative number": (array(header_of("(-2, 3)")), "isn't one of a plain array"),
    "calls": (array(header_of("__import__('os')")), "isn't one of a plain array"),
    "fields": (array(header_of(descr="[('a', '<f4')]")), "isn't one of a plain array"),
    "order": (array(header_of(order="None")), "isn't one of a plain array"),
    "version": (array(header_of(), version=3), "is no array"),
    "short": (b"\x93NUMPY\x01\x00", "is no array"),
    "other": (b"GIF89a, and so on", "is no array"),
}


@pytest.mark.parametrize(("content", "match"), ARRAYS.values(), ids=ARRAYS)
def test_damaged_arrays_are_refused(tmp_path, content, match):
    (tmp_path / "a.npz").write_bytes(npz(a=content))
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(tmp_path / "a.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_member_whose_bytes_changed_is_refused(tmp_path, save):
    save(tmp_path / "a.npz", a=np.arange(100, dtype=">f4"))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[content.index(b"PK\x01\x02") - 20] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(CheckpointError, match="tensor a: a member of it is damaged"):
        open_checkpoint(tmp_path / "a.npz").tensor("a")


def test_a_member_twice_is_refused(tmp_path):
    twice = archive(**{"data.pkl": b"N.", "date.pkl": b"N."}).replace(b"date", b"data")
    (tmp_path / "a.pt").write_bytes(twice)
    with pytest.raises(CheckpointError, match=r"it holds archive/data\.pkl twice"):
        open_checkpoint(tmp_path / "a.pt")


def test_a_compressed_torch_file_is_refused(tmp_path):
    torch.save(STATE, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as old,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(CheckpointError, match="or holds it compressed, as torch"):
        open_checkpoint(tmp_path / "b.pt")


def test_views_of_one_storage_are_not_copied(tmp_path):
    """A hundred views of one storage, as tied weights are: the file holds it once."""
    storage = torch.arange(1000.0)
    views = {f"v{i}": storage[i : i + 900].view(30, 30).t() for i in range(100)}
    torch.save(views, tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size < 20_000
    assert all(torch.equal(checkpoint.tensor(name), value) for name, value in views.items())
    assert len({checkpoint.tensor(name).untyped_storage().data_ptr() for name in views}) == 100


# short fuzzing; benchmarks/fuzz_checkpoints.py runs it at length


@settings(max_examples=60, deadline=None, database=None)
@given(state=fuzzing.STATES)
@pytest.mark.parametrize("write", ["zip", "stream", "safetensors"])
def test_whatever_is_saved_comes_back(tmp_path_factory, state, write):
    path = tmp_path_factory.mktemp("saved") / "a.pt"
    if write == "safetensors":
        save_file(state, path)
        expected = load_file(path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=write == "zip")
        expected = state
    try:
        checkpoint = open_checkpoint(path)
    except CheckpointError as error:
        # names drawn at random may contradict each other
        assert re.search(r"stores .* in two ways", str(error))  # noqa: PT017
        return
    for name in checkpoint.names:
        if name in expected and not checkpoint.masked(name) and expected[name].dtype != torch.complex64:
            assert torch.equal(checkpoint.tensor(name), expected[name])
    kept = {name.split("module.")[-1] for name in expected}
    assert len(checkpoint.names) + len(checkpoint.ignored) <= len(expected)
    assert kept


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    seeds = fuzzing.corpus(tmp_path_factory.mktemp("corpus"))
    fuzzing.watch()
    return seeds


def test_the_sound_checkpoints_are_read(sound, tmp_path):
    for i, (name, files) in enumerate(sound.items()):
        folder = tmp_path / str(i)
        folder.mkdir()
        assert fuzzing.verdict(fuzzing.write(folder, files)) == "read", name


@pytest.mark.parametrize("number", range(6))
def test_damaged_checkpoints_are_read_or_refused(sound, tmp_path, number):
    seeds = [*sound.values(), *fuzzing.invented(4, number)]
    answers = []
    for i, files in enumerate(fuzzing.damaged(number, seeds, 100)):
        folder = tmp_path / str(i)
        folder.mkdir()
        answers.append(fuzzing.verdict(fuzzing.write(folder, files)))
    assert set(answers) == {"read", "refused"}


def test_the_judge_sees_what_goes_wrong(sound, tmp_path, monkeypatch):
    """Code that runs, other errors and long reads are noticed."""
    path = fuzzing.write(tmp_path, sound["npz"])
    for act, match in (
        (lambda _: compile("1", "a", "eval"), "did compile"),
        (lambda _: (tmp_path / "made").mkdir(), "did os.mkdir"),
        (lambda _: (tmp_path / "made.txt").open("w").close(), "did open"),
        (lambda _: 1 / 0, "ZeroDivisionError: division by zero in test_hostile.py"),
    ):
        monkeypatch.setattr(fuzzing, "read", act)
        assert fuzzing.verdict(path).startswith(match)
    monkeypatch.setattr(fuzzing, "SECONDS", 0.01)

    def forever(_):
        while True:
            pass

    monkeypatch.setattr(fuzzing, "read", forever)
    assert fuzzing.verdict(path) == "took longer than 0.01 s"


def test_a_pipe_or_a_device_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.pt")
    for path, what in [(tmp_path / "a.pt", "a named pipe"), (Path("/dev/zero"), "a device")]:
        with pytest.raises(CheckpointError, match=f"can't be read: is {what}, not a regular file"):
            open_checkpoint(path)
    save_file(STATE, tmp_path / "model.safetensors")
    os.mkfifo(tmp_path / "config.json")
    assert "config.json" not in open_checkpoint(tmp_path).metadata


@pytest.mark.parametrize("opened", ["[", '{"a":'])
def test_nested_metadata_are_refused(tmp_path, opened):
    save_file(STATE, tmp_path / "a.safetensors", metadata={METADATA_KEY: '{"config": ' + opened * 50_000})
    with pytest.raises(CheckpointError, match="nested more than 64 levels deep"):
        load(tmp_path / "a.safetensors")
