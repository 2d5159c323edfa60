"""Checkpoints on the Hugging Face hub, through huggingface_hub and its cache: ``hf://owner/name[@revision][/file]``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from mixanalysis.checkpoints import folders
from mixanalysis.checkpoints.containers import Container
from mixanalysis.errors import CheckpointError, UsageError

_NAME = re.compile(r"hf:/{1,2}([\w-][\w.-]*)/([\w-][\w.-]*)(?:@([\w%-][\w.%-]*))?(?:/(.+))?")
_NO_PATH = re.compile(r"(^|/)(\.{1,2})?(/|$)|\\")


class HubPath(type(Path())):  # type: ignore[misc]
    """A name on the hub that can stand where a path is shown; nothing lies there."""

    def __str__(self) -> str:
        """The name as it is given to `open_checkpoint`."""
        return f"hf://{'/'.join(self.parts[1:])}" if self.parts[:1] == ("hf:",) else super().__str__()

    @property
    def suffix(self) -> str:
        """An ending for a file; none for a repository, whose name may have dots."""
        return super().suffix if len(self.parts) > 3 else ""


class Name(NamedTuple):
    """What ``hf://owner/name[@revision][/file]`` says."""

    repository: str
    revision: str | None
    file: str | None

    @property
    def path(self) -> Path:
        """The name, as a path that prints so."""
        revision = f"@{self.revision.replace('/', '%2F')}" if self.revision else ""
        found: Path = HubPath("hf:", f"{self.repository}{revision}", *(self.file or "").split("/"))
        return found


def parse(source: str | Path) -> Name | None:
    """The name on the hub that a user gives; None for a path.

    Returns:
        The repository, with revision and file where they are given, or None.

    Raises:
        UsageError: it begins like one, but isn't.
    """
    text = str(source)  # a plain Path has made one of the two slashes
    if not text.startswith("hf:/"):
        return None
    match = _NAME.fullmatch(text)
    if match is None or (match[4] and _NO_PATH.search(match[4])):
        raise UsageError(f"expected hf://owner/name[@revision][/file], got {text}")
    return Name(f"{match[1]}/{match[2]}", unquote(match[3]) if match[3] else None, match[4])


def open_hub(name: Name) -> Container:
    """Fetch what is needed of a repository, unless it is in the cache, and open it.

    Returns:
        The container of the repository's checkpoint.

    Raises:
        CheckpointError: huggingface_hub isn't installed, the hub refuses or can't be reached and the cache lacks the
            files, or what is there can't be read.
    """
    fetch, missing = _client(name)
    if name.file is not None:
        path = _fetched(name, fetch, missing, name.file)
        if path is None:
            raise CheckpointError(f"{name.path}: there is no such file in the repository, or the cache lacks it")
    else:
        found = (_fetched(name, fetch, missing, file) for file in folders.MODEL_FILES)
        path = next((file for file in found if file is not None), None)
        if path is None:
            sought = ", ".join(folders.MODEL_FILES)
            message = f"the repository (or, offline, the cache) has none of {sought}; name a file"
            raise CheckpointError(f"{name.path}: {message}")
    below = (name.file or "").rpartition("/")[0]
    prefix = f"{below}/" if below else ""
    if path.name.endswith(folders.INDEX_ENDING):
        for shard in folders.shards(path):
            if _fetched(name, fetch, missing, f"{prefix}{shard}") is None:
                raise CheckpointError(f"{name.path}: lists {shard}, which is not there")
    _fetched(name, fetch, missing, f"{prefix}{folders.CONFIG}")
    return folders.with_config(path.parent, folders.open_member(path.parent, path.name))


def _client(name: Name) -> tuple[Callable[..., str], type[Exception]]:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError:
        message = "names on the hub need the package huggingface_hub; python -m pip install 'huggingface_hub>=0.26'"
        raise CheckpointError(f"{name.path}: {message}") from None
    fetch: Any = hf_hub_download
    return fetch, EntryNotFoundError


def _fetched(name: Name, fetch: Callable[..., str], missing: type[Exception], file: str) -> Path | None:
    """The cached file, or None where there is none of that name (or, offline, none in the cache)."""
    try:
        return Path(fetch(repo_id=name.repository, filename=file, revision=name.revision))
    except missing:
        return None
    except Exception as error:  # its errors have no common base, and come from the network too
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{name.path}: can't be fetched: {reason}") from None
