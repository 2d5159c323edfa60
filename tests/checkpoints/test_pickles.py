"""The machine that reads pickles, against Python's own pickler, and files that contradict themselves."""

from __future__ import annotations

import collections
import io
import pickle
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from checkpoints.crafting import archive, call, integer, numbers, pickled, reference, stream, table, tensor, text, view
from mixanalysis.checkpoints import folders, open_checkpoint, pickles
from mixanalysis.checkpoints import lazy_tensors as entries
from mixanalysis.errors import CheckpointError

STATE = {"a.weight": torch.arange(6.0).view(2, 3)}
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=4), inner) | st.tuples(inner, inner) | st.tuples(),
    max_leaves=30,
)


def encoded(arguments):
    return arguments[0].encode("latin-1")


def read(content: bytes):
    known = {"_codecs.encode": encoded, "builtins.bytes": lambda _: b"", "__builtin__.bytes": lambda _: b""}
    return pickles.read(io.BytesIO(content), known.get, lambda reference: reference, len(content))


@pytest.mark.parametrize("protocol", range(6))
@given(value=PLAIN)
def test_plain_data_come_back(value, protocol):
    assert read(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
def test_data_that_hold_themselves_come_back(protocol):
    inner: list[object] = []
    holder, long = (inner,), (inner, 1, 2, 3)
    inner += [holder, long]
    found = read(pickle.dumps(inner, protocol))
    assert found[0][0] is found
    assert found[1][0] is found
    assert found[1][1:] == (1, 2, 3)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_sets_come_back_as_lists(protocol):
    content = pickle.dumps({"a": {3, 1}, "b": frozenset({2})}, protocol)
    known = {
        "builtins.set": lambda arguments: list(*arguments),
        "builtins.frozenset": lambda arguments: list(*arguments),
    }
    found = pickles.read(io.BytesIO(content), known.get, repr, len(content))
    assert {key: set(value) for key, value in found.items()} == {"a": {3, 1}, "b": {2}}


class Described:
    """An object with a state, made with a keyword."""

    def __new__(cls, *, size=0):
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return (), {"size": 3}


def test_objects_stay_descriptions():
    thing = Described()
    thing.value = 5
    content = pickle.dumps(thing, 4)
    found = pickles.read(io.BytesIO(content), lambda name: lambda args: pickles.Call(name, args), repr, len(content))
    assert found.name.endswith(".Described")
    assert (found.get("value"), found.get("other")) == (5, None)


def test_what_is_blocked_is_told_even_where_the_rest_is_damaged():
    with pytest.raises(pickles.BlockedError, match=r"^os\.system$"):
        read(b"\x80\x02cos\nsystem\nNNNs.")
    with pytest.raises(pickles.BlockedError, match=r"^os\.system$"):
        read(b"\x80\x02cos\nsystem\nh\x05.")


def test_values_that_are_not_read_are_never_asked_for():
    with pytest.raises(entries.DamagedError, match="is of a kind that isn't read"):
        entries.unread((2,), "no values").load()


# kinds of tensors


def saved(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    return open_checkpoint(tmp_path / "a.pt")


def with_attribute(tensor):
    tensor.note = "kept"
    return tensor


def quantised():
    return torch.quantize_per_tensor(torch.ones(2, 3), 0.1, 0, torch.qint8)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "match"),
    [
        (quantised, "the dtype qint8"),
        (lambda: torch._neg_view(torch.ones(2, 3)), "the form of a lazy conjugate or negative"),
    ],
    ids=["quantised", "negative"],
)
def test_tensors_in_other_forms_are_named_and_refused(tmp_path, make, match):
    checkpoint = saved(tmp_path, {"a": make()})
    assert checkpoint.shape("a") == (2, 3)
    with pytest.raises(CheckpointError, match=f"tensor a has {match}, which isn't read"):
        checkpoint.tensor("a")


def test_tensors_with_attributes_and_parameters(tmp_path):
    parameter = with_attribute(torch.nn.Parameter(torch.ones(2)))
    checkpoint = saved(
        tmp_path, {"a": with_attribute(torch.arange(3.0)), "b": parameter, "c": torch.nn.Parameter(parameter * 2)}
    )
    assert [checkpoint.tensor(name).tolist() for name in checkpoint.names] == [[0, 1, 2], [1, 1], [2, 2]]


def test_counters_and_ordered_tables_beside_weights(tmp_path):
    beside = {"counts": collections.Counter("aab"), "order": collections.OrderedDict(a=1)}
    assert saved(tmp_path, {"state_dict": STATE, **beside}).ignored == ("counts", "order")


TENSORS = {
    "newer function": call(
        "torch._utils._rebuild_tensor_v3",
        reference(24, "UntypedStorage"),
        integer(0),
        numbers(2, 3),
        numbers(3, 1),
        b"\x89}",
        b"ctorch\nfloat32\n",
    ),
    "older function": call("torch._utils._rebuild_tensor", reference(), integer(0), numbers(2, 3), numbers(3, 1)),
    "subclass of nothing": call(
        "torch._tensor._rebuild_from_type_v2",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch\nTensor\n",
        b"(" + reference() + integer(0) + numbers(2, 3) + numbers(3, 1) + b"\x89}t",
        b"N",
    ),
}


@pytest.mark.parametrize("program", TENSORS.values(), ids=TENSORS)
def test_other_functions_that_make_tensors(tmp_path, program):
    (tmp_path / "a.pt").write_bytes(pickled(table(a=program), struct.pack("<6f", *range(6)) + bytes(8)))
    assert open_checkpoint(tmp_path / "a.pt").tensor("a").tolist() == [[0, 1, 2], [3, 4, 5]]


INDICES = view((2, 1), (1, 1), 0, reference(2, "LongStorage", "1"))


def sparse(layout="torch.sparse_coo", shape=(2, 3), parts=None):
    values = view((1,), (1,))
    name = call("torch.serialization._get_layout", text(layout))
    inner = b"(" + (INDICES + values if parts is None else parts) + numbers(*shape) + b"t"
    return call("torch._utils._rebuild_sparse_tensor", name, inner)


BROKEN = {
    "unknown dtype": (
        call(
            "torch._utils._rebuild_tensor_v3",
            reference(),
            integer(0),
            numbers(2),
            numbers(1),
            b"\x89}",
            b"ctorch\nSize\n",
        ),
        "a tensor has an unknown dtype",
    ),
    "layout of no name": (sparse("torch.strange"), "a sparse tensor has an unknown layout"),
    "sparse without values": (sparse(parts=INDICES + b"N"), "a sparse tensor lacks its indices or values"),
    "sparse and far too large": (sparse(shape=(2**40, 2**40)), "a sparse tensor has a size that none can have"),
    "part named by a text": (
        view(storage=reference(view=text("x"))),
        "refers to a part of a storage in an unknown way",
    ),
    "part outside": (
        view(storage=reference(view=b"(" + text("0") + integer(3) + integer(4) + b"t")),
        "a part outside of its st",
    ),
    "scalar of objects": (
        call("numpy.core.multiarray.scalar", call("numpy.dtype", text("O8"), b"\x89\x88"), text("x")),
        r"refused: loading it would run code \(numpy scalar of Python objects\)",
    ),
}


@pytest.mark.parametrize(("program", "match"), BROKEN.values(), ids=BROKEN)
def test_tensors_that_contradict_themselves_are_refused(tmp_path, program, match):
    members = {"data.pkl": b"\x80\x02" + table(a=program) + b".", "data__0": bytes(24), "data__1": bytes(16)}
    (tmp_path / "a.pt").write_bytes(archive(**members))
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("shape", "layout", "match"),
    [
        ((2, 3, 4), "torch.sparse_coo", "its indices and values don't belong together"),
        ((2, 3), "torch.sparse_csr", "its indices and values don't belong together"),
        ((3, 3), "torch.sparse_bsr", "its blocks don't fill it"),
        ((4, 6), "torch.sparse_bsr", "its indices and values don't belong together"),
    ],
)
def test_sparse_tensors_whose_parts_do_not_fit(tmp_path, shape, layout, match):
    flat = view((2,), (1,), 0, reference(2, "LongStorage", "1"))
    blocks = view((1, 2, 2), (4, 2, 1)) if layout == "torch.sparse_bsr" else view((1,), (1,))
    parts = {"torch.sparse_csr": flat + flat + view((1, 1), (1, 1)), "torch.sparse_bsr": flat + flat + blocks}.get(
        layout
    )
    members = {
        "data.pkl": b"\x80\x02" + table(a=sparse(layout, shape, parts)) + b".",
        "data__0": bytes(24),
        "data__1": bytes(16),
    }
    (tmp_path / "a.pt").write_bytes(archive(**members))
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(tmp_path / "a.pt").tensor("a")


def test_sparse_tensors_whose_indices_are_no_integers(tmp_path):
    program = table(a=sparse(parts=view((2, 1), (1, 1)) + view((1,), (1,))))
    (tmp_path / "a.pt").write_bytes(pickled(program))
    with pytest.raises(CheckpointError, match="its indices are no integers"):
        open_checkpoint(tmp_path / "a.pt").tensor("a")


def test_a_sparse_tensor_where_a_dense_one_is_expected(tmp_path):
    checkpoint = saved(tmp_path, {"a_orig": torch.eye(2).to_sparse(), "a_mask": torch.ones(2, 2)})
    with pytest.raises(CheckpointError, match="tensor a_orig is sparse where a dense one is expected"):
        checkpoint.tensor("a")


def test_tables_deeper_than_any_script_writes_are_no_weights(tmp_path):
    content = STATE
    for _ in range(20):
        content = {"model": content}
    with pytest.raises(CheckpointError, match="holds no table of named tensors; found dict with keys model"):
        saved(tmp_path, content)


def test_a_script_with_other_classes_is_refused(tmp_path):
    members = {"data.pkl": b"\x80\x02" + table(a=call("os.mkdir", text("x"))) + b".", "constants.pkl": b"."}
    (tmp_path / "a.pt").write_bytes(archive(**members))
    with pytest.raises(CheckpointError, match="a TorchScript archive holds code"):
        open_checkpoint(tmp_path / "a.pt")


# the older format

FLOATS = (6, bytes(24))
HALF = view((2,), (1,), 0, reference(2, "HalfStorage"))
STREAMS = {
    "keys that are no names": (stream(tensor(), [3], FLOATS), "its list of storages is damaged"),
    "no keys": (stream(tensor(), []), "it lacks the storage 0"),
    "another key": (stream(tensor(), ["1"], FLOATS), "its storage 1 is not what its pickle says"),
    "fewer elements": (stream(tensor(), ["0"], (5, bytes(20))), "its storage 0 is not what its pickle says"),
    "elements below zero": (stream(tensor(), ["0"], (-1, b"")), "its storage 0 is not what its pickle says"),
    "no count": (stream(tensor(), ["0"]), "its storage 0 is not what its pickle says"),
    "cut": (stream(tensor(), ["0"], (6, bytes(20))), "it ends 4 bytes too early"),
    "more elements than there are": (stream(tensor(), ["0"], (2**50, bytes(24))), "bytes too early"),
    "two kinds": (stream(table(a=view(), b=HALF), ["0"], FLOATS), "its storage 0 is of two kinds"),
}


@pytest.mark.parametrize(("content", "match"), STREAMS.values(), ids=STREAMS)
def test_streams_that_contradict_themselves_are_refused(tmp_path, content, match):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(tmp_path / "a.pt")


def test_parts_of_a_storage_that_old_files_name(tmp_path):
    part = b"(" + text("1") + integer(2) + integer(3) + b"t"
    program = table(a=view((3,), (1,), 0, reference(view=part)), b=view((2,), (2,), 1))
    (tmp_path / "a.pt").write_bytes(stream(program, ["0"], (6, struct.pack("<6f", *range(6)))))
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert checkpoint.tensor("a").tolist() == [2, 3, 4]
    assert checkpoint.tensor("b").tolist() == [1, 3]


def test_a_folder_with_too_many_files(tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / name).touch()
    monkeypatch.setattr(folders, "_MOST_FILES", 2)
    with pytest.raises(CheckpointError, match="is a folder with more than 2 files; give one of them"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["latest", "model.safetensors.index.json"])
def test_folders_in_the_place_of_files(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(CheckpointError, match=f"{name}: can't be read: Is a directory"):
        open_checkpoint(tmp_path)


# zip files

LOCAL, MEMBER, END = "<4sHHHHHIIIHH", "<4sHHHHHHIIIHHHHHII", "<4sHHHHIIH"
CONTENT = b"\x80\x02" + tensor() + b"."
MAX = 0xFFFFFFFF


def zipped(flags=0, method=0, offset=None, stored=None, count=2, index_size=None, index_at=None, extra=b"", cut=0):
    """A zip file of a pickle and its storage; the arguments change what the index says about the pickle."""
    parts, index, place = [], b"", 0
    for name, content in ((b"x/data.pkl", CONTENT), (b"x/data/0", struct.pack("<6f", *range(6)))):
        head = struct.pack(LOCAL, b"PK\3\4", 20, 0, 0, 0, 0, 0, len(content), len(content), len(name), 0) + name
        first = name.endswith(b"pkl")
        size = len(content) if stored is None or not first else stored
        at = place if offset is None or not first else offset
        own = extra if first else b""
        fields = (20, 20, flags * first, method * first, 0, 0, 0, size, size, len(name), len(own), 0, 0, 0, 0, at)
        index += struct.pack(MEMBER, b"PK\1\2", *fields) + name + own
        parts.append(head + content)
        place += len(parts[-1])
    size, at = index_size or len(index), place if index_at is None else index_at
    return (
        b"".join(parts) + index[: len(index) - cut] + struct.pack(END, b"PK\5\6", 0, 0, count, count, size - cut, at, 0)
    )


def wide(*values, size=None):
    field = struct.pack(f"<{len(values)}Q", *values)
    return struct.pack("<HH", 0x5455, 3) + b"abc" + struct.pack("<HH", 1, len(field) if size is None else size) + field


SOUND = {
    "plain": {},
    "size in 64 bits": {"stored": MAX, "extra": wide(len(CONTENT), len(CONTENT))},
    "place in 64 bits": {"offset": MAX, "extra": wide(0)},
    "all in 64 bits": {"stored": MAX, "offset": MAX, "extra": wide(len(CONTENT), len(CONTENT), 0)},
}


@pytest.mark.parametrize("options", SOUND.values(), ids=SOUND)
def test_zip_files_with_numbers_of_both_widths(tmp_path, options):
    (tmp_path / "a.pt").write_bytes(zipped(**options))
    assert open_checkpoint(tmp_path / "a.pt").tensor("a").tolist() == [[0, 1, 2], [3, 4, 5]]


INDEX = r"missing zip directory \(file truncated\?\)"
PACKED = "a member of it is encrypted, or packed in a way that isn't read"
OUTSIDE = "a member of it lies outside of the file"
UNSOUND = {
    "encrypted": ({"flags": 1}, PACKED),
    "packed by bzip2": ({"method": 12}, PACKED),
    "beyond the end": ({"offset": 10**6}, OUTSIDE),
    "in the middle": ({"offset": 5}, OUTSIDE),
    "over the next": ({"stored": len(CONTENT) + 40}, "members of it overlap"),
    "longer than the file": ({"stored": 10**6}, OUTSIDE),
    "wide and longer": ({"stored": MAX, "extra": wide(2**60, 2**60)}, OUTSIDE),
    "wide and short": ({"stored": MAX, "extra": wide(5)}, "a member's size is damaged"),
    "more members than there are": ({"count": 3}, INDEX),
    "index beyond the end": ({"index_at": 10**6}, INDEX),
    "index that is too long": ({"index_size": 10**6}, INDEX),
    "index that is cut": ({"cut": 20}, INDEX),
    "many members": ({"count": 60_000}, INDEX),
}


@pytest.mark.parametrize(("options", "match"), UNSOUND.values(), ids=UNSOUND)
def test_zip_files_that_contradict_themselves_are_refused(tmp_path, options, match):
    (tmp_path / "a.pt").write_bytes(zipped(**options))
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(("magic", "place"), [(b"PK\6\6", 10**6), (b"XXXX", 0)], ids=["beyond the end", "other"])
def test_wide_indices_that_contradict_themselves_are_refused(tmp_path, magic, place):
    sound = zipped()
    body, end = sound[:-22], sound[-22:]
    wide_end = struct.pack("<4sQHHIIQQQQ", magic, 44, 45, 45, 0, 0, 2, 2, 10, 10)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, place or len(body), 1)
    (tmp_path / "a.pt").write_bytes(body + wide_end + locator + end)
    with pytest.raises(CheckpointError, match=INDEX):
        open_checkpoint(tmp_path / "a.pt")


def test_a_compressed_member_that_is_damaged(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.ones(3))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    begin = 30 + int.from_bytes(content[26:28], "little") + int.from_bytes(content[28:30], "little")
    content[begin] = 0xFF
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(CheckpointError, match="a member of it is damaged"):
        open_checkpoint(tmp_path / "a.npz")
