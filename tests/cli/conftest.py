"""The command line, and checkpoints that its commands are run on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from cases import NETWORKS, checkpoint_of
from checkpoints.rewriting import rewrite
from mixanalysis_cli.app import app

ERROR = "mixanalysis: error: "


@dataclass(frozen=True)
class Answer:
    """What a command said, and its exit code."""

    code: int
    stdout: str
    stderr: str
    exception: BaseException | None

    @property
    def error(self) -> str:
        """The one line on stderr, without its beginning; stdout is empty."""
        lines = self.stderr.splitlines()
        assert len(lines) == 1, self.stderr
        assert lines[0].startswith(ERROR), self.stderr
        assert self.stdout == ""
        assert isinstance(self.exception, SystemExit)
        return lines[0].removeprefix(ERROR)


@dataclass(frozen=True)
class CommandLine:
    """Runs commands in an empty folder."""

    folder: Path

    def __call__(self, *arguments: object) -> Answer:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        return Answer(result.exit_code, result.stdout, result.stderr, result.exception)

    def files(self, below: str = ".") -> list[str]:
        """Every file in the folder."""
        paths = (self.folder / below).rglob("*")
        return sorted(str(path.relative_to(self.folder / below)) for path in paths if path.is_file())


@pytest.fixture(name="run")
def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path)


@pytest.fixture(name="networks", scope="session")
def _networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints by family, with random weights."""
    folder = tmp_path_factory.mktemp("networks")
    names = {"mixer": "mixer-square", "rp-mixer": "rp-mixer", "sw-mlp": "sw-mlp", "mlp": "mlp"}
    return {family: checkpoint_of(NETWORKS[name], folder / f"{family}.safetensors") for family, name in names.items()}


class MakesAFolder:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(name="bad", scope="session")
def _bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that are no sound checkpoints."""
    folder = tmp_path_factory.mktemp("bad")

    def sound(name: str) -> Path:
        return checkpoint_of(NETWORKS["mixer"], folder / f"{name}.safetensors")

    (folder / "text.pt").write_text("epoch,loss\n")
    (folder / "empty.pt").touch()
    (folder / "folder").mkdir()
    torch.save({"a.weight": torch.ones(3)}, folder / "unknown.pt")
    torch.save({"state_dict": {}, "code": MakesAFolder(folder / "made")}, folder / "code.pt")
    (folder / "truncated.pt").write_bytes((folder / "unknown.pt").read_bytes()[:-20])
    (folder / "truncated.safetensors").write_bytes(sound("nan").read_bytes()[:4000])
    rewrite(sound("missing"), lambda _, tensors: tensors.pop("head.bias"))
    rewrite(sound("extra"), lambda _, tensors: tensors.update({"criterion.weight": torch.ones(3)}))
    rewrite(sound("misshaped"), lambda _, tensors: tensors.update({"head.bias": torch.ones(4)}))
    rewrite(sound("nan"), lambda _, tensors: tensors["blocks.0.token.mlp.fc1.weight"][:2].fill_(float("nan")))
    return folder
