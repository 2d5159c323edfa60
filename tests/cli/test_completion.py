"""Completion in the shell: names of commands, options, families, layouts and data sets, without heavy imports."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cli.test_process import HEAVY
from mixanalysis.datasets import EMBEDDED, KINDS
from mixanalysis_cli import completion

SHELLS = {
    "bash": lambda words: {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)},
    "zsh": lambda words: {"_TYPER_COMPLETE_ARGS": " ".join(words)},
    "fish": lambda words: {"_TYPER_COMPLETE_FISH_ACTION": "get-args", "_TYPER_COMPLETE_ARGS": " ".join(words)},
}


def completed(words: list[str], shell: str = "bash") -> str:
    """What a shell is told, and afterwards which heavy modules were imported for it."""
    code = f"""
import atexit, sys
atexit.register(lambda: print("loaded", [name for name in {HEAVY} if name in sys.modules]))
from mixanalysis_cli import main
main()
"""
    environment = os.environ | {"_MIXANALYSIS_COMPLETE": f"complete_{shell}"} | SHELLS[shell](["mixanalysis", *words])
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    *lines, last = result.stdout.splitlines()
    assert last == "loaded []"
    return "\n".join(lines)


CASES = {
    "commands": (["sp"], ["spectrum"]),
    "options": (["cka", "--lay"], ["--layers", "--layout"]),
    "families": (["train", "rp-"], ["rp-mixer", "rp-s-mixer"]),
    "layouts": (["inspect", "a.pt", "--layout", "flax"], ["flax-mixer", "flax-mixer-old"]),
    "data sets": (["cka", "a.pt", "--data", "cifar"], ["cifar10:", "cifar100:"]),
    "choices": (["cka", "--features", "af"], ["after-skip"]),
    "nothing": (["train", "zzz"], []),
}


@pytest.mark.parametrize(("words", "expected"), CASES.values(), ids=CASES)
def test_what_is_completed(words, expected):
    assert completed(words).splitlines() == expected


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells(shell):
    answer = completed(["train", "sw"], shell)
    assert "sw-mlp" in answer
    assert "mixer" not in answer


def test_the_data_sets_are_those_that_can_be_opened():
    assert list(completion.DATA) == [*EMBEDDED, *(f"{kind}:" for kind in KINDS)]


def test_the_script_for_a_shell_is_shown():
    code = "from mixanalysis_cli import main; main()"
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-c", code, "--show-completion", "bash"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "complete -o default -F _mixanalysis_completion mixanalysis" in result.stdout
    assert "_MIXANALYSIS_COMPLETE=complete_bash" in result.stdout
