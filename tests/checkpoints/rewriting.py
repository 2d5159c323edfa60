"""Taking checkpoints of our own format apart and putting them together again, changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

KEY = "mixanalysis"

Change = Callable[[dict[str, Any], dict[str, Tensor]], object]
"""Changes a file's description and tensors in place."""


def description_of(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()[KEY])


def rewrite(path: Path, change: Change) -> Path:
    """Change a checkpoint in place."""
    description, tensors = description_of(path), load_file(path)
    change(description, tensors)
    save_file(tensors, path, metadata={KEY: json.dumps(description)})
    return path
