"""Papers whose figures and tables are reproduced: an engine, and one folder per paper.

The registry's names cost no torch; the rest is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixanalysis.papers.experiment import Options
    from mixanalysis.papers.ledger import Ledger
    from mixanalysis.papers.reproduction import chosen, cost, reproduce

_MODULES = {
    "Ledger": "ledger",
    "Options": "experiment",
    "chosen": "reproduction",
    "cost": "reproduction",
    "reproduce": "reproduction",
}

__all__ = ["Ledger", "Options", "chosen", "cost", "reproduce"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
