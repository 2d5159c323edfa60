"""The installation and its machine: versions, processors, linear algebra, optional parts, and where to write."""

from __future__ import annotations

import os
import platform
import re
import shlex
import tempfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixanalysis._version import __version__
from mixanalysis.runs.folder import versions

DEVELOPERS = frozenset({"test", "lint", "docs", "peers", "browser"})
"""Extras for work on the project itself."""


def installation() -> dict[str, str]:
    """Versions of the package, of Python, and of the libraries."""
    return {"mixanalysis": __version__} | versions()


def machine() -> dict[str, Any]:
    """System, processors and threads, accelerators, and libraries of linear algebra."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerators": accelerators(),
        "blas_torch": "MKL" if torch.backends.mkl.is_available() else "another",
        "blas_numpy": _blas(np.show_config(mode="dicts")),
    }


def accelerators() -> list[str]:
    """Devices for `--device`, each with its name."""
    devices = [
        f"cuda:{index} ({torch.cuda.get_device_name(index)})"
        for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    ]
    return [*devices, *["mps"] * torch.backends.mps.is_available()]


def _blas(configuration: Any) -> str:
    blas = ((configuration or {}).get("Build Dependencies") or {}).get("blas") or {}
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def extras(requirements: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """Optional parts: which packages they need, whether these are there, and what installs them.

    Args:
        requirements: as the package's metadata have them; those of the installed package by default.

    Returns:
        For each extra its name, packages, whether all are installed, and a command that installs them.
    """
    if requirements is None:
        try:
            requirements = requires("mixanalysis") or []
        except PackageNotFoundError:
            requirements = []
    needed: dict[str, list[str]] = {}
    for text in requirements:
        extra = re.fullmatch(r"(.*?)\s*;\s*extra == ['\"]([\w-]+)['\"]", text)
        if extra is not None and extra[2] not in DEVELOPERS:
            needed.setdefault(extra[2], []).append(extra[1].strip())
    return [
        {
            "extra": name,
            "packages": packages,
            "installed": all(_installed(package) for package in packages),
            "install": shlex.join(["python", "-m", "pip", "install", *packages]),
        }
        for name, packages in sorted(needed.items())
    ]


def _installed(requirement: str) -> bool:
    try:
        version(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])
    except PackageNotFoundError:
        return False
    return True


def writable(folder: Path) -> str:
    """Why nothing can be written to a folder, which needn't be there yet; nothing where it can."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        return f"{there.name} is a file"
    try:
        with tempfile.TemporaryFile(dir=there):
            return ""
    except OSError as error:
        return str(error.strerror)
