"""Manifests read back: what a run was asked for, from which files, and whether these are still the same."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixanalysis.checkpoints import sha256_of
from mixanalysis.errors import CheckpointError, ReportError
from mixanalysis.files import read_json, sha256
from mixanalysis.runs.folder import MANIFEST, SCHEMA_VERSION

_NEEDED: dict[str, type] = {
    "command": str,
    "parameters": dict,
    "inputs": list,
    "versions": dict,
    "outputs": dict,
}
"""Parts that every manifest has."""


@dataclass(frozen=True, eq=False)
class Manifest:
    """The manifest.json of an output folder.

    Attributes:
        folder: the output folder.
        content: the file's content.
    """

    folder: Path
    content: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """That of an output folder, or the file itself.

        Returns:
            The manifest, with all parts that a run's has.

        Raises:
            ReportError: there is none, it can't be read, or it is of a newer version.
        """
        path = path / MANIFEST if path.is_dir() else path
        try:
            content = read_json(path)
        except FileNotFoundError:
            raise ReportError(f"{path}: no such file; give an output folder, or its {MANIFEST}") from None
        except (OSError, ValueError) as error:
            raise ReportError(f"{path}: not a readable manifest: {error}") from None
        if not isinstance(content, dict):
            raise ReportError(f"{path}: not a manifest: it holds no table of names and values")
        version = content.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            message = f"{path}: its schema version {version} is newer than {SCHEMA_VERSION}; update mixanalysis"
            raise ReportError(message)
        lacking = [name for name, kind in _NEEDED.items() if not isinstance(content.get(name), kind)]
        if lacking:
            raise ReportError(f"{path}: not a manifest of an output folder: it lacks {', '.join(lacking)}")
        wrong = [item for item in content["inputs"] if not _is_input(item)]
        if wrong:
            raise ReportError(f"{path}: an input is no table with label, path and sha256: {str(wrong[0])[:80]}")
        return cls(path.parent, content)

    @property
    def inputs(self) -> Sequence[Mapping[str, Any]]:
        """The checkpoints that were given to the run; not those that it made in its own folder."""
        return [item for item in self.content["inputs"] if not item.get("made")]

    @property
    def outputs(self) -> Mapping[str, str]:
        """SHA-256 of every file that was written, by its path in the folder."""
        outputs: Mapping[str, str] = self.content["outputs"]
        return outputs

    def bases(self, here: Path) -> list[Path]:
        """Folders that the run's relative paths may start from, likeliest first.

        The run's own working folder as seen from its output folder, where that is recorded and both were moved
        together; the present one; and the manifest's own.

        Returns:
            Absolute paths; some may not exist.
        """
        recorded = self.content.get("working_folder")
        first = [self.folder / recorded] if isinstance(recorded, str) else []
        return [Path(os.path.normpath(path.absolute())) for path in (*first, here, self.folder)]


def _is_input(item: object) -> bool:
    return isinstance(item, dict) and all(isinstance(item.get(name), str) for name in ("label", "path", "sha256"))


@dataclass(frozen=True)
class FoundInputs:
    """Where a run's inputs are now.

    Attributes:
        base: the folder that relative paths start from.
        missing: paths of inputs that aren't there.
        changed: paths of inputs whose content is another.
    """

    base: Path
    missing: tuple[str, ...]
    changed: tuple[str, ...]


def find_inputs(manifest: Manifest, here: Path) -> FoundInputs:
    """The folder in which most of a run's inputs are found, and those that are missing or changed there.

    Args:
        manifest: of the run.
        here: the present working folder.

    Returns:
        The folder, and paths as the manifest has them.
    """
    looks = [_look(manifest, base) for base in manifest.bases(here)]
    # of equally good folders, the likeliest
    return min(looks, key=lambda each: (len(each.missing), len(each.changed)))


def _look(manifest: Manifest, base: Path) -> FoundInputs:
    missing, changed = [], []
    for item in manifest.inputs:
        path = base / item["path"]
        if not path.exists():
            missing.append(item["path"])
        elif not _holds(path, item["sha256"]):
            changed.append(item["path"])
    return FoundInputs(base, tuple(missing), tuple(changed))


def _holds(path: Path, content: str) -> bool:
    """True where a checkpoint, of one file or of several, has the content of that SHA-256."""
    if path.is_file() and sha256(path) == content:
        return True
    try:
        return sha256_of(path) == content
    except CheckpointError:
        return False


def unlike(before: Manifest, after: Manifest) -> dict[str, list[str]]:
    """In what the outputs of two runs of the same command aren't the same bytes, and what may explain it.

    Returns:
        Names of files by what became of them ("changed", "not written", "new"), and where there are any, of the data
        and of libraries that differ; nothing where all outputs are the same.
    """
    a, b = before.outputs, after.outputs
    reasons = {
        "changed": [name for name in a if name in b and a[name] != b[name]],
        "not written": [name for name in a if name not in b],
        "new": [name for name in b if name not in a],
    }
    if not any(reasons.values()):
        return {}
    versions = ({"mixanalysis": each.content.get("mixanalysis")} | each.content["versions"] for each in (before, after))
    old, new = versions
    reasons["other versions"] = [
        f"{name} {old.get(name)} then, {new[name]} now" for name in new if old.get(name) != new[name]
    ]
    prints = [(each.content.get("data") or {}).get("fingerprint") for each in (before, after)]
    reasons["other data"] = [str((before.content.get("data") or {}).get("name"))] * (prints[0] != prints[1])
    return {what: names for what, names in reasons.items() if names}
