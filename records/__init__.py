"""Records: finished episodes on disk, their statistics, and training data made from them.

Names are imported on first use, so that `import stepgym.records` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepgym.records.exports import export
    from stepgym.records.run_folder import RunFolder, read_config, read_episodes
    from stepgym.records.statistics import summarise
    from stepgym.records.types import ExportFormat, RunConfig, RunSummary

_HOMES = {
    "ExportFormat": "types",
    "RunConfig": "types",
    "RunFolder": "run_folder",
    "RunSummary": "types",
    "export": "exports",
    "read_config": "run_folder",
    "read_episodes": "run_folder",
    "summarise": "statistics",
}

__all__ = [
    "ExportFormat",
    "RunConfig",
    "RunFolder",
    "RunSummary",
    "export",
    "read_config",
    "read_episodes",
    "summarise",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
