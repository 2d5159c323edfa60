"""A user's own script passes mypy at its strictest: the package is typed, and says so."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mixanalysis
import mixanalysis_cli

ROOT = Path(__file__).parents[1]

SCRIPT = '''
"""Compare two checkpoints."""

from pathlib import Path

import mixanalysis as mx
from matplotlib.figure import Figure


def compare(first: Path, second: Path) -> tuple[float, Figure]:
    """CKA, spectra and width."""
    networks = [mx.load(first), mx.load(second)]
    result = mx.cka(*networks, data="digits", limit=64)
    spectra = mx.spectrum(networks[0], layers=lambda name: "token" in name)
    top: float = float(networks[0].layers[0].operator.spectrum().values[0])
    edge: float = mx.spectra.edge(3, 4, 1.0)
    count: int = networks[0].width + len(spectra.outliers) + len(result.warnings)
    report: Path = mx.write_report(networks, data="digits", out="x")
    reveal_type(networks[0].density)
    reveal_type(report)
    return top + edge + count, mx.plot.cka_heatmap(result)
'''


def checked(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("mypy")
    path = folder / "script.py"
    path.write_text(script)
    # like an installed package, whose own lines aren't reported
    options = ["--strict", "--follow-imports=silent", "--config-file=", f"--cache-dir={ROOT / '.mypy_cache' / 'user'}"]
    environment = {"MYPYPATH": str(ROOT), "PATH": ""}
    command = [sys.executable, "-m", "mypy", *options, str(path)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_script_of_the_user_is_checked(tmp_path):
    result = checked(SCRIPT, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert 'Revealed type is "float"' in result.stdout.replace("builtins.", "")
    assert "Path" in result.stdout
    assert "Any" not in result.stdout


def test_what_is_wrong_in_it_is_found(tmp_path):
    wrong = SCRIPT.replace("limit=64", 'limit="64"').replace("width +", "widht +")
    result = checked(wrong, tmp_path)
    assert result.returncode == 1
    assert 'incompatible type "str"; expected "int | None"' in result.stdout
    assert 'has no attribute "widht"' in result.stdout


@pytest.mark.parametrize("package", [mixanalysis, mixanalysis_cli])
def test_the_packages_say_that_they_are_typed(package):
    assert (Path(str(package.__file__)).parent / "py.typed").read_bytes() == b""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"] == {"packages": ["mixanalysis", "cli/mixanalysis_cli"]}
