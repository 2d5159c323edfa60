"""Files that a checkpoint names in its own folder: never elsewhere."""

from __future__ import annotations

from pathlib import Path

from mixanalysis.checkpoints.lazy_tensors import DamagedError


def inside(folder: Path, name: str) -> Path:
    """The path of a file in a folder, by a name that a checkpoint gives.

    Links may lead within the folder; in a snapshot of the hub's cache also to the files of the same repository.

    Returns:
        The resolved path.

    Raises:
        DamagedError: the name isn't a plain one, or leads out of the folder.
    """
    if name in ("", ".", "..") or any(part in name for part in ("/", "\\", "\0")) or len(name) > 255:
        msg = f"names {name[:80]!r}, which is no file of its folder"
        raise DamagedError(msg)
    try:
        root = folder.resolve()
        found = (root / name).resolve()
    except (OSError, RuntimeError):  # links in a circle
        msg = f"{name} is a link that leads nowhere"
        raise DamagedError(msg) from None
    if root.parent.name == "snapshots" and (root.parents[1] / "blobs").is_dir():
        root = root.parents[1]
    if not found.is_relative_to(root):
        msg = f"{name} is a link out of the folder, which isn't followed; give the path that it leads to"
        raise DamagedError(msg)
    return folder / name
