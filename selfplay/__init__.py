"""Self-play: what is remembered of searches and what is learned from it.

Everything named here is imported when it is first used, so that `import stepgym.selfplay` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepgym.selfplay.export import export
    from stepgym.selfplay.play import selfplay
    from stepgym.selfplay.run_folder import RunFolder, read_config, read_episodes, summarise
    from stepgym.selfplay.types import ExportFormat, RunConfig, RunSummary

_HOMES = {
    "ExportFormat": "types",
    "RunConfig": "types",
    "RunFolder": "run_folder",
    "RunSummary": "types",
    "export": "export",
    "read_config": "run_folder",
    "read_episodes": "run_folder",
    "selfplay": "play",
    "summarise": "run_folder",
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
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = (
        value  # over the submodule of the same name (`export`), which the import has just bound here
    )
    return value
