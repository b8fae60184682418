"""A loop's folder: `config.json` keeps its settings, `loop.jsonl` has a line for each finished generation.

Lines name policies as `generation-G` or `start`, and a start that lies beside the loop is kept as the way to it from
there, so that a folder can be moved, alone or together with its start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stepgym.agents.embedded.policy import WEIGHTS
from stepgym.plugins.line_log import append_line, whole_lines
from stepgym.records.kept_settings import KeptSettings
from stepgym.selfplay.loop_config import LoopConfig
from stepgym.training.types import TrainingError

LOG = "loop.jsonl"
RUN = "run"
"""In the folder of a generation: the run that it plays."""
START = "start"
"""The name of the policy that the loop begins with."""
FRESH = "fresh"
"""`init` of a loop that begins with random weights."""


def check_settings(config: LoopConfig) -> None:
    """Raise `TrainingError` for a folder with other settings; more generations are allowed."""
    _kept(config).check(_portable(config), free=("generations",))


def keep_settings(config: LoopConfig) -> None:
    """Write the settings: with the first line, so that a mistake that shows before leaves no folder."""
    _kept(config).write(_portable(config))


def read_log(out: Path) -> list[dict[str, Any]]:
    """Return the lines. A last line whose writer was killed is left out; another broken line raises `TrainingError`."""
    file = out / LOG
    lines = []
    for number, line in enumerate(whole_lines(file), start=1):
        try:
            lines.append(json.loads(line))
        except ValueError as error:
            raise TrainingError(
                f"{file}:{number}: not JSON: {error}; cut the file before this line to resume from there"
            ) from error
    return lines


def add_line(out: Path, line: Mapping[str, Any]) -> None:
    """Append a line; when this returns it is on the disk."""
    append_line(out / LOG, json.dumps(line))


def model_home(config: LoopConfig, name: str) -> Path:
    """Return the folder with the `policy/` and `prm/` that a line names."""
    if name != START:
        return Path(config.out) / name
    places = {"embedded": WEIGHTS, FRESH: Path(config.out) / START}
    return places.get(config.init) or Path(config.init)


def _kept(config: LoopConfig) -> KeptSettings:
    return KeptSettings(file=Path(config.out) / "config.json", what="a loop", error=TrainingError)


def _portable(config: LoopConfig) -> dict[str, Any]:
    """Return the settings without the loop's own place, and a start beside the loop as the way to it."""
    start, here = Path(config.init).absolute(), Path(config.out).absolute()
    beside = config.init not in ("embedded", FRESH) and start.is_relative_to(here.parent)
    init = os.path.relpath(start, here) if beside else config.init
    return {**asdict(config), "out": "", "init": init}
