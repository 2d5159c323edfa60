"""Names, folders, places and terminals that mean no good, or can do less than usual."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mixanalysis.visible import UNSEEN

NAME = "\x1b]0;TITLE\x07\x1b[2Jx\x9b.weight"


@pytest.fixture(name="escapes")
def _escapes(run):
    """A checkpoint whose tensors' names are commands to a terminal."""
    path = run.folder / "escapes.safetensors"
    values = torch.randn(8, 9, generator=torch.Generator().manual_seed(0))
    save_file({NAME: values, "\x1b[31mu": torch.zeros(3)}, path)
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "FILE"),
        ("inspect", "FILE", "--json"),
        ("spectrum", "FILE"),
        ("spectrum", "FILE", "--json"),
        ("spectrum", "FILE", "--layers", "\x1b[2J"),
        ("cka", "FILE"),
        ("inspect", "\x1b[31mnone.pt"),
        ("\x1b[31mcommand",),
        ("cka", "FILE", "--dtype", "\x1b[31m"),
    ],
)
def test_no_control_character_reaches_a_terminal(run, escapes, arguments):
    answer = run(*(str(escapes) if word == "FILE" else word for word in arguments))
    shown = answer.stdout + answer.stderr
    assert shown
    assert not UNSEEN.search(shown.replace("\n", ""))
    if "--json" in arguments:
        layers = (
            json.loads(answer.stdout)[0]["layers"] if "inspect" in arguments else json.loads(answer.stdout)["spectrum"]
        )
        assert [row["layer"] for row in layers] == [NAME.removesuffix(".weight")]


def shell(*arguments, cwd, **variables):
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))} | variables
    command = [sys.executable, "-m", "mixanalysis_cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, timeout=300, check=False)


LOCALES = {
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
}


@pytest.mark.parametrize("locale", LOCALES)
def test_a_pipe_that_lacks_characters(locale, networks, tmp_path):
    result = shell("width", networks["mixer"], cwd=tmp_path, **LOCALES[locale])
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"\\u03a9" in result.stdout
    assert b"reports/width" in result.stdout


def test_json_in_a_pipe_that_lacks_characters(networks, tmp_path):
    path = tmp_path / "n\u00e4me\U0001f600.safetensors"
    path.write_bytes(Path(networks["mixer"]).read_bytes())
    result = shell("inspect", path.name, "--json", cwd=tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="1")
    assert result.returncode == 0
    assert json.loads(result.stdout)[0]["path"] == path.name


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the file system of a Linux kernel")
@pytest.mark.parametrize("place", ["/proc/x", "/proc/self/x", "/sys/x", "a" * 300, "/dev/null/x"])
@pytest.mark.parametrize("command", ["width", "train", "convert"])
def test_a_place_that_the_system_refuses(run, networks, place, command):
    arguments = {
        "width": ("width", "--omega", "1e6"),
        "train": ("train", "mlp", "--epochs", "0", "--limit", "8"),
        "convert": ("convert", networks["mixer"], "--to", "own"),
    }
    answer = run(*arguments[command], "-o", place)
    assert answer.code == 3
    assert answer.error.startswith(f"{place}: can't be written: ")
    assert ".lock" not in answer.error


class TestRerunOfADownload:
    """A folder that somebody else made, with code in it that its manifest names."""

    @pytest.fixture(name="download")
    def _download(self, run, networks):
        folder = run.folder / "download"
        folder.mkdir()
        (folder / "x.safetensors").write_bytes(Path(networks["mixer"]).read_bytes())
        (folder / "evil.py").write_text("open('/'.join(__file__.split('/')[:-1]) + '/ran', 'w')\nfactory = None\n")
        content = {
            "schema_version": 1,
            "command": "cka",
            "parameters": {"checkpoints": ["x.safetensors"], "model": "evil:factory"},
            "working_folder": ".",
            "inputs": [],
            "versions": {},
            "outputs": {},
        }
        (folder / "manifest.json").write_text(json.dumps(content))
        return folder

    @pytest.mark.parametrize("option", ["model", "model_a", "model_b"])
    def test_code_is_named_by_the_user(self, run, download, option):
        path = download / "manifest.json"
        content = json.loads(path.read_text())
        content["parameters"][option] = content["parameters"].pop("model")
        path.write_text(json.dumps(content))
        flag = f"--{option.replace('_', '-')}"
        answer = run("rerun", "download")
        assert answer.code == 2
        assert answer.error.startswith(f"the run was of code, {flag} evil:factory, which a manifest doesn't bring")
        assert not (download / "ran").exists()

    def test_code_of_the_folder_is_not_found(self, run, download):
        answer = run("rerun", "download", "--model", "evil:factory")
        assert answer.code == 2
        assert "No module named 'evil'" in answer.error
        assert not (download / "ran").exists()
        assert str(download) not in sys.path

    def test_code_of_the_users_own(self, run, download):
        (run.folder / "evil.py").write_text("factory = 3\n")
        answer = run("rerun", "download", "--model", "evil:factory")
        sys.modules.pop("evil", None)
        assert answer.code == 2
        assert "evil:factory: is a int, not a function or class" in answer.error
        assert not (download / "ran").exists()

    def test_code_where_there_was_none(self, run, download):
        path = download / "manifest.json"
        content = json.loads(path.read_text())
        del content["parameters"]["model"]
        path.write_text(json.dumps(content))
        answer = run("rerun", "download", "--model", "m:f")
        assert (answer.code, answer.error) == (2, "--model m:f: the run of the manifest had no --model")
