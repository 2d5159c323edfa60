"""The command line as a process of its own: how it starts, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys

from mixanalysis_cli.app import app

HEAVY = ("torch", "numpy", "scipy", "pandas", "matplotlib", "seaborn", "safetensors")


def python(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], text=True, check=False, **{"capture_output": True, **options})


def test_help_imports_nothing_heavy():
    """Of no command, so that it answers at once."""
    code = f"""
import sys
from mixanalysis_cli.app import app
for command in ([], *([each.name] for each in app.registered_commands)):
    try:
        app([*command, "--help"])
    except SystemExit as end:
        print(command, "code", end.code)
print("loaded", [name for name in {HEAVY} if name in sys.modules])
"""
    result = python("-c", code)
    assert (result.returncode, result.stderr) == (0, "")
    *lines, last = result.stdout.splitlines()
    assert last == "loaded []"
    assert [line for line in lines if line.startswith("[") and " code " in line] == [
        "[] code 0",
        *(f"['{command.name}'] code 0" for command in app.registered_commands),
    ]
    assert "Layerwise CKA" in result.stdout


def test_help_of_the_module():
    result = python("-m", "mixanalysis_cli", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "spectrum" in result.stdout


def test_version():
    from mixanalysis import __version__

    result = python("-m", "mixanalysis_cli", "--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"mixanalysis {__version__}\n", "")


def test_a_result_and_nothing_else(tmp_path, networks):
    result = python("-m", "mixanalysis_cli", "cka", str(networks["mlp"]), "--limit", "64", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "reports/cka"
    assert (tmp_path / "reports" / "cka" / "manifest.json").exists()


def test_code_is_refused(tmp_path, bad):
    result = python("-m", "mixanalysis_cli", "report", str(bad / "code.pt"), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.startswith(f"mixanalysis: error: {bad / 'code.pt'}: refused: loading it would run code (")
    assert len(result.stderr.splitlines()) == 1
    assert not (bad / "made").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_went_away(tmp_path, networks):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        command = ("-m", "mixanalysis_cli", "inspect", str(networks["mlp"]))
        result = python(*command, cwd=tmp_path, capture_output=False, stdout=closed, stderr=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (1, "")


def test_a_termination_leaves_nothing(tmp_path, networks):
    code = f"""
import os, signal, sys
from pathlib import Path
import mixanalysis.report.commands
from mixanalysis_cli import main

def killed(*arguments, **options):
    assert any(Path().iterdir()), "the output folder is open"
    os.kill(os.getpid(), signal.SIGTERM)

mixanalysis.report.commands.spectrum = killed
sys.argv = ["mixanalysis", "spectrum", {str(networks["mlp"])!r}, "-o", "out"]
main()
"""
    result = python("-c", code, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (143, "", "")
    assert list(tmp_path.iterdir()) == []
