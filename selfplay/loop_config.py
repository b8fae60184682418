"""What a loop is told: its settings, read from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import inf
from pathlib import Path
from typing import Any

from stepgym.plugins.names import unknown_name
from stepgym.plugins.settings import check_settings
from stepgym.selfplay.teachers import Approval, Form, Teacher
from stepgym.training.types import TrainingError

_RANGES = {
    "generations": (0, inf),
    "seed": (0, inf),
    "temperature": (0, inf),
    "path_weight": (0, inf),
    **dict.fromkeys(
        (
            "episodes",
            "held_out",
            "replay",
            "steps",
            "batch",
            "start_level",
            "highest_level",
            "min_support",
        ),
        (1, inf),
    ),
    **dict.fromkeys(("confidence", "min_agreement", "most_agreed", "more_agreed"), (0, 1)),
}


@dataclass(frozen=True, kw_only=True)
class LoopConfig(Approval):
    """Everything that decides what a loop does. Raises `TrainingError` that names a setting which makes no sense."""

    out: str
    env: str = "stepgym/Countdown-v0"
    level: int = 3
    """Of the held-out problems, and of those played unless `band` moves it."""
    env_options: Mapping[str, Any] = field(default_factory=dict)
    """Besides level and seed."""
    init: str = "embedded"
    """`embedded`, or a folder with `policy/` (and `prm/` where `own_reward_model`)."""
    own_reward_model: bool = False
    """Search with a reward model, and train it on Monte-Carlo labels in every generation."""
    agent: str = "best_of_n"
    agent_settings: Mapping[str, Any] = field(default_factory=lambda: {"n": 16})
    temperature: float = 1.0
    """Of the policy's sampling, in play and in evaluation."""
    see_verdicts: bool = False
    """Whether the search stops at a verified answer, in play and in evaluation; for verifiers that need no reference."""
    band: Sequence[float] = ()
    """`[low, high]`: the level played goes up when the success rate of a generation is above, down when below."""
    start_level: int = 1
    """With `band`: the level first played."""
    highest_level: int = 5
    """With `band`: the last one."""
    generations: int = 4
    episodes: int = 200
    replay: int = 2
    """How many generations' episodes are learned from."""
    more_agreed: float = 0.0
    """With `vote`: by how much `most_agreed` grows with each generation: a better policy's votes can be trusted further."""
    steps: int = 300
    learning_rate: float = 2e-3
    batch: int = 128
    held_out: int = 200
    confidence: float = 0.95
    """The new policy is turned down when it is worse than the old at this confidence (exact McNemar test)."""
    report: str = ""
    """`package.module:function`, called with a `Generation` at the end of each; what it returns is kept in the log."""
    seed: int = 0

    def __post_init__(self) -> None:
        settings = {f.name: getattr(self, f.name) for f in fields(self)}
        try:
            check_settings("a loop", type(self), settings)
        except ValueError as error:
            raise TrainingError(str(error)) from error
        for name, choices in (("teacher", Teacher), ("form", Form)):
            if settings[name] not in list(choices):
                raise TrainingError(
                    str(
                        unknown_name(
                            name, settings[name], [str(choice) for choice in choices], dotted=False
                        )
                    )
                )
        for name, (low, high) in _RANGES.items():
            if not low <= settings[name] <= high:
                says = f"at least {low}" if high == inf else f"between {low} and {high}"
                raise TrainingError(f"{name} is {says}, not {settings[name]!r}")
        if not 0 < self.learning_rate < inf:
            raise TrainingError(f"learning_rate is above 0, not {self.learning_rate!r}")
        for name in ("env_options", "agent_settings"):
            if not isinstance(settings[name], Mapping):
                raise TrainingError(f"{name} is a table of settings, not {settings[name]!r}")
        if twice := {"level", "seed"} & set(self.env_options):
            raise TrainingError(f"{min(twice)} is a setting of the loop, not one of env_options")
        _check_band(self)


def read_loop_config(file: Path, **given: Any) -> LoopConfig:
    """Read a TOML file. Raises `TrainingError` that names the setting."""
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8")) | {
            k: v for k, v in given.items() if v is not None
        }
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"{file}: {error}") from error
    known = {f.name for f in fields(LoopConfig)}
    for name in settings:
        if name not in known:
            raise TrainingError(f"{file}: {unknown_name('setting', name, known, dotted=False)}")
    try:
        return LoopConfig(**{"out": str(file.with_suffix("")), **settings})
    except TrainingError as error:
        raise TrainingError(f"{file}: {error}") from error


def _check_band(config: LoopConfig) -> None:
    band = config.band
    if isinstance(band, Sequence) and not band:
        return
    pair = (
        isinstance(band, Sequence)
        and len(band) == 2
        and all(isinstance(part, int | float) for part in band)
    )
    if not pair or not 0 <= band[0] < band[1] <= 1:
        raise TrainingError(f"band is [low, high] with 0 <= low < high <= 1, not {band!r}")
    if config.start_level > config.highest_level:
        raise TrainingError(
            f"start_level {config.start_level} is above highest_level {config.highest_level}"
        )
