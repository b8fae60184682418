"""Self-play: play into a run folder, and the loop of playing and training.

The names of `stepgym.records` that go with `selfplay` are offered here too.
"""

from __future__ import annotations

from stepgym.records.exports import export
from stepgym.records.run_folder import RunFolder, read_config, read_episodes
from stepgym.records.statistics import summarise
from stepgym.records.types import ExportFormat, RunConfig, RunSummary
from stepgym.selfplay.play import selfplay

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
