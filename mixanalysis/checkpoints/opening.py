"""From what a user names to a container: a file, a folder, or a name on the hub."""

from __future__ import annotations

from pathlib import Path

from mixanalysis.checkpoints import folders, hub
from mixanalysis.checkpoints.containers import Container, open_file


def open_container(source: str | Path) -> tuple[Path, Container]:
    """Open what a user names.

    Args:
        source: a path, or ``hf://owner/name[@revision][/file]``.

    Returns:
        The path to show, and what is there.

    Raises:
        CheckpointError: there is nothing that can be read.
        UsageError: it is no sound name on the hub.
    """
    if (name := hub.parse(source)) is not None:
        return name.path, hub.open_hub(name)
    path = Path(source)
    if path.is_dir():
        return path, folders.open_folder(path)
    if path.name.endswith(folders.INDEX_ENDING):
        return path, folders.open_index(path)
    return path, open_file(path)
