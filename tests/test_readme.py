"""The README's commands run as they stand and print what it says, it names every command, and its tables are true."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import generated
import pytest

import pages
from mixanalysis.families import LAYOUTS
from mixanalysis_cli.app import app

README = pages.ROOT / "README.md"
BLOCKS = pages.blocks(README)
INSTALLS = [text for language, text in BLOCKS if language == "bash" and text.startswith("python -m pip")]
COMMANDS = [text.strip() for language, text in BLOCKS if language == "bash" and text.startswith("mixanalysis ")]
PRINTED = {
    command.text.strip(): told.text
    for command, told in pairwise(BLOCKS)
    if (command.language, told.language) == ("bash", "text")
}
"""What it says that a command prints, an excerpt."""


@pytest.fixture(name="clone")
def _clone(tmp_path: Path) -> Path:
    shutil.copytree(pages.ROOT / "data", tmp_path / "data")
    return tmp_path


def test_the_two_first_commands_are_what_they_should_be():
    assert INSTALLS == [
        "python -m pip install -c constraints.txt . && mixanalysis demo\n",
        "python -m pip install -c constraints.txt -e '.[test]' && python -m pytest -n auto\n",
    ]
    assert len(COMMANDS) + len(INSTALLS) == sum(language == "bash" for language, _ in BLOCKS)


def test_every_command_is_in_the_readme():
    names = {str(command.name) for command in app.registered_commands}
    assert names == set(re.findall(r"mixanalysis (\w+)", "\n".join(INSTALLS + COMMANDS)))


@pytest.mark.parametrize("command", COMMANDS, ids=[command.split()[1] for command in COMMANDS])
def test_command_of_the_readme_runs(command, clone):
    line = re.sub(r"(^|&& )mixanalysis ", rf"\1{sys.executable} -m mixanalysis_cli ", command)
    result = subprocess.run(line, shell=True, cwd=clone, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
    # notes on layers whose weights contradict the null are part of what spectrum says
    notes = [line for line in result.stderr.splitlines() if "; against the null" in line or "; no null fits" in line]
    assert result.stderr.splitlines() == notes
    assert not pages.unsaid(PRINTED.get(command, ""), result.stdout)


def test_every_excerpt_follows_a_command():
    assert len(PRINTED) == sum(language == "text" for language, _ in BLOCKS) == 2
    assert set(PRINTED) <= set(COMMANDS)


def test_python_block_of_the_readme_runs(monkeypatch):
    monkeypatch.chdir(pages.ROOT)
    (block,) = [text for language, text in BLOCKS if language == "python"]
    names: dict[str, object] = {}
    exec(block, names)
    assert names["layer"].operator.spectrum().count == 128


def test_tables_made_from_the_code_are_up_to_date():
    text = README.read_text(encoding="utf-8")
    assert generated.filled(text) == text, "run python docs/generated.py"
    for layout in LAYOUTS.values():
        first = layout.sought[0] if "`" in layout.sought[0] else f"`{layout.sought[0]}`"
        assert f"| `{layout.name}` | {first}" in text


def test_common_options_exist():
    (table,) = re.findall(r"\| option \| meaning \|\n(.*?)\n\n", README.read_text(encoding="utf-8"), re.DOTALL)
    cells = [line.split("|")[1] for line in table.splitlines()[1:]]
    named = {option for cell in cells for option in re.findall(r"--[\w-]+", cell)}
    assert len(named) >= 10
    assert [option for option in named if f"`{option}`" not in generated.commands()] == []


def test_links_and_pictures_lead_somewhere():
    found = pages.links(README)
    assert sum(path.suffix == ".png" for path in found) == 3
    assert [path for path in found if not path.exists()] == []
