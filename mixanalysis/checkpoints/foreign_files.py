"""Names for files that are no checkpoints of a kind that is read, by their first bytes or their folder's files."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

_EXPORT = "save the weights with safetensors or torch.save instead"
_UNPACK = "unpack it first"

_BEGINNINGS: dict[bytes, str] = {
    b"\x89HDF\r\n\x1a\n": f"an HDF5 file, as Keras writes them; {_EXPORT}",
    b"GGUF": "a GGUF file of llama.cpp, whose weights are usually quantised; use the checkpoint that it was made from",
    b"lmgg": "a GGML file of llama.cpp; use the checkpoint that it was made from",
    b"tjgg": "a GGML file of llama.cpp; use the checkpoint that it was made from",
    b"\x93NUMPY": "a single array of numpy; save the arrays by name with numpy.savez",
    b"MATLAB": f"a MATLAB file; {_EXPORT}",
    b"\x1f\x8b": f"a gzip archive; {_UNPACK}",
    b"BZh": f"a bzip2 archive; {_UNPACK}",
    b"\xfd7zXZ\x00": f"an xz archive; {_UNPACK}",
    b"7z\xbc\xaf\x27\x1c": f"a 7z archive; {_UNPACK}",
    b"\x28\xb5\x2f\xfd": f"a zstd archive; {_UNPACK}",
    b"Rar!": f"a RAR archive; {_UNPACK}",
    b"\x89PNG": "an image (PNG)",
    b"\xff\xd8\xff": "an image (JPEG)",
    b"%PDF": "a PDF document",
    b"\x7fELF": "a program",
    b"#!": "a script",
}

_POINTER = b"version https://git-lfs.github.com/spec/"
_HTML = re.compile(rb"\s*(<!doctype|<html|<head|<body|<\?xml|<!--)", re.IGNORECASE)
_TEXT = re.compile(r"[\t\n\r\x20-\x7e\x80-\uffff]*")


def described(head: bytes) -> str:
    """Name a file's kind.

    Args:
        head: its first bytes, a few hundred.

    Returns:
        What it is and what to do, or "" where that isn't known.

    Examples:
        >>> described(b"GGUF")[:22]
        'a GGUF file of llama.c'
    """
    beginning = next((text for start, text in _BEGINNINGS.items() if head.startswith(start)), "")
    return beginning or next((text for kind in _KINDS if (text := kind(head))), "")


def _git_lfs(head: bytes) -> str:
    if not head.startswith(_POINTER):
        return ""
    size = re.search(rb"\nsize (\d{1,15})\n", head)
    stands = f" (the file itself has {int(size[1])} bytes)" if size else ""
    return f"a Git LFS pointer, not the file that it stands for{stands}; fetch that with git lfs pull"


def _html(head: bytes) -> str:
    if not _HTML.match(head.removeprefix(b"\xef\xbb\xbf")):
        return ""
    return "an HTML page, such as a server's error or login page saved under the file's name; download the file again"


def _text_pickle(head: bytes) -> str:
    """Pickle protocol 0 is lines of text."""
    begins = re.match(rb"c[\w.]+\n[\w.]+\n|\([dlp0-9]+\n", head)
    return "a Python pickle (protocol 0), which may hold code; save the plain state_dict() instead" if begins else ""


def _tar(head: bytes) -> str:
    return f"a tar archive; {_UNPACK}" if head[257:262] == b"ustar" else ""


def _tflite(head: bytes) -> str:
    return f"a TensorFlow Lite model; {_EXPORT}" if head[4:8] == b"TFL3" else ""


def _onnx(head: bytes) -> str:
    """Protocol buffers begin with the version of ONNX (field 1) and the name of the writer (field 2)."""
    names = head[:1] == b"\x08" and 0 < head[1] < 32 and head[2:3] == b"\x12" if len(head) > 4 else False
    return f"an ONNX model; {_EXPORT}" if names and head[4 : 4 + head[3]].isascii() else ""


def _msgpack(head: bytes) -> str:
    """A small table (fixmap, map 16, map 32) whose first key is text."""
    skip = {0xDE: 3, 0xDF: 5}.get(head[0], 1 if 0x81 <= head[0] <= 0x8F else 0) if head else 0
    text = bool(skip) and len(head) > skip and (0xA1 <= head[skip] <= 0xBF or head[skip] in (0xD9, 0xDA))
    return f"a msgpack file, as Flax writes them; {_EXPORT}" if text else ""


def _json_or_text(head: bytes) -> str:
    # the last character may be cut
    text = head.decode("utf-8", "ignore")
    if len(head) < 8 or not text.strip() or len(text.encode()) < len(head) - 3 or not _TEXT.fullmatch(text):
        return ""
    kind = "JSON text" if text.lstrip()[0] in "{[" else "text"
    line = " ".join(text.split())
    return f"{kind}, not weights: {line[:80]}{'...' if len(line) > 80 else ''}"


_KINDS: tuple[Callable[[bytes], str], ...] = (
    _git_lfs,
    _html,
    _text_pickle,
    _tar,
    _tflite,
    _onnx,
    _msgpack,
    _json_or_text,
)


def described_zip(names: Collection[str]) -> str:
    """Name the kind of a zip file that holds neither a torch.save file nor arrays.

    Args:
        names: of its members.

    Returns:
        What it is and what to do.
    """
    if any(name.endswith("model.weights.h5") for name in names):
        return f"a Keras model; {_EXPORT}"
    inner = [name for name in names if name.endswith((".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".npz"))]
    if inner:
        return f"a zip archive with {inner[0][:80]}; {_UNPACK}"
    return "a zip file, but not one of torch.save (it holds no data.pkl) nor of numpy.savez (no arrays)"


def described_folder(names: Collection[str]) -> str:
    """Name a folder of weights that aren't read.

    Args:
        names: of its files and folders.

    Returns:
        What it is and what to do, or "" where that isn't known.
    """
    if "saved_model.pb" in names or "keras_metadata.pb" in names:
        return f"a TensorFlow SavedModel; {_EXPORT}"
    if any(re.fullmatch(r".+\.data-\d{5}-of-\d{5}", name) for name in names):
        return f"a TensorFlow checkpoint; {_EXPORT}"
    if {"_CHECKPOINT_METADATA", "manifest.ocdbt", "_sharding"} & set(names) or "ocdbt.process_0" in names:
        return f"an Orbax checkpoint; restore it and {_EXPORT.replace('instead', '')}".rstrip()
    if any(name.endswith(".distcp") for name in names):
        return "a torch.distributed.checkpoint folder without its .metadata; copy that file too"
    return ""
