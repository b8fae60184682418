"""What a loop is told: its settings, read from TOML, and held to once its folder is there."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from stepgym.sandbox.plugins import unknown_name
from stepgym.selfplay.teachers import Approval, Form, Teacher
from stepgym.selfplay.train.fit import TrainingError


@dataclass(frozen=True, kw_only=True)
class LoopConfig(Approval):
    """Everything that decides what a loop does."""

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


def read_loop_config(file: Path, **given: Any) -> LoopConfig:
    """Read a TOML file. Raises `TrainingError` that names the setting."""
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8")) | {k: v for k, v in given.items() if v is not None}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"{file}: {error}") from error
    known = {f.name for f in fields(LoopConfig)}
    for name in settings:
        if name not in known:
            raise TrainingError(f"{file}: {unknown_name('setting', name, known, dotted=False)}")
    config = LoopConfig(**{"out": str(file.with_suffix("")), **settings})
    for name, choices in (("teacher", Teacher), ("form", Form)):
        if getattr(config, name) not in list(choices):
            raise TrainingError(f"{file}: {unknown_name(name, getattr(config, name), list(choices), dotted=False)}")
    if config.band and len(config.band) != 2:
        raise TrainingError(f"{file}: band is [low, high], not {list(config.band)!r}")
    return config


def hold_to(out: Path, config: LoopConfig) -> None:
    """Write the settings; raises `TrainingError` for a folder with others. More generations are no other settings."""
    file = out / "config.json"
    plain, defaults = (json.loads(json.dumps({**asdict(one), "out": ""})) for one in (config, LoopConfig(out="")))
    # A folder from before a setting came to be was made as that setting's default has it.
    before = {**defaults, **json.loads(file.read_text(encoding="utf-8"))} if file.is_file() else plain
    changed = [f"{k} was {before.get(k)!r}, is now {v!r}" for k, v in plain.items() if before.get(k) != v and k != "generations"]
    if changed:
        raise TrainingError(f"{out} holds a loop with other settings: {'; '.join(changed)}; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
