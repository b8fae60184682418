"""Self-play: play into a run folder, and the loop of playing and training.

Names are imported on first use, so that `import stepgym.selfplay` costs nothing. The names of
`stepgym.records` that go with `selfplay` are offered here too.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepgym.records.exports import export
    from stepgym.records.run_folder import RunFolder, read_config, read_episodes
    from stepgym.records.statistics import summarise
    from stepgym.records.types import ExportFormat, RunConfig, RunSummary
    from stepgym.selfplay.play import selfplay

_HOMES = {
    "ExportFormat": "stepgym.records.types",
    "RunConfig": "stepgym.records.types",
    "RunFolder": "stepgym.records.run_folder",
    "RunSummary": "stepgym.records.types",
    "export": "stepgym.records.exports",
    "read_config": "stepgym.records.run_folder",
    "read_episodes": "stepgym.records.run_folder",
    "selfplay": "stepgym.selfplay.play",
    "summarise": "stepgym.records.statistics",
}

__all__ = [
    "ExportFormat",
    "RunConfig",
    "RunFolder",
    "RunSummary",
    "export",
    "read_config",
    "read_episodes",
    "selfplay",
    "summarise",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
