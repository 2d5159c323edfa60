"""The README's commands run as they stand, and it names every command."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mixanalysis_cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
INSTALLS = [block for language, block in BLOCKS if language == "bash" and block.startswith("python -m pip")]
COMMANDS = [block.strip() for language, block in BLOCKS if language == "bash" and block.startswith("mixanalysis ")]


@pytest.fixture(name="clone")
def _clone(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "data", tmp_path / "data")
    return tmp_path


def test_the_two_first_commands_are_what_they_should_be():
    assert INSTALLS == [
        "python -m pip install -c constraints.txt . && mixanalysis demo\n",
        "python -m pip install -c constraints.txt -e '.[test]' && python -m pytest\n",
    ]
    assert len(COMMANDS) + len(INSTALLS) == sum(language == "bash" for language, _ in BLOCKS)


def test_every_command_is_in_the_readme():
    names = {str(command.name) for command in app.registered_commands}
    assert names == set(re.findall(r"mixanalysis (\w+)", "\n".join(INSTALLS + COMMANDS)))


@pytest.mark.parametrize("command", COMMANDS, ids=[command.split()[1] for command in COMMANDS])
def test_command_of_the_readme_runs(command, clone):
    line = command.replace("mixanalysis", f"{sys.executable} -m mixanalysis_cli", 1)
    result = subprocess.run(line, shell=True, cwd=clone, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
    assert not result.stderr


def test_python_block_of_the_readme_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    (block,) = [block for language, block in BLOCKS if language == "python"]
    names: dict[str, object] = {}
    exec(block, names)
    assert names["layer"].operator.spectrum().count == 128
