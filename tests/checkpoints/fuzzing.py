"""Damaged files by the thousand: sound small ones of every kind that is read, mutated, and what reading them may do.

The kinds are checkpoints of every container, stored features, manifests, and images of npz files.

A file must end in success or in one of the package's own errors: no other exception, no crash, no code of the file's
choice, not beyond `SECONDS`, not beyond four times the file and `SLACK` of memory.
"""

from __future__ import annotations

import codecs
import io
import json
import math
import random
import re
import resource
import shutil
import signal
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from safetensors.torch import save as safetensors_bytes
from torch import nn

from mixanalysis.checkpoints import open_checkpoint
from mixanalysis.datasets import Dataset
from mixanalysis.datasets.arrays import read_npz
from mixanalysis.errors import MixanalysisError
from mixanalysis.runs.manifest import Manifest
from mixanalysis.similarity import FeatureExtractor, Stored, store
from mixanalysis.similarity.sources.batches import raw_batches
from mixanalysis.similarity.sources.feature_files.metadata import What
from mixanalysis.similarity.sources.feature_files.read import replay

SECONDS = 10.0
SLACK = 24 * 2**20
"""Bytes: what the interpreter and the allocators take for any file."""

Files = dict[str, bytes]
"""A checkpoint as its files; one of a single file has the name FILE."""

FILE = "a.pt"
FEATURES = "a.features.safetensors"
MANIFEST = "manifest.json"
DATA = "images.npz"


# sound checkpoints


def _torch(content: object, *, zipped: bool = True, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    return buffer.getvalue()


def _numpy(save: Callable[..., None], arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def _script() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))), buffer)
    return buffer.getvalue()


def _distributed(folder: Path) -> Files:
    dcp.save({"model": {"a": torch.ones(3, 2), "b": torch.ones(2)}, "epoch": 3}, checkpoint_id=folder, no_dist=True)
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    return found


def corpus(scratch: Path) -> dict[str, Files]:
    """Sound checkpoints of every container, wrapper and mask, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old formats are deprecated
        return _corpus(scratch)


def _corpus(scratch: Path) -> dict[str, Files]:
    torch.manual_seed(0)
    state = {"fc.weight": torch.randn(4, 3), "fc.bias": torch.ones(4, dtype=torch.bfloat16), "n": torch.tensor(3)}
    mask = torch.rand(4, 3) < 0.5
    masked = {
        "a_orig": torch.randn(4, 3),
        "a_mask": mask.float(),
        "b.parametrizations.weight.original": torch.randn(4, 3),
        "b.parametrizations.weight.0.mask": mask,
        "c_g": torch.ones(4, 1),
        "c_v": torch.randn(4, 3),
        "d_orig": torch.randn(4, 3),
        "d_u": torch.ones(4),
        "d_v": torch.ones(3),
    }
    dense = torch.randn(4, 4) * (torch.rand(4, 4) < 0.5)
    sparse = {
        "coo": dense.to_sparse(),
        "csr": dense.to_sparse_csr(),
        "csc": dense.to_sparse_csc(),
        "bsr": dense.to_sparse_bsr((2, 2)),
    }
    own = {
        "w.values": torch.ones(2),
        "w.columns": torch.tensor([1, 0], dtype=torch.int32),
        "w.starts": torch.tensor([0, 1, 2]),
        "w.shape": torch.tensor([2, 3]),
        "x.compressed": torch.ones(2),
        "x.bitmask": torch.tensor([[1], [2]], dtype=torch.uint8),
        "x.shape": torch.tensor([2, 3]),
        "x.row_offsets": torch.tensor([0, 1]),
    }
    training = {
        "state_dict": {f"module.{name}": value for name, value in state.items()},
        "state_dict_ema": state,
        "masks": {"fc.weight": mask},
        "pruner": {"backward_masks": [mask]},
        "optimizer": {
            "state": {0: {"step": 3, "exp_avg": torch.ones(4)}},
            "param_groups": [{"lr": 0.1, "params": [0]}],
        },
        "metric": np.float64(0.5),
    }
    arrays = {"stem/kernel": np.ones((3, 4), "f4"), "head/bias": np.arange(4, dtype=">i2"), "half": np.ones(3, "V2")}
    index = {"weight_map": {"a": "x.safetensors", "b": "y.safetensors"}}
    pruner = {"module": state, "ds_version": "0.1"}
    return {
        "safetensors": {FILE: safetensors_bytes(state | own, {"note": "a"})},
        "torch zip": {FILE: _torch(training)},
        "torch zip, masks": {FILE: _torch(masked)},
        "torch zip, sparse": {FILE: _torch(sparse)},
        "torch zip, protocol 4": {FILE: _torch({"model": state}, protocol=4)},
        "torch stream": {FILE: _torch(training, zipped=False)},
        "torch stream, sparse": {FILE: _torch(sparse, zipped=False)},
        "npz": {FILE: _numpy(np.savez, arrays)},
        "npz, compressed": {FILE: _numpy(np.savez_compressed, arrays)},
        "torchscript": {FILE: _script()},
        "shards": {
            "model.safetensors.index.json": json.dumps(index).encode(),
            "x.safetensors": safetensors_bytes({"a": torch.ones(2)}),
            "y.safetensors": safetensors_bytes({"b": torch.ones(2)}),
            "config.json": b'{"num_classes": 3, "architecture": "mixer"}',
        },
        "deepspeed": {"latest": b"step_3", "step_3/mp_rank_00_model_states.pt": _torch(pruner)},
        "distributed": _distributed(scratch / "dcp"),
        "features": {FEATURES: _features(scratch, "features")},
        "Gram matrices": {FEATURES: _features(scratch, "grams")},
        "manifest": {MANIFEST: _manifest()},
        "data": {DATA: _numpy(np.savez, _data())},
        "data, compressed": {DATA: _numpy(np.savez_compressed, _data())},
    }


def _features(scratch: Path, what: What) -> bytes:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU())
    images = torch.randn(10, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    data = Dataset("made up", "test", images, None, classes=0)
    path = scratch / f"{what}.safetensors"
    store(FeatureExtractor("a", module, {"first": "1", "second": "2"}), data, path, what=what, batch_size=5)
    return path.read_bytes()


def _manifest() -> bytes:
    content = {
        "schema_version": 1,
        "command": "cka",
        "parameters": {"data": "digits", "layers": ["a", "b"], "batch_size": 64},
        "inputs": [{"label": "a", "path": "a.pt", "sha256": "0" * 64}],
        "versions": {"mixanalysis": "1.0", "torch": "2.4"},
        "outputs": {"cka.csv": "0" * 64, "figures/cka.png": "1" * 64},
    }
    return json.dumps(content).encode()


def _data() -> dict[str, np.ndarray]:
    images = np.arange(6 * 16, dtype="u1").reshape(6, 1, 4, 4)
    return {"images_test": images, "labels_test": np.arange(6), "images_train": images.astype("f4")}


_KNOWN = (
    "state_dict",
    "model",
    "module.a",
    "a_orig",
    "a_mask",
    "x.parametrizations.weight.original",
    "n_averaged",
    "ema",
)
_NAMES = st.text(st.sampled_from("abw._/0módule"), min_size=1, max_size=12) | st.sampled_from(_KNOWN)
_DTYPES = st.sampled_from(["float32", "float64", "bfloat16", "int64", "uint8", "bool", "complex64"])
_TENSORS = st.builds(
    lambda shape, dtype: torch.ones(shape, dtype=getattr(torch, dtype)),
    st.lists(st.integers(0, 4), max_size=4),
    _DTYPES,
)
_SMALL = st.text(max_size=5) | st.binary(max_size=5)
_VALUES = _TENSORS | st.none() | st.booleans() | st.integers() | st.floats() | _SMALL


def _nested(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    tables = st.dictionaries(_NAMES | st.integers(), inner, max_size=5)
    return st.lists(inner, max_size=3) | tables | st.tuples(inner)


_CONTENT = st.recursive(_VALUES, _nested, max_leaves=20)
STATES = st.dictionaries(_NAMES, _TENSORS, min_size=1, max_size=6)
"""State dicts of small tensors."""

SAVED = st.dictionaries(_NAMES, _CONTENT, max_size=5)
"""What scripts might save: tables of tensors and of anything that is plain."""


def invented(count: int, number: int) -> list[Files]:
    """Checkpoints of state dicts that hypothesis makes."""
    found: list[Files] = []

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(SAVED, st.booleans())
    def collect(content: dict[str, object], zipped: bool) -> None:
        found.append({FILE: _torch(content, zipped=zipped)})

    collect()
    return found


# mutations

_EDGES = (0, 1, 0x7F, 0x80, 0xFF)
_NUMBERS = (b"0", b"-1", b"1", b"255", b"65536", b"2147483648", b"9223372036854775807", b"99999999999999999999", b"1e9")


def _at(rng: random.Random, data: bytes) -> int:
    # headers and indices stand at the ends
    span = min(len(data), 600)
    return rng.choice((rng.randrange(len(data)), rng.randrange(span), len(data) - 1 - rng.randrange(span)))


def _flip(rng: random.Random, data: bytes, _: bytes) -> bytes:
    found = bytearray(data)
    for _number in range(rng.choice((1, 1, 2, 8))):
        found[_at(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(found)


def _edge(rng: random.Random, data: bytes, _: bytes) -> bytes:
    place, width = _at(rng, data), rng.choice((1, 2, 4, 8))
    return data[:place] + bytes([rng.choice(_EDGES)]) * width + data[place + width :]


def _cut(rng: random.Random, data: bytes, _: bytes) -> bytes:
    return data[: _at(rng, data)]


def _remove(rng: random.Random, data: bytes, _: bytes) -> bytes:
    place = _at(rng, data)
    return data[:place] + data[place + rng.randrange(1, 64) :]


def _repeat(rng: random.Random, data: bytes, _: bytes) -> bytes:
    place, length = _at(rng, data), rng.randrange(1, 64)
    return data[:place] + data[place : place + length] * rng.choice((2, 2, 3, 200)) + data[place + length :]


def _splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    place, start = _at(rng, data), _at(rng, other)
    piece = other[start : start + rng.choice((4, 16, 64, 512))]
    return data[:place] + piece + data[place + rng.choice((0, len(piece))) :]


def _number(rng: random.Random, data: bytes, _: bytes) -> bytes:
    """Another number in a textual header."""
    places = [match.span() for match in re.finditer(rb"[0-9]+", data[:4000])]
    if not places:
        return _flip(rng, data, b"")
    start, end = rng.choice(places)
    return data[:start] + rng.choice(_NUMBERS) + data[end:]


def _header(rng: random.Random, data: bytes, _: bytes) -> bytes:
    """A safetensors header with another number or word, and the length that belongs to it."""
    size = int.from_bytes(data[:8], "little")
    if data[8:9] != b"{" or not 0 < size <= len(data):
        return _number(rng, data, b"")
    edit = rng.choice((_number, _number, _number, _flip, _repeat))
    header = edit(rng, data[8 : 8 + size], b"")
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


_OPCODES = b"().012FNRSTQabdeghijklopqrstu\x80\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x90\x91\x92\x93\x94}]c"


def _pickled(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """A pickle with another instruction, or a mutation like any other."""
    place = rng.randrange(len(data))
    if rng.random() < 0.4:
        return data[:place] + bytes([rng.choice(_OPCODES)]) + data[place + rng.randrange(2) :]
    if rng.random() < 0.2:
        bomb = rng.choice((b"]", b"}", b"(", b"2", b"N", b"\x85", b"q\x01", b"h\x01"))
        return data[:place] + bomb * rng.choice((10, 3000)) + data[place:]
    return rng.choice((_flip, _edge, _cut, _remove, _splice, _number))(rng, data, other)


def _member(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """A zip file put together anew with a member that is mutated, gone, twice as deep, or another file's."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
        if not members:
            return _flip(rng, data, other)
    except Exception:  # damaged already
        return _flip(rng, data, other)
    pickled = [i for i, (name, _) in enumerate(members) if name.endswith("pkl")]
    place = rng.choice([*pickled, rng.randrange(len(members))])
    name, content = members[place]
    kind = rng.randrange(6)
    if kind == 0:
        del members[place]
    elif kind == 1:
        members[place] = (name, other)
    elif kind == 2:
        members[place] = (rng.choice(("../../x", "/etc/passwd", "x/data.pkl", "a.npy", "data/0")), content)
    elif content:
        edit = _pickled if name.endswith("pkl") else rng.choice((_flip, _edge, _cut, _repeat, _number))
        members[place] = (name, edit(rng, content, other))
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if rng.random() < 0.1 else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


MUTATIONS = (_flip, _edge, _cut, _remove, _repeat, _splice, _number)


def mutated(rng: random.Random, files: Files, others: list[Files]) -> Files:
    """A checkpoint with one of its files changed in a few ways."""
    found = dict(files)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 4))):
        name = rng.choice(sorted(found))
        data = found[name]
        other = rng.choice(list(rng.choice(others).values())) or b"\0"
        if not data:
            continue
        deep = rng.random() < 0.75  # mutations that keep the outer form sound reach further
        if data.startswith(b"PK") and deep:
            edit = _member
        elif data[8:9] == b"{" and deep:
            edit = _header
        elif data.startswith(b"\x80") and deep:
            edit = _pickled
        else:
            edit = rng.choice(MUTATIONS)
        found[name] = edit(rng, data, other)
    return found


# what reading may do


class TooSlowError(BaseException):
    """Reading took longer than `SECONDS`; no handler of the package may stop it."""


def _alarm(*_: object) -> None:
    raise TooSlowError


_FORBIDDEN = re.compile(
    r"exec|compile|pickle\.find_class|subprocess\..*|os\.(system|exec|spawn|posix_spawn|fork|mkdir|remove|rename|rmdir|chmod)"
    r"|socket\..*|ctypes\..*|shutil\..*|marshal\..*|urllib\..*"
)
_watched: list[str] | None = None


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _watched is None:
        return
    if event == "compile" and arguments[1] == "<unknown>":  # ast.literal_eval, with which numpy reads headers
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or _FORBIDDEN.fullmatch(event):
        _watched.append(f"{event} {arguments!r}"[:200])


def watch() -> None:
    """Begin to note, once and for good in this process, what code that a file brings would do."""
    for codec in ("raw_unicode_escape", "unicode_escape"):  # of pickletools, imported when a pickle first needs them
        codecs.lookup(codec)
    with np.load(io.BytesIO(_numpy(np.savez, _data()))) as arrays:  # imports what numpy reads headers with
        arrays["images_test"]
    sys.addaudithook(_audit)
    signal.signal(signal.SIGALRM, _alarm)


def write(folder: Path, files: Files) -> Path:
    """Put a checkpoint's files into an empty folder; gives the file, or the folder of several."""
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / next(iter(files)) if len(files) == 1 else folder


def read(path: Path) -> int:
    """Ask for everything in a file or folder; gives the number of tensors or values that could be read.

    Raises:
        MixanalysisError: it can't be opened.
    """
    return _READERS.get(path.name, _read_checkpoint)(path)


def _read_features(path: Path) -> int:
    stored = Stored.open(path)
    for raw in raw_batches(replay([stored]), stored.rows[0]):
        stored.observe(raw, lambda features: features @ features.T)
    return len(stored.layers)


def _read_manifest(path: Path) -> int:
    manifest = Manifest.read(path)
    return len(manifest.inputs) + len(manifest.outputs)


def _read_data(path: Path) -> int:
    return sum(len(read_npz(path, split).images) for split in ("train", "test"))


def _read_checkpoint(path: Path) -> int:
    good = 0
    checkpoint = open_checkpoint(path)
    for name in checkpoint.names:
        try:
            shape, dtype = checkpoint.shape(name), checkpoint.dtype(name)
            support = checkpoint.support(name) if checkpoint.masked(name) else None
            assert checkpoint.connections(name) >= 0
            # a sparse weight may be much larger than its file once it is dense
            if support is None or math.prod(shape) * dtype.itemsize < SLACK // 4:
                assert tuple(checkpoint.tensor(name).shape) == shape
            good += 1
        except MixanalysisError:
            continue
    try:
        open_checkpoint(path, "raw")
    except MixanalysisError:
        return good
    return good


_READERS: dict[str, Callable[[Path], int]] = {
    FEATURES: _read_features,
    MANIFEST: _read_manifest,
    DATA: _read_data,
}


def verdict(path: Path) -> str:
    """ "read" or "refused", or what went wrong."""
    global _watched  # noqa: PLW0603
    _watched = []
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "invalid escape sequence", DeprecationWarning)  # of pickletools
            read(path)
        found = "read"
    except MixanalysisError:
        found = "refused"
    except TooSlowError:
        found = f"took longer than {SECONDS} s"
    except BaseException as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = "" if trace is None else f" in {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        found = f"{type(error).__name__}: {str(error)[:160]}{where}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        watched, _watched = _watched, None
    return f"did {watched[0]}" if watched else found


def peak() -> int:
    """Peak resident bytes since `forget_peak`, or of the whole process where the system doesn't reset it."""
    try:
        return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) * 1024  # type: ignore[index]
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak() -> bool:
    """Begin to measure the peak anew; whether the system can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def resident() -> int:
    """Resident bytes now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def damaged(number: int, seeds: list[Files], count: int) -> Iterator[Files]:
    """Mutated checkpoints, the same ones for the same number."""
    rng = random.Random(number)
    for _ in range(count):
        yield mutated(rng, rng.choice(seeds), seeds)
