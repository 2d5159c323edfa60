"""Files that are no sound checkpoints are refused in one clear message, and no code in them is ever run."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import zipfile
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from cases import NETWORKS, checkpoint_of
from checkpoints.rewriting import rewrite
from mixanalysis.checkpoints import open_checkpoint
from mixanalysis.errors import CheckpointError

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


class MakesAFolder:
    """Unpickling it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def zipped(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def streamed(content):
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


CODE = {
    "zip": (zipped, rf"refused: loading it would run code \({os.mkdir.__module__}\.mkdir\); save the plain state_dict"),
    "stream": (streamed, rf"refused: loading it would run code \({os.mkdir.__module__}\.mkdir\); save the plain state"),
    "pickle 2": (lambda content: pickle.dumps(content, 2), "a Python pickle, but not as torch.save writes it; it may"),
    "pickle 5": (lambda content: pickle.dumps(content, 5), "a Python pickle, but not as torch.save writes it; it may"),
    "pickle 0": (
        lambda content: pickle.dumps(content, 0),
        r"not a checkpoint but a Python pickle \(protocol 0\), which may hold code",
    ),
}
"""How content with code in it is written, and what is said."""


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("beside", [True, False], ids=["beside weights", "alone"])
@pytest.mark.parametrize(("write", "match"), CODE.values(), ids=CODE)
def test_code_is_refused_and_not_run(tmp_path, write, match, beside, ending):
    victim, path = tmp_path / "made", tmp_path / f"a.{ending}"
    content = MakesAFolder(victim)
    path.write_bytes(write({"state_dict": STATE, "extra": content} if beside else content))
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(path)
    assert not victim.exists()


@pytest.mark.parametrize(("write", "load"), [(zipped, torch.load), (streamed, torch.load), (pickle.dumps, pickle.load)])
def test_that_code_would_run_if_it_were_not_refused(tmp_path, write, load):
    (tmp_path / "a.pt").write_bytes(write(MakesAFolder(tmp_path / "made")))
    options = {"weights_only": False} if load is torch.load else {}
    with (tmp_path / "a.pt").open("rb") as file:
        load(file, **options)
    assert (tmp_path / "made").is_dir()


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_stream_of_another_pickle_protocol_is_refused(tmp_path, protocol):
    torch.save(STATE, tmp_path / "a.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    match = "a Python pickle, but not as torch.save writes it; it may hold code, so it isn't read; save the plain"
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("write", [zipped, streamed])
def test_a_whole_module_is_refused(tmp_path, write):
    (tmp_path / "a.pt").write_bytes(write(nn.Linear(2, 2)))
    with pytest.raises(
        CheckpointError, match=r"a\.pt: refused: .* \(torch\.nn\.modules\.linear\.Linear\); save the plain"
    ):
        open_checkpoint(tmp_path / "a.pt")


FUNCTIONS = [math.acos, math.asin, math.atan, math.cos, math.erf, math.exp, math.fabs, math.fmod, math.log, math.sin]
NOT_PLAIN = {
    "array": (np.ones(3), r"numpy\.\S*_reconstruct, numpy\.ndarray"),
    "array of objects": (np.array([Fraction(1, 2)]), r"fractions\.Fraction, numpy\.\S*_reconstruct, numpy\.ndarray"),
    "fraction": (Fraction(1, 2), r"fractions\.Fraction"),
    "several": ([Fraction(1, 2), Decimal(1)], r"decimal\.Decimal, fractions\.Fraction"),
    "more than are told": (FUNCTIONS, r"(math\.\w+, ){7}math\.\w+, and 2 more"),
}
"""Values beside weights that are not plain data, and how what blocks them is told."""


@pytest.mark.parametrize("write", [zipped, streamed], ids=["zip", "stream"])
@pytest.mark.parametrize(("value", "names"), NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_values_that_are_not_plain_are_refused_by_name(tmp_path, value, names, write):
    (tmp_path / "a.pt").write_bytes(write({"state_dict": STATE, "value": value}))
    with pytest.raises(CheckpointError, match=rf"refused: loading it would run code \({names}\); save the plain"):
        open_checkpoint(tmp_path / "a.pt")


NOT_A_CHECKPOINT = {
    "empty": (b"", "not a checkpoint: the file is empty"),
    "one byte": (b"P", "not a checkpoint: neither a safetensors file nor one of torch.save"),
    "text": (b"epoch,loss\n1,0.5\n", "not a checkpoint but text, not weights: epoch,loss 1,0.5$"),
    "json": (b'{"weight": [1, 2]}', r'not a checkpoint but JSON text, not weights: \{"weight": \[1, 2\]\}$'),
    "image": (b"\x89PNG\r\n\x1a\n" + bytes(100), r"not a checkpoint but an image \(PNG\)$"),
    "list": (zipped([torch.ones(2)]), "holds no table of named tensors; found list$"),
    "tensor": (zipped(torch.ones(2)), "holds no table of named tensors; found Tensor$"),
    "number": (streamed(3), "holds no table of named tensors; found int$"),
    "empty table": (zipped({}), "holds no table of named tensors; found dict without entries$"),
    "empty state": (zipped({"state_dict": {}, "epoch": 1}), "found dict with keys state_dict, epoch$"),
    "no tensors": (zipped({str(n): n for n in range(9)}), "found dict with keys 0, 1, 2, 3, 4$"),
}


@pytest.mark.parametrize(("content", "match"), NOT_A_CHECKPOINT.values(), ids=NOT_A_CHECKPOINT)
def test_what_is_no_checkpoint_is_refused(tmp_path, content, match):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"a\.pt: .*{match}"):
        open_checkpoint(tmp_path / "a.pt")


def test_a_table_that_holds_itself_is_refused(tmp_path):
    content = {"epoch": 1}
    content["model"] = content
    (tmp_path / "a.pt").write_bytes(streamed(content))
    with pytest.raises(CheckpointError, match="holds no table of named tensors; found dict with keys epoch, model"):
        open_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mixr.pt", r" \(did you mean mixer\.pt\?\)$"),
        ("mixer", r" \(did you mean mixer\.pt\?\)$"),
        ("b.pt", "checkpoint$"),
    ],
)
def test_a_file_of_almost_that_name_is_named(tmp_path, name, hint):
    (tmp_path / "mixer.pt").touch()
    with pytest.raises(CheckpointError, match=f"no such file; give the path of a .*{hint}"):
        open_checkpoint(tmp_path / name)


def test_paths_that_are_no_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"nope\.pt: no such file; give the path of a checkpoint"):
        open_checkpoint(tmp_path / "nope.pt")
    with pytest.raises(CheckpointError, match=r"is a folder without a checkpoint \(it is empty\); give the path of a"):
        open_checkpoint(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="can't be read: Not a directory"):
        open_checkpoint(tmp_path / "file" / "a.pt")


def test_other_zip_files_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"a zip file, but not one of torch\.save \(it holds no data\.pkl\) nor"):
        open_checkpoint(tmp_path / "a.zip")


def cuts(size: int, count: int = 150) -> list[int]:
    return sorted({*range(1, size, max(1, size // count)), 2, 3, 7, 8, 9, size - 1})


def test_a_safetensors_file_cut_anywhere_is_refused(tmp_path):
    whole = checkpoint_of(NETWORKS["sw-mlp"], tmp_path / "whole").read_bytes()
    path, header = tmp_path / "a.safetensors", 8 + int.from_bytes(whole[:8], "little")
    assert any(9 < cut < header for cut in cuts(len(whole)))
    for cut in (*cuts(len(whole)), header - 1, header, header + 1):
        path.write_bytes(whole[:cut])
        match = "truncated or damaged safetensors file: " if cut > 8 else "not a checkpoint: neither"
        with pytest.raises(CheckpointError, match=match):
            open_checkpoint(path)


def test_a_torch_zip_cut_anywhere_is_refused(tmp_path):
    whole, path = zipped(STATE), tmp_path / "a.pt"
    for cut in cuts(len(whole)):
        path.write_bytes(whole[:cut])
        match = (
            r"damaged torch.save or numpy.savez file: missing zip directory \(file truncated\?\)"
            if cut > 3
            else "not a"
        )
        with pytest.raises(CheckpointError, match=match):
            open_checkpoint(path)


def test_a_torch_stream_cut_anywhere_is_refused(tmp_path):
    whole, path = streamed(STATE), tmp_path / "a.pt"
    for cut in cuts(len(whole)):
        path.write_bytes(whole[:cut])
        with pytest.raises(CheckpointError, match=r"truncated or damaged torch\.save file|not |refused"):
            open_checkpoint(path)
    path.write_bytes(whole[:-3])
    with pytest.raises(CheckpointError, match=r"truncated or damaged torch\.save file: it ends 3 bytes too early"):
        open_checkpoint(path)


@pytest.mark.parametrize("write", [zipped, streamed, save], ids=["zip", "stream", "safetensors"])
def test_a_file_with_a_changed_byte_opens_or_is_refused(tmp_path, write):
    whole, path = write(STATE), tmp_path / "a.pt"
    refused = 0
    for place in range(0, len(whole), max(1, len(whole) // 120)):
        for value in (0x00, 0xFF, whole[place] ^ 1):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                checkpoint = open_checkpoint(path)
                for name in checkpoint.names:
                    checkpoint.tensor(name)
            except CheckpointError:
                refused += 1
    assert refused > 10


def with_header_of(size: int) -> bytes:
    """A safetensors file whose header has this many bytes; the format allows spaces at its end."""
    values = np.arange(6, dtype=np.float32).tobytes()
    entry = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, len(values)]}
    header = json.dumps({"a.weight": entry}).encode().ljust(size)
    assert len(header) == size
    return size.to_bytes(8, "little") + header + values


@pytest.mark.parametrize("size", [0x80, 0x180, 0x280, 0x8080, 0x150, 0x17B])
def test_a_safetensors_header_may_have_any_length(tmp_path, size):
    # 0x80 is how a pickle stream begins, 0x50 a zip file, 0x7b a JSON table
    (tmp_path / "a.safetensors").write_bytes(with_header_of(size))
    checkpoint = open_checkpoint(tmp_path / "a.safetensors")
    assert checkpoint.format == "safetensors"
    assert torch.equal(checkpoint.tensor("a.weight"), STATE["a.weight"])


FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("write", [zipped, streamed, save], ids=["zip", "stream", "safetensors"])
def test_values_that_are_not_finite_are_counted(tmp_path, write, dtype):
    bad = torch.ones(2, 3, dtype=dtype)
    bad[0, 1], bad[1] = float("nan"), float("-inf")
    (tmp_path / "a.pt").write_bytes(write({"good": torch.ones(2, dtype=dtype), "bad.weight": bad}))
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert torch.equal(checkpoint.tensor("good"), torch.ones(2, dtype=dtype))
    with pytest.raises(
        CheckpointError, match=r"a\.pt: tensor bad\.weight holds 4 NaN or infinite values of 6; the train"
    ):
        checkpoint.tensor("bad.weight")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_one_value_that_is_not_finite_is_enough(tmp_path, value):
    save_file({"a": torch.tensor([1.0, float(value)])}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="tensor a holds 1 NaN or infinite values of 2; the training diverged or"):
        open_checkpoint(tmp_path / "a.safetensors").tensor("a")


def test_masked_values_that_are_not_finite_are_counted(tmp_path):
    nan = float("nan")
    path = checkpoint_of(NETWORKS["sw-mlp"], tmp_path / "a.safetensors")
    rewrite(path, lambda _, tensors: tensors["blocks.0.mlp.fc1.weight.values"][:2].fill_(nan))
    for read in (open_checkpoint(path).support, open_checkpoint(path).tensor):
        with pytest.raises(CheckpointError, match=r"tensor blocks\.0\.mlp\.fc1\.weight\.values holds 2 NaN or inf"):
            read("blocks.0.mlp.fc1.weight")
    save_file({"a_orig": torch.full((2, 2), nan), "a_mask": torch.ones(2, 2)}, tmp_path / "b.safetensors")
    for read in (
        open_checkpoint(tmp_path / "b.safetensors").support,
        open_checkpoint(tmp_path / "b.safetensors").tensor,
    ):
        with pytest.raises(CheckpointError, match="tensor a_orig holds 4 NaN or infinite values of 4"):
            read("a")


UNREAD = {
    "float8": (torch.ones(2).to(torch.float8_e4m3fnuz), "has the dtype float8_e4m3fnuz, which isn't read"),
    "complex": (torch.ones(2, dtype=torch.complex64), "has the dtype complex64, which isn't read"),
    "no values": (torch.ones(2, device="meta"), r"has no values \(it was on the meta device\), which isn't read"),
}


@pytest.mark.parametrize(("tensor", "match"), UNREAD.values(), ids=UNREAD)
def test_kinds_of_tensors_that_are_not_read(tmp_path, tensor, match):
    torch.save({"good": torch.ones(1), "a": tensor}, tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    assert checkpoint.tensor("good") == 1
    for question in (checkpoint.tensor, checkpoint.dtype):
        with pytest.raises(CheckpointError, match=rf"a\.pt: tensor a {match}"):
            question("a")


def test_dtypes_of_safetensors_that_are_not_read(tmp_path):
    save_file({"good": torch.ones(1), "a": torch.ones(2, dtype=torch.complex64)}, tmp_path / "a.safetensors")
    checkpoint = open_checkpoint(tmp_path / "a.safetensors")
    assert checkpoint.tensor("good") == 1
    for question in (checkpoint.tensor, checkpoint.dtype):
        with pytest.raises(CheckpointError, match=r"a\.safetensors: tensor a has the dtype C64, which isn't read"):
            question("a")


WEIGHT = "blocks.0.mlp.fc1.weight"
APART = "its shape, starts and values don't belong together"
OUTSIDE = "its starts or columns point outside of the matrix"


def replaced(part, change):
    def replace(_, tensors):
        tensors[f"{WEIGHT}.{part}"] = change(tensors[f"{WEIGHT}.{part}"].clone())

    return replace


def at(index, value):
    def change(tensor):
        tensor[index] = value
        return tensor

    return change


SPARSE = {
    "starts fall": (replaced("starts", at(5, 10**6)), OUTSIDE),
    "first start": (replaced("starts", at(0, 1)), OUTSIDE),
    "last start": (replaced("starts", lambda starts: starts - (starts == starts[-1]).long()), OUTSIDE),
    "column too large": (replaced("columns", at(3, 30)), OUTSIDE),
    "column negative": (replaced("columns", at(3, -1)), OUTSIDE),
    "columns too few": (replaced("columns", lambda columns: columns[:-1].clone()), OUTSIDE),
    "values too few": (replaced("values", lambda values: values[:-1].clone()), OUTSIDE),
    "column twice": (replaced("columns", lambda columns: at(1, columns[0])(columns)), "the columns of a row don't asc"),
    "columns not ascending": (replaced("columns", lambda columns: columns.flip(0)), "the columns of a row don't asc"),
    "starts too few": (replaced("starts", lambda starts: starts[:-1].clone()), APART),
    "values of a matrix": (replaced("values", lambda values: values[None].clone()), APART),
    "columns of a matrix": (replaced("columns", lambda columns: columns[:, None].clone()), APART),
    "three sizes": (replaced("shape", lambda _: torch.tensor([60, 30, 1])), APART),
    "one size": (replaced("shape", lambda _: torch.tensor(60)), APART),
    "size zero": (replaced("shape", lambda _: torch.tensor([60, 0])), APART),
    "size negative": (replaced("shape", lambda _: torch.tensor([-60, 30])), APART),
}
"""Damage to a sparse weight of shape 60 x 30, and what is said."""


@pytest.mark.parametrize(("damage", "match"), SPARSE.values(), ids=SPARSE)
def test_damaged_sparse_weights_are_refused(tmp_path, damage, match):
    path = rewrite(checkpoint_of(NETWORKS["sw-mlp"], tmp_path / "a.safetensors"), damage)
    checkpoint = open_checkpoint(path)
    for read in (checkpoint.support, checkpoint.tensor):
        with pytest.raises(
            CheckpointError, match=rf"a\.safetensors: sparse weight blocks\.0\.mlp\.fc1\.weight: {match}"
        ):
            read(WEIGHT)
    assert checkpoint.support("blocks.1.mlp.fc1.weight").values.ndim == 1


def test_a_sparse_weight_too_large_to_be_dense_still_has_its_connections(tmp_path):
    side = 2**15
    parts = {
        "values": torch.ones(1),
        "columns": torch.tensor([5], dtype=torch.int32),
        "starts": torch.cat([torch.zeros(side, dtype=torch.int64), torch.ones(1, dtype=torch.int64)]),
        "shape": torch.tensor([side, side]),
    }
    save_file({f"a.{part}": tensor for part, tensor in parts.items()}, tmp_path / "a.safetensors")
    checkpoint = open_checkpoint(tmp_path / "a.safetensors")
    support = checkpoint.support("a")
    assert (support.rows.tolist(), support.columns.tolist()) == ([side - 1], [5])
    with pytest.raises(CheckpointError, match="a of shape 32768 x 32768 is too large to be made dense"):
        checkpoint.tensor("a")
