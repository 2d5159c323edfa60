"""Files of torch.save put together by hand, pickles instruction by instruction."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile


def archive(**members: bytes) -> bytes:
    """A torch.save file of these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(f"archive/{name.replace('__', '/')}", content)
    return buffer.getvalue()


def pickled(program: bytes, storage: bytes = bytes(64)) -> bytes:
    return archive(**{"data.pkl": b"\x80\x02" + program + b".", "data__0": storage})


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def reference(elements: int = 6, kind: str = "FloatStorage", key: str = "0", view: bytes = b"") -> bytes:
    """The program that refers to a storage."""
    name = b"ctorch\n" + kind.encode() + b"\n"
    return b"(" + text("storage") + name + text(key) + text("cpu") + integer(elements) + view + b"tQ"


def call(name: str, *arguments: bytes) -> bytes:
    """The program that calls a function of a module."""
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n(".encode() + b"".join(arguments) + b"tR"


def table(**values: bytes) -> bytes:
    """The program that makes a table."""
    return b"}" + b"".join(text(name) + value + b"s" for name, value in values.items())


def view(shape=(2, 3), strides=(3, 1), offset=0, storage: bytes | None = None) -> bytes:
    """The program that makes a tensor."""
    storage = reference() if storage is None else storage
    return call(
        "torch._utils._rebuild_tensor_v2", storage, integer(offset), numbers(*shape), numbers(*strides), b"\x89}"
    )


def tensor(shape=(2, 3), strides=(3, 1), offset=0, **storage: object) -> bytes:
    """The program that makes a table with one tensor in it."""
    return table(a=view(shape, strides, offset, reference(**storage)))


def stream(program: bytes, keys: object, *storages: tuple[int, bytes]) -> bytes:
    """A file of torch.save in the older format; storages are their numbers of elements and their bytes."""
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    head = magic + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    data = b"".join(count.to_bytes(8, "little", signed=True) + content for count, content in storages)
    return head + b"\x80\x02" + program + b"." + pickle.dumps(keys, 2) + data
