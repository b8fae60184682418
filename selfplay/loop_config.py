"""The settings of a loop, read from TOML."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import inf
from pathlib import Path
from typing import Any

from stepgym.envs.registry import full_id
from stepgym.selfplay.teachers import Approval, Form, Teacher
from stepgym.training.config import check_settings, read_toml
from stepgym.training.types import TrainingError

CHOICES: Mapping[str, Collection[str]] = {"teacher": list(Teacher), "form": list(Form)}
_AT_LEAST_ONE = (
    "episodes",
    "held_out",
    "replay",
    "steps",
    "batch",
    "start_level",
    "highest_level",
    "min_support",
)
RANGES: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("generations", "seed", "temperature", "path_weight"), (0, inf)),
    **dict.fromkeys(_AT_LEAST_ONE, (1, inf)),
    **dict.fromkeys(("confidence", "min_agreement", "most_agreed", "more_agreed"), (0, 1)),
}


@dataclass(frozen=True, kw_only=True)
class LoopConfig(Approval):
    """The settings of a loop.

    Raises `TrainingError`, which names the setting, for an invalid one.
    """

    out: str
    """The loop's folder; the same folder continues the loop."""
    env: str = "stepgym/Countdown-v0"
    """Id of the environment."""
    level: int = 3
    """The level of the held-out problems, and of those played unless `band` moves it; a mixture's member may name another."""
    env_options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the environment besides level and seed. Those of `Mixture-v0` are `members`, and `rule` for weights that
    change from generation to generation (`stepgym.envs.mixture`)."""
    init: str = "embedded"
    """`embedded`, `fresh` (random weights), or a folder with `policy/` (and `prm/` where `own_reward_model`)."""
    own_reward_model: bool = False
    """Search with a reward model, and train it on Monte-Carlo labels in every generation."""
    agent: str = "best_of_n"
    """Name of the search that plays."""
    agent_settings: Mapping[str, Any] = field(default_factory=lambda: {"n": 16})
    """The search's settings."""
    temperature: float = 1.0
    """The policy's sampling temperature, in play and in evaluation."""
    see_verdicts: bool = False
    """Whether the search may see verdicts, in play and in evaluation; for verifiers that need no reference."""
    undecidable_is_wrong: bool = False
    """Answers that are UNDECIDED through their own fault (too large, unreadable, endless) count as wrong, not masked."""
    band: Sequence[float] = ()
    """`[low, high]`: the level played goes up if a generation's success rate is above, down if below."""
    start_level: int = 1
    """With `band`: the level first played."""
    highest_level: int = 5
    """With `band`: the highest level played."""
    generations: int = 4
    """How often the loop plays and trains."""
    episodes: int = 200
    """Problems played in each generation."""
    replay: int = 2
    """Generations whose episodes train the policy."""
    more_agreed: float = 0.0
    """With `vote`: how much `most_agreed` grows with each generation, because a better policy's votes are right more often."""
    steps: int = 300
    """Training steps in each generation."""
    learning_rate: float = 2e-3
    """The highest learning rate of each training."""
    batch: int = 128
    """Rows in a training step."""
    held_out: int = 200
    """Problems that measure each policy and are never played."""
    confidence: float = 0.95
    """The new policy is rejected if it is worse than the old one at this confidence (exact McNemar test)."""
    report: str = ""
    """`package.module:function`, called with each finished `Generation`; its result is kept in the log."""
    seed: int = 0
    """Seeds problems, play and training."""

    def __post_init__(self) -> None:
        settings = {f.name: getattr(self, f.name) for f in fields(self)}
        check_settings("a loop", type(self), settings, CHOICES)
        for name, (low, high) in RANGES.items():
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
    """Read the settings of a loop from a TOML file; those that are given override it.

    `env_options` that are given join those of the file, which are dropped if another environment is given. Raises
    `TrainingError` that names the setting.
    """
    settings = read_toml(file, {f.name for f in fields(LoopConfig)}, what="setting")
    given = {name: value for name, value in given.items() if value is not None}
    written = settings.get("env_options", {})
    if isinstance(written, Mapping):  # anything else is refused below
        env = settings.get("env", LoopConfig.env)
        is_same = full_id(given.get("env", env)) == full_id(env)
        given["env_options"] = {**(written if is_same else {}), **given.get("env_options", {})}
    settings |= given
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
