"""What a checkpoint is, told from its first bytes or the files of its folder, and one reader per kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mixanalysis.checkpoints import npz_files, safetensors_files, zips
from mixanalysis.checkpoints.foreign_files import described, described_zip
from mixanalysis.checkpoints.lazy_tensors import MEBIBYTE, DamagedError
from mixanalysis.checkpoints.pickles import BlockedError
from mixanalysis.checkpoints.torch_files import PICKLED_MAGIC, Stream, Window, attributes, mapped
from mixanalysis.errors import CheckpointError
from mixanalysis.files import regular_size
from mixanalysis.selection import did_you_mean, listed


@dataclass(frozen=True, eq=False)
class Container:
    """What a file or folder holds, tensors unread.

    Attributes:
        format: its kind.
        content: tables of tensors (as entries) and plain data, as they were saved.
        files: the files that were opened, in order.
        metadata: text that stands beside the tensors.
        steps: how the content was reached, where the kind itself says it.
    """

    format: str
    content: object
    files: tuple[Path, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[str, ...] = ()


def open_file(path: Path) -> Container:
    """Open a checkpoint file by its content, whatever its name.

    Returns:
        The container, its tensors unread.

    Raises:
        CheckpointError: the file is missing, unreadable, truncated, of a kind that isn't read, or would need
            code to be run.
    """
    try:
        size = regular_size(path)
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; give the path of a checkpoint{_near(path)}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"{path}: can't be read: {reason}") from None
    if not head:
        raise CheckpointError(f"{path}: not a checkpoint: the file is empty")
    if head.startswith(b"PK\x03\x04"):
        return told(path, "torch.save or numpy.savez file:", _open_zip)
    # a header's length may begin with any byte, so that safetensors is told before a pickle stream
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < max(size, MEBIBYTE):
        return told(path, "safetensors file:", _open_safetensors)
    if head[2:].startswith(PICKLED_MAGIC):
        return told(path, "torch.save file:", _open_stream)
    if head.startswith(b"\x80"):
        message = (
            f"{path}: a Python pickle, but not as torch.save writes it; it may hold code, so it isn't read; "
            "save the plain state_dict() with torch.save or safetensors instead"
        )
        raise CheckpointError(message)
    if kind := described(head):
        raise CheckpointError(f"{path}: not a checkpoint but {kind}")
    raise CheckpointError(f"{path}: not a checkpoint: neither a safetensors file nor one of torch.save or numpy.savez")


def _near(path: Path) -> str:
    """In words, what in the folder may have been meant by a name that isn't there."""
    try:
        names = [each.name for each in path.parent.iterdir()]
    except OSError:
        return ""
    # a common ending is no likeness
    return did_you_mean(path.name, [name for name in names if did_you_mean(path.stem, [Path(name).stem])])


def told(path: Path, what: str, read: Callable[[Path], Container]) -> Container:
    """A container, or what is wrong with it as one of our errors."""
    try:
        return read(path)
    except DamagedError as error:
        raise CheckpointError(f"{path}: truncated or damaged {what} {error}") from None
    except BlockedError as error:
        message = (
            f"{path}: refused: loading it would run code ({listed(sorted(error.names))}); "
            "save the plain state_dict() with torch.save or safetensors instead"
        )
        raise CheckpointError(message) from None
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror or error}") from None


def _open_safetensors(path: Path) -> Container:
    content, metadata = safetensors_files.entries(path)
    return Container("safetensors", content, (path,), metadata)


def _open_stream(path: Path) -> Container:
    return Container("torch (pickle stream)", Stream(mapped(path)).content(), (path,))


def _open_zip(path: Path) -> Container:
    data = mapped(path)
    members = zips.members(data, 0, len(data))
    pickled = any(name == "data.pkl" or name.endswith("/data.pkl") for name in members)
    if not pickled and any(name.endswith(".npy") for name in members):
        content: dict[str, object] = {name: None for name in members if not name.endswith(".npy")}
        return Container("npz", content | npz_files.entries(data, members), (path,))
    if not pickled:
        raise CheckpointError(f"{path}: {described_zip(members)}")
    window = Window(data, 0, len(data))
    if window.script:
        return _script(path, window)
    return Container("torch (zip)", window.content(), (path,))


def _script(path: Path, window: Window) -> Container:
    """A TorchScript archive: its module's tensors, where its pickle is plain data; its code is never looked at."""
    try:
        tensors = attributes(window.content())
    except (BlockedError, DamagedError):
        tensors = {}
    if not tensors:
        message = "a TorchScript archive holds code; save the module's state_dict() instead"
        raise CheckpointError(f"{path}: {message}")
    return Container("TorchScript", tensors, (path,))
