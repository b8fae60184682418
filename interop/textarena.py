"""TextArena (0.7): games for one player, as `load_env("textarena:Sudoku-v0")`.

The outcome is the player's reward. Its games draw on the global random stream, seeded at each reset, so that they are forked by
replay; a game that draws on it later too raises `ReplayError`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from stepgym.interop.peers import need

need("textarena")

import textarena

from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.stateful import from_stateful
from stepgym.plugins.errors import UserError


class ArenaEpisode:
    """One game with Gymnasium's `reset` and `step`."""

    def __init__(self, game: str, settings: dict[str, Any]) -> None:
        self._env = textarena.make(game, **settings)
        self._transcript = ""

    def reset(self, *, seed: int) -> tuple[str, dict[str, Any]]:
        self._env.reset(num_players=1, seed=seed)
        self._transcript = ""
        return self._new_words(), {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        done, _ = self._env.step(action)
        if not done:
            return self._new_words(), 0.0, False, False, {}
        rewards, about = self._env.close()
        reason = str(about.get(0, {}).get("reason", ""))
        return reason, float((rewards or {}).get(0, 0.0)), True, False, {}

    def _new_words(self) -> str:
        """Return what the game said since the last turn; some games are wrapped so that they repeat the transcript."""
        before, self._transcript = self._transcript, str(self._env.get_observation()[1])
        return self._transcript.removeprefix(before).strip()

    def close(self) -> None:
        """Do nothing: the game holds no resources."""


def make(game: str, *, settings: dict[str, Any] | None = None, **options: Any) -> ReasoningEnv:
    """Return an environment over a game for one player.

    `settings` go to the game, `options` to `from_stateful`.
    """
    maker = partial(ArenaEpisode, game, settings or {})
    try:
        maker().reset(seed=0)
    except (KeyError, ValueError, TypeError, AssertionError, LookupError) as error:
        raise UserError(f"textarena:{game}: {error}") from error
    return from_stateful(maker, name=f"textarena/{game}", **{"forks": "replay", **options})
