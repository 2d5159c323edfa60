"""The command line as a process of its own: how it starts, and how it ends."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys

import pytest

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
    result = python("-m", "mixanalysis_cli", "cka", str(networks["mlp"]), "--limit", "128", cwd=tmp_path)
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
import mixanalysis.runs.spectra
from mixanalysis_cli import main

def killed(*arguments, **options):
    assert any(Path().iterdir()), "the output folder is open"
    os.kill(os.getpid(), signal.SIGTERM)

mixanalysis.runs.spectra.spectrum = killed
sys.argv = ["mixanalysis", "spectrum", {str(networks["mlp"])!r}, "-o", "out"]
main()
"""
    result = python("-c", code, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (143, "", "mixanalysis: error: terminated\n")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_that_a_library_takes_for_an_error(tmp_path, networks):
    code = f"""
import os, signal, sys
import mixanalysis.runs.spectra
from mixanalysis_cli import main

def interrupted(*arguments, **options):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError("could not determine the shape of object") from None

mixanalysis.runs.spectra.spectrum = interrupted
sys.argv = ["mixanalysis", "spectrum", {str(networks["mlp"])!r}, "-o", "out"]
main()
"""
    result = python("-c", code, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "mixanalysis: error: interrupted\n")
    assert list(tmp_path.iterdir()) == []


SLOW = """
import os, signal
from pathlib import Path
os.kill(os.getpid(), signal.{name})
for _ in range(100):
    Path("step").write_text("still in it")
Path("imported").touch()
"""


STARTING = """
import os, signal, sys, time
import {module} as module
from mixanalysis_cli import main

def starting(*arguments, **options):
    {code}
    time.sleep(60)

class Starting:
    __getattr__ = starting

if {name!r} == "app":
    sys.modules["mixanalysis_cli.app"] = Starting()
else:
    module.{name} = starting
sys.path.insert(0, "")
sys.argv = ["mixanalysis", "schema"]
main()
"""
"""The program, which does something else when it comes to a function or module."""


@pytest.mark.parametrize(("name", "end", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")])
def test_an_import_is_not_cut_in_two(name, end, word, tmp_path):
    """A compiled library may abort the process otherwise, with a hundred lines."""
    (tmp_path / "slow.py").write_text(SLOW.format(name=name))
    program = STARTING.format(module="typer.main", name="get_command", code="import slow")
    result = python("-c", program, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (end, "", f"mixanalysis: error: {word}\n")
    assert (tmp_path / "imported").exists()


def test_an_interruption_at_the_very_end(tmp_path):
    """The last import hides it until there is nothing left to interrupt."""
    (tmp_path / "last.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    program = STARTING.format(module="typer.main", name="get_command", code="import last; sys.exit()")
    result = python("-c", program, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "mixanalysis: error: interrupted\n")


@pytest.mark.parametrize(("module", "name"), [("mixanalysis_cli", "app"), ("typer.main", "get_command")])
def test_an_interruption_while_the_program_starts(module, name, tmp_path):
    program = STARTING.format(module=module, name=name, code="os.kill(os.getpid(), signal.SIGINT)")
    result = python("-c", program, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "mixanalysis: error: interrupted\n")


def test_what_was_half_made_says_nothing(tmp_path):
    (tmp_path / "half.py").write_text("""
import os, signal

class Half:
    def __init__(self):
        os.kill(os.getpid(), signal.SIGINT)
        self.other = None

    def __del__(self):
        self.other
""")
    program = STARTING.format(module="typer.main", name="get_command", code="from half import Half; Half()")
    result = python("-c", program, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "mixanalysis: error: interrupted\n")


def on_a_terminal(*arguments: str, stream: str, **variables: str) -> tuple[str, subprocess.CompletedProcess[str]]:
    """What a command writes to a stream that is a terminal."""
    reader, writer = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "100", **variables}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writer}
    command = [sys.executable, "-m", "mixanalysis_cli", *arguments]
    with subprocess.Popen(command, env=environment, text=True, **streams) as process:
        os.close(writer)
        said = b""
        with contextlib.suppress(OSError):  # the terminal is gone with the process
            while part := os.read(reader, 65536):
                said += part
        os.close(reader)
        out, err = process.communicate()
    return said.decode(), subprocess.CompletedProcess(command, process.returncode, out, err)


def test_progress_is_for_terminals_alone(tmp_path, networks):
    arguments = ("cka", str(networks["mlp"]), "-o", str(tmp_path / "out"))
    said, result = on_a_terminal(*arguments, stream="stderr")
    assert result.returncode == 0
    assert "CKA" in said
    assert "6/6" in said
    assert "0:00:00" in said, "time left"
    assert "\x1b" not in result.stdout
    said, result = on_a_terminal(*arguments, "--quiet", stream="stderr")
    assert (result.returncode, said) == (0, "")


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {}], ids=["NO_COLOR", "colour"])
def test_colours_of_a_terminal(tmp_path, networks, variables):
    said, result = on_a_terminal("inspect", str(networks["mlp"]), stream="stdout", **variables)
    assert (result.returncode, result.stderr) == (0, "")
    assert ("\x1b" in said) == (not variables)
    assert max(len(line) for line in said.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()[12:]) <= 100


@pytest.mark.parametrize("command", ["--help", "cka --help", "inspect FILE", "cka FILE --limit 128"])
def test_nothing_but_text_without_a_terminal(tmp_path, networks, command):
    arguments = [str(networks["mlp"]) if word == "FILE" else word for word in command.split()]
    result = python("-m", "mixanalysis_cli", *arguments, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert not [letter for letter in result.stdout if ord(letter) < 32 and letter != "\n"]
