"""TextWorld (1.7): a game file as an environment, `load_env("textworld:game.z8")`.

The outcome is the share of the game's points. Games are forked by replay, because the interpreter cannot be copied.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from stepgym.interop.peers import need

need("textworld")

import textworld

from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.stateful import from_stateful
from stepgym.plugins.errors import UserError


class GameEpisode:
    """One game with Gymnasium's `reset` and `step`."""

    def __init__(self, path: str) -> None:
        self._env = textworld.start(
            path, textworld.EnvInfos(admissible_commands=True, max_score=True, feedback=True)
        )
        self._score = 0.0

    def reset(self, *, seed: int) -> tuple[str, dict[str, Any]]:
        self._env.seed(seed)
        state = self._env.reset()
        self._score = 0.0
        return state.feedback.strip(), {"admissible_commands": state.admissible_commands}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        state, score, done = self._env.step(action)
        score = float(score) / (state.max_score or 1)
        gained, self._score = score - self._score, score
        commands = {"admissible_commands": state.admissible_commands}
        return state.feedback.strip(), gained, done, False, commands

    def close(self) -> None:
        """End the game's interpreter."""
        self._env.close()


def make(path: str, **options: Any) -> ReasoningEnv:
    """Return an environment over one game file, which is one problem.

    `options` are those of `from_stateful`.
    """
    if not Path(path).is_file():
        raise UserError(f"textworld:{path}: no such file")
    maker, name = partial(GameEpisode, path), f"textworld/{Path(path).name}"
    return from_stateful(maker, name=name, **{"size": 1, "forks": "replay", **options})
