"""What is installed: extras from the package's metadata, and where can be written."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mixanalysis.runs.environment import accelerators, extras, installation, machine, writable

ROOT = Path(__file__).parents[2]


def test_extras_are_those_of_the_metadata():
    packages = ["torch; extra == 'images'", "also-not[x]>=2; extra == 'images'", "pytest>=8; extra == 'test'"]
    found = extras(["numpy>=2.0", *packages, 'nosuchthing>=1.4 ; extra == "sweep"'])
    assert found == [
        {
            "extra": "images",
            "packages": ["torch", "also-not[x]>=2"],
            "installed": False,
            "install": "python -m pip install torch 'also-not[x]>=2'",
        },
        {
            "extra": "sweep",
            "packages": ["nosuchthing>=1.4"],
            "installed": False,
            "install": "python -m pip install 'nosuchthing>=1.4'",
        },
    ]
    assert extras(["torch>=2; extra == 'a'"])[0]["installed"] is True
    assert extras([]) == []


def test_extras_of_developers_are_left_out():
    """Those of pyproject.toml, of which each is for users or for developers."""
    optional = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lines = [f"{package}; extra == '{name}'" for name, packages in optional.items() for package in packages]
    assert {found["extra"] for found in extras(lines)} == {"images", "sweep", "hub"}


def test_the_installed_package_tells_its_own():
    assert {found["extra"] for found in extras()} <= {"images", "sweep", "hub"}


def test_versions_and_machine():
    assert {"mixanalysis", "python", "torch", "numpy"} <= set(installation())
    found = machine()
    assert found["threads"] >= 1
    assert found["accelerators"] == accelerators()


def test_where_can_be_written(tmp_path, monkeypatch):
    assert writable(tmp_path) == ""
    assert writable(tmp_path / "not" / "there") == ""
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert writable(tmp_path / "file") == "file is a file"
    assert writable(tmp_path / "file" / "below") == "file is a file"

    def refused(**_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    assert writable(tmp_path) == "Permission denied"


@pytest.mark.parametrize("configuration", [None, {}, {"Build Dependencies": {"blas": {"name": "x", "version": "1"}}}])
def test_blas(configuration):
    from mixanalysis.runs.environment import _blas

    assert _blas(configuration) == ("x 1" if configuration else "unknown")
